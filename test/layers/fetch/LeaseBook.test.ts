import { assert, describe, it } from "@effect/vitest"
import { headOf, type Lane, LeaseBook } from "../../../src/layers/fetch/LeaseBook.ts"
import { target } from "../../conformance/Frontier.suite.ts"

const urls = ["http://a.test/1", "http://a.test/2", "http://a.test/3"].map((url) => target(url))

/** A book with one host of three URLs, of which all were read. */
const bookOfThree = (): { readonly book: LeaseBook; readonly lane: Lane } => {
  const book = new LeaseBook()
  const lane = book.addLane({ id: 1n, host: "a.test", head: 0, redo: 0, known: undefined })
  book.beginReading([lane])
  urls.forEach((url, at) => book.enter(lane, at + 1, url))
  book.endReading([lane], () => false)
  return { book, lane }
}

const settle = (book: LeaseBook, ...which: ReadonlyArray<number>) =>
  book.endSettling(which.flatMap((at) => {
    const lease = urls[at] === undefined ? undefined : book.beginSettling(urls[at])
    return lease === undefined ? [] : [lease]
  }))

const everywhere: ReadonlySet<string> = new Set()

describe("a lane", () => {
  it("is given up when it is drained and all is settled, and not before", () => {
    const { book, lane } = bookOfThree()
    assert.deepStrictEqual(book.beginLeaving([lane]), [])
    settle(book, 0, 1, 2)
    assert.deepStrictEqual(book.beginLeaving([lane]), [lane])
    book.endLeaving([lane])
    assert.strictEqual(book.lanes.size, 0)
  })

  it("is not given up while it is read, and not read while it is given up", () => {
    const { book, lane } = bookOfThree()
    settle(book, 0, 1, 2)
    book.beginReading([lane])
    assert.deepStrictEqual(book.beginLeaving([lane]), [])
    book.endReading([lane], () => false)
    assert.deepStrictEqual(book.beginLeaving([lane]), [lane])
    book.lookAgain()
    assert.deepStrictEqual(book.refillable(everywhere, 10), [])
    book.abandonLeaving([lane])
    assert.deepStrictEqual(book.refillable(everywhere, 10), [lane])
  })

  it("is read on when something was added behind what was read, also while it was being read", () => {
    const { book, lane } = bookOfThree()
    assert.deepStrictEqual(book.refillable(everywhere, 10), [])
    book.beginReading([lane])
    book.grown(lane.id)
    book.endReading([lane], () => false)
    assert.deepStrictEqual(book.refillable(everywhere, 10), [lane])
  })

  it("begins again behind what has an outcome: a gap holds its head", () => {
    const { book, lane } = bookOfThree()
    settle(book, 0, 2)
    assert.strictEqual(headOf(lane), 1)
    settle(book, 1)
    assert.strictEqual(headOf(lane), 3)
  })
})

describe("a lease", () => {
  it("is handed out once, settled once, and held again when its settling did not happen", () => {
    const { book } = bookOfThree()
    const supply = book.handOut({ limit: 2, closedHosts: everywhere })
    assert.deepStrictEqual(supply?._tag === "Targets" ? supply.targets : [], urls.slice(0, 2))
    const [first] = urls
    assert(first !== undefined)
    const lease = book.beginSettling(first)
    assert(lease !== undefined)
    assert.isUndefined(book.beginSettling(first))
    book.abandonSettling([lease])
    assert.isDefined(book.beginSettling(first))
    book.endSettling([lease])
    assert.isUndefined(book.beginSettling(first))
    assert.strictEqual(book.waiting, 1)
    assert.strictEqual(book.taken, 3)
  })
})
