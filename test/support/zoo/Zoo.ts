/**
 * The zoo: servers over plain sockets that misbehave in one way each, and a row for each that says what the fetcher must make of it.
 */
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import type * as net from "node:net"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import type { FetchRequest } from "../../../src/services/fetch/FetchRequest.ts"
import * as Origin from "../fetch/Origin.ts"
import { leakFree } from "../leakFree.ts"

/** One request as an animal sees it. */
export interface Visit {
  readonly socket: net.Socket
  /** From 0, over all connections. */
  readonly n: number
  readonly head: string
  readonly path: string
  /** Address of this server. */
  readonly url: string
  /** Writes bytes as they are. */
  readonly send: (text: string | Uint8Array) => void
  /** Writes and closes. */
  readonly last: (text: string | Uint8Array) => void
  /** Calls it again and again until the connection ends. */
  readonly drip: (everyMillis: number, next: (n: number) => string | Uint8Array) => void
}

/** A server and what is to come of it. */
export interface Row {
  readonly name: string
  readonly serve: (visit: Visit) => void
  /** Instead of `serve`, for what happens before a request: gets the bare connection. */
  readonly accept?: (socket: net.Socket) => void
  readonly request?: Omit<FetchRequest, "url">
  readonly path?: string
  readonly policy?: FetchPolicy.FetchPolicyInput
  /** The error's tag, or "ok". */
  readonly expect: string
  readonly check?: (outcome: FetchOutcome) => void
  /** It ends although no deadline does: all of them are far beyond the test's own end. @default false */
  readonly waitsForNothing?: boolean
  /** The reply was fine as HTTP: its connection may be kept. @default false */
  readonly keepsConnection?: boolean
  /** Requests that the server must have seen. @default 1 */
  readonly requests?: number
}

/** Short deadlines, no second tries: what a row does not change. */
export const strict: FetchPolicy.FetchPolicyInput = {
  retry: { times: 0, base: Duration.millis(10) },
  timeouts: {
    connect: Duration.millis(400),
    headers: Duration.millis(400),
    idle: Duration.millis(400),
    attempt: Duration.millis(900),
    total: Duration.seconds(5)
  }
}

const headEnd = "\r\n\r\n"

/** A server of this animal. */
export const origin = (row: Pick<Row, "serve" | "accept">, onVisit: () => number) =>
  Effect.gen(function*() {
    const timers = new Set<NodeJS.Timeout>()
    yield* Effect.addFinalizer(() => Effect.sync(() => timers.forEach((timer) => clearInterval(timer))))
    const server: Origin.Origin = yield* Origin.makeRaw((socket) => {
      if (row.accept !== undefined) {
        // Somebody has to read, or the end of the other side is never seen.
        socket.resume()
        return row.accept(socket)
      }
      let received = ""
      socket.on("data", (chunk) => {
        received += chunk.toString("latin1")
        for (let end = received.indexOf(headEnd); end >= 0; end = received.indexOf(headEnd)) {
          const head = received.slice(0, end)
          received = received.slice(end + headEnd.length)
          const send = (text: string | Uint8Array) =>
            void socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text)
          row.serve({
            socket,
            n: onVisit(),
            head,
            path: head.split(" ")[1] ?? "",
            url: server.url,
            send,
            last: (text) => {
              send(text)
              socket.end()
            },
            drip: (everyMillis, next) => {
              let n = 0
              const timer = setInterval(() => {
                if (socket.writable) send(next(n++))
                else {
                  clearInterval(timer)
                  timers.delete(timer)
                }
              }, everyMillis)
              timers.add(timer)
            }
          })
        }
      })
    })
    return server
  })

/** A whole reply with its length. */
export const reply = (body: string, headers = "", status = "200 OK"): string =>
  `HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(body, "latin1")}\r\n${headers}\r\n${body}`

/** The fetcher as it is meant to be used. */
export const fetcher = Layer.provide(HttpFetcher.layer, Http1Client.layer())

const far = {
  connect: Duration.minutes(5),
  headers: Duration.minutes(5),
  idle: Duration.minutes(5),
  attempt: Duration.minutes(5),
  total: Duration.minutes(5)
}

/** A test for each row: the exact tag, and nothing left open. What no deadline ends runs into the end of the test. */
export const run = (rows: ReadonlyArray<Row>): void => {
  for (const row of rows) {
    it.live(row.name, () =>
      Effect.gen(function*() {
        let visits = 0
        const server = yield* origin(row, () => visits++)
        const f = yield* Fetcher
        const outcome = yield* f.outcome({ ...row.request, url: `${server.url}${row.path ?? "/"}` })
        assert.strictEqual(outcome.error?._tag ?? "ok", row.expect, JSON.stringify(outcome))
        row.check?.(outcome)
        if (row.accept === undefined) assert.strictEqual(visits, row.requests ?? 1, "requests")
        // A bad reply costs its connection; a good one may keep it.
        if (row.expect !== "ok" && row.keepsConnection !== true) yield* server.socketsFallTo(0)
      }).pipe(
        Effect.provideService(
          FetchPolicy.FetchPolicy,
          FetchPolicy.make(strict, row.waitsForNothing === true ? { timeouts: far } : {}, row.policy ?? {})
        ),
        Effect.provide(fetcher),
        Effect.scoped,
        leakFree
      ))
  }
}
