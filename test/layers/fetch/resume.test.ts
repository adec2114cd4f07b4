/**
 * Downloads that are gone on with, by chance: rests of every wrong size, framing and ending. What is recorded is the whole, or nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { hash } from "node:crypto"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { leakFree } from "../../support/leakFree.ts"
import * as Chance from "../../support/zoo/Chance.ts"
import { fetcher, origin, strict } from "../../support/zoo/Zoo.ts"

const count = process.env["SLUICE_LONG"] === "1" ? 5000 : 200
const seed = Number(process.env["SLUICE_SEED"] ?? 1)

// Larger than what is handed over in one piece: only a body that comes piece by piece is there in part when it breaks off.
const content = Buffer.from("0123456789abcdef".repeat(7000))
const firstMin = 70_000
const whole = hash("sha256", content, "hex")
const etag = "etag: \"v1\"\r\n"

/** What a server sends when it is asked for the rest from `from` on: some right, some wrong by a little, some broken off again. */
const rest = (chance: Chance.Chance, from: number): { readonly text: string; readonly ending: "end" | "reset" } => {
  const wrongBy = chance.of([0, 0, 0, 1, -1, 5, -5, 200, -200])
  const body = wrongBy >= 0
    ? content.toString("latin1", from) + "x".repeat(wrongBy)
    : content.toString("latin1", from, Math.max(from, content.length + wrongBy))
  const sent = chance.percent(30) ? body.slice(0, chance.int(body.length + 1)) : body
  const range = `content-range: bytes ${from}-${content.length - 1}/${content.length}\r\n`
  const [framing, bytes] = chance.of(
    [
      ["", sent],
      [`content-length: ${body.length}\r\n`, sent],
      [
        "transfer-encoding: chunked\r\n",
        sent === "" ? "0\r\n\r\n" : `${sent.length.toString(16)}\r\n${sent}\r\n0\r\n\r\n`
      ],
      ["transfer-encoding: chunked\r\n", `${body.length.toString(16)}\r\n${sent}`],
      ["content-encoding: gzip\r\n", sent]
    ] as const
  )
  return {
    text: `HTTP/1.1 206 Partial Content\r\n${range}${etag}${framing}\r\n${bytes}`,
    ending: chance.of(["end", "end", "reset"] as const)
  }
}

describe("downloads that are gone on with", () => {
  it.live(`${count} of them, from seed ${seed} on`, () =>
    Effect.gen(function*() {
      const chances = new Map<string, Chance.Chance>()
      let resumed = 0
      const server = yield* origin({
        serve: ({ head, last, path, send, socket }) => {
          const n = Number(path.slice(1))
          const chance = chances.get(path) ?? Chance.make(seed + n)
          chances.set(path, chance)
          const asked = /range: bytes=(\d+)-/i.exec(head)?.[1]
          socket.setNoDelay(true)
          if (asked !== undefined) {
            resumed++
            const { ending, text } = rest(chance, Number(asked))
            if (ending === "end") return last(text)
            send(text)
            return void setImmediate(() => socket.resetAndDestroy())
          }
          // The first that asks for the whole gets some of it; whoever asks again may get all.
          const isWhole = chance.percent(25)
          const text = isWhole
            ? content.toString("latin1")
            : content.toString("latin1", 0, firstMin + chance.int(content.length - firstMin))
          // Without a length only the range of the rest says how much there is.
          const framed = isWhole || chance.percent(50)
            ? `content-length: ${content.length}\r\n\r\n${text}`
            : `transfer-encoding: chunked\r\n\r\n${content.length.toString(16)}\r\n${text}`
          last(`HTTP/1.1 200 OK\r\n${etag}${framed}`)
        }
      }, () => 0)
      const f = yield* Fetcher
      const fetched = yield* Effect.forEach(
        Array.from({ length: count }, (_, n) => n),
        (n) => Effect.result(f.fetch({ url: `${server.url}/${n}` })),
        { concurrency: 16 }
      )
      const good = fetched.flatMap((each) => each._tag === "Success" ? [each.success] : [])
      const bad = fetched.flatMap((each) => each._tag === "Failure" ? [each.failure._tag] : [])
      assert.deepStrictEqual(good.filter(({ outcome }) => outcome.sha256 !== whole).map(({ outcome }) => outcome), [])
      assert.deepStrictEqual([...new Set(bad)].filter((tag) => tag !== "TruncatedBody" && tag !== "ProtocolError"), [])
      assert.isAbove(good.length, count / 4)
      assert.isAbove(resumed, count / 2)
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make(strict, {
          concurrency: 16,
          perHost: 16,
          retry: { times: 6, base: Duration.millis(1), budgetPerSecond: 1e6 },
          timeouts: {
            headers: Duration.seconds(20),
            idle: Duration.seconds(20),
            attempt: Duration.seconds(20),
            total: Duration.seconds(60)
          }
        })
      ),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ), 120_000)
})
