/** The checker of histories, on histories that are known to be good or bad. */
import { assert, describe, it } from "@effect/vitest"
import * as Cycles from "./Cycles.ts"

interface Brief {
  readonly at: readonly [number, number | undefined]
  readonly reads?: Readonly<Record<string, number>>
  readonly writes?: Readonly<Record<string, number>>
}

const accesses = (brief: Readonly<Record<string, number>> = {}): ReadonlyArray<Cycles.Access> =>
  Object.entries(brief).map(([object, version]) => ({ object, version }))

const wrongIn = (history: Readonly<Record<string, Brief>>): ReadonlyArray<string> =>
  Cycles.check(
    Object.entries(history).map(([name, { at: [beganAt, endedAt], reads, writes }]) => ({
      name,
      beganAt,
      endedAt,
      reads: accesses(reads),
      writes: accesses(writes)
    }))
  )

const bad: Readonly<Record<string, { readonly history: Readonly<Record<string, Brief>>; readonly says: RegExp }>> = {
  "lost update": {
    history: {
      a: { at: [0, 9], reads: { x: 0 }, writes: { x: 1 } },
      b: { at: [0, 9], reads: { x: 0 }, writes: { x: 2 } }
    },
    says: /^no order: .*-rw-> /
  },
  "two of one version": {
    history: {
      a: { at: [0, 9], reads: { x: 0 }, writes: { x: 1 } },
      b: { at: [0, 9], reads: { x: 0 }, writes: { x: 1 } }
    },
    says: /both wrote version 1 of x/
  },
  "write skew": {
    history: {
      a: { at: [0, 9], reads: { x: 0, y: 0 }, writes: { x: 1 } },
      b: { at: [0, 9], reads: { x: 0, y: 0 }, writes: { y: 1 } }
    },
    says: /-rw-> .*-rw-> /
  },
  "circular information (G1c)": {
    history: {
      a: { at: [0, 9], reads: { y: 1 }, writes: { x: 1 } },
      b: { at: [0, 9], reads: { x: 1 }, writes: { y: 1 } }
    },
    says: /-wr-> .*-wr-> /
  },
  "aborted read (G1a)": {
    history: { a: { at: [0, 9], reads: { x: 7 } } },
    says: /read version 7 of x, which nobody wrote/
  },
  "stale read": {
    history: { a: { at: [0, 1], writes: { x: 1 } }, b: { at: [2, 3], reads: { x: 0 } } },
    says: /-rt-> /
  },
  "two readers who disagree": {
    history: {
      a: { at: [0, 9], writes: { x: 1 } },
      b: { at: [0, 9], writes: { y: 1 } },
      c: { at: [0, 9], reads: { x: 1, y: 0 } },
      d: { at: [0, 9], reads: { x: 0, y: 1 } }
    },
    says: /-rw-> /
  },
  "a write before one that had been answered": {
    history: { a: { at: [0, 1], writes: { x: 2 } }, b: { at: [2, 3], writes: { x: 1 } } },
    says: /-ww-> /
  }
}

const good: Readonly<Record<string, Readonly<Record<string, Brief>>>> = {
  "one after the other": {
    a: { at: [0, 1], reads: { x: 0 }, writes: { x: 1 } },
    b: { at: [2, 3], reads: { x: 1, y: 0 }, writes: { x: 2, y: 1 } },
    c: { at: [4, 5], reads: { x: 2, y: 1 } }
  },
  "at once, in any order": {
    a: { at: [0, 9], writes: { x: 1 } },
    b: { at: [0, 9], reads: { x: 0 } },
    c: { at: [0, 9], reads: { x: 1 } }
  },
  "never answered, and seen much later": {
    a: { at: [0, undefined], writes: { x: 1 } },
    b: { at: [5, 6], reads: { x: 0 } },
    c: { at: [7, 8], reads: { x: 1 } }
  },
  "a version whose writer nobody observed": {
    a: { at: [0, 1], writes: { x: 1 } },
    b: { at: [2, 3], writes: { x: 3 } },
    c: { at: [4, 5], reads: { x: 3 } }
  },
  "nothing": {}
}

describe("Cycles", () => {
  for (const [name, { history, says }] of Object.entries(bad)) {
    it(`finds: ${name}`, () => {
      assert.match(wrongIn(history).join("\n"), says)
    })
  }

  for (const [name, history] of Object.entries(good)) {
    it(`lets pass: ${name}`, () => {
      assert.deepStrictEqual(wrongIn(history), [])
    })
  }

  it("finds one stale read among ten thousand transactions, and takes no long time over it", () => {
    const chain = Array.from({ length: 10_000 }, (_, at): Cycles.Transaction => ({
      name: `t${at}`,
      beganAt: 2 * at,
      endedAt: 2 * at + 1,
      reads: [{ object: "x", version: at }],
      writes: [{ object: "x", version: at + 1 }]
    }))
    assert.deepStrictEqual(Cycles.check(chain), [])
    const late = { name: "late", beganAt: 19_000, endedAt: 19_001, reads: [{ object: "x", version: 9000 }], writes: [] }
    assert.lengthOf(Cycles.check([...chain, late]), 1)
  })
})
