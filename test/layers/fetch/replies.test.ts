/**
 * Responses by chance over real sockets: never "ok" for a body that is not whole, and never a failure for one that is. With SLUICE_LONG=1
 * some ten thousands; SLUICE_SEED takes up a failure again.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Stream } from "effect"
import { hash } from "node:crypto"
import type * as net from "node:net"
import * as tls from "node:tls"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"
import { cert, key } from "../../support/zoo/certificate.ts"
import * as Chance from "../../support/zoo/Chance.ts"
import * as Reply from "../../support/zoo/Reply.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const seed = Number(process.env["SLUICE_SEED"] ?? 20_261_121)
const count = isLong ? 20_000 : 600

const replies = Array.from({ length: count }, (_, n) => Reply.make(Chance.make(seed + n), n % 8 === 7))

/** Answers each request on a connection with the reply of its path, piece by piece, and ends as that says. */
const answer = (socket: net.Socket | tls.TLSSocket) => {
  let isEnded = false
  let head = ""
  const write = (reply: Reply.Reply, n: number) => {
    if (socket.destroyed) return
    const piece = reply.pieces[n]
    if (piece !== undefined) {
      socket.write(piece)
      setImmediate(() => write(reply, n + 1))
      return
    }
    isEnded = reply.ending !== "keep"
    if (reply.ending === "finish") socket.end()
    else if (reply.ending === "reset") socket.resetAndDestroy()
    else if (reply.ending === "drop") socket.write("", () => socket.destroy())
  }
  // Each piece goes out by itself, and none waits when the connection is reset.
  socket.setNoDelay(true)
  socket.on("error", () => {})
  socket.on("data", (chunk: Buffer) => {
    head += chunk.toString("latin1")
    const found = isEnded ? null : /^[A-Z]+ \/(\d+) [^]*?\r\n\r\n(?:body)?/.exec(head)
    const reply = replies[Number(found?.[1])]
    if (found === null || reply === undefined || reply.method === "PUT" && !head.endsWith("body")) return
    head = ""
    write(reply, 0)
  })
}

const shaken = (socket: net.Socket) =>
  answer(new tls.TLSSocket(socket, { isServer: true, secureContext: tls.createSecureContext({ cert, key }) }))

const policy = FetchPolicy.make({
  concurrency: 32,
  perHost: 32,
  hosts: { adaptive: false },
  retry: { times: 0 },
  timeouts: { headers: Duration.seconds(20), idle: Duration.seconds(20) }
})

describe("responses by chance", () => {
  it.live(`${count} of them, from seed ${seed} on`, () =>
    Effect.gen(function*() {
      const plain = yield* Origin.makeRaw(answer)
      const secure = yield* Origin.makeRaw(shaken)
      const fetcher = yield* Fetcher
      const urlOf = (n: number) =>
        n % 8 === 7 ? `https://localhost:${new URL(secure.url).port}/${n}` : `${plain.url}/${n}`
      const requests = Stream.map(Stream.range(0, count - 1), (n) => {
        const { method } = replies[n] ?? { method: "GET" as const }
        return { url: urlOf(n), method, ...(method === "PUT" ? { body: "body" } : undefined) }
      })
      const wrong: Array<string> = []
      let seen = 0
      yield* Stream.runForEach(fetcher.fetchAll(requests), (outcome) =>
        Effect.sync(() => {
          seen++
          const n = Number(new URL(outcome.url).pathname.slice(1))
          const reply = replies[n]
          const isRight = (outcome.error?._tag ?? "ok") === reply?.tag &&
            (!outcome.ok ||
              outcome.bytes === reply.content.length && outcome.sha256 === hash("sha256", reply.content, "hex"))
          if (!isRight) wrong.push(`seed ${seed + n}: ${reply?.name}: ${reply?.tag}, not ${JSON.stringify(outcome)}`)
        }))
      assert.deepStrictEqual(wrong.slice(0, 20), [])
      assert.strictEqual(seen, count)
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, policy),
      Effect.provide(Layer.provide(HttpFetcher.layer, Http1Client.layer({ tls: { ca: cert } }))),
      Effect.scoped,
      leakFree
    ), isLong ? 1_200_000 : 60_000)
})
