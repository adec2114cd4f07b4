/**
 * A loopback origin that misbehaves on purpose: what `sluice demo` and the documentation fetch from, so that neither needs a network.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { Context, Effect, Layer, Stream } from "effect"
import * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { createServer } from "node:http"

/** What the origin has seen so far. */
export interface OriginCounts {
  /** Requests whose head arrived. */
  readonly requests: number
  /** Requests being answered now. */
  readonly inFlight: number
  /** Most requests that were ever answered at once. */
  readonly inFlightMax: number
  /** Requests whose client went away before the answer was out. */
  readonly abandoned: number
  /** TCP connections open now. */
  readonly sockets: number
}

/**
 * A running origin. Its paths:
 *
 * - `/delay/MILLIS`: 200 after that long.
 * - `/item/N`: by N's value mostly 200; some fail once and then succeed (502), throttle once (429 with Retry-After), are missing (404),
 *   truncate their body, reset the connection, never answer, or send more than anyone wants.
 */
export class UnrulyOrigin extends Context.Service<UnrulyOrigin, {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string
  readonly counts: Effect.Effect<OriginCounts>
}>()("sluice/layers/fetch/UnrulyOrigin") {}

const body = (name: string) => `${name}\n`.padEnd(1024, "sluice ")

const mebibyte = new Uint8Array(1024 * 1024)

interface Visit {
  readonly item: number
  readonly path: string
  /** 1 for the first time that this path is asked for. */
  readonly number: number
  readonly request: HttpServerRequest.HttpServerRequest
}

type Manner = (visit: Visit) => Effect.Effect<HttpServerResponse.HttpServerResponse>

const well: Manner = ({ item, path }) =>
  Effect.as(Effect.sleep(10 + 10 * (item % 5)), HttpServerResponse.text(body(path)))

const silent: Manner = () => Effect.never

const endless: Manner = () =>
  Effect.succeed(HttpServerResponse.stream(Stream.forever(Stream.succeed(mebibyte)), { contentType: "text/plain" }))

const truncated: Manner = ({ request }) =>
  Effect.andThen(
    Effect.sync(() => {
      const socket = NodeHttpServerRequest.toIncomingMessage(request).socket
      socket.end("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\nhalf of a promise")
    }),
    Effect.interrupt
  )

const reset: Manner = ({ request }) =>
  Effect.andThen(Effect.sync(() => NodeHttpServerRequest.toServerResponse(request).destroy()), Effect.interrupt)

const missing: Manner = () => Effect.succeed(HttpServerResponse.text("no such item\n", { status: 404 }))

const throttling: Manner = (visit) =>
  visit.number > 1
    ? well(visit)
    : Effect.succeed(HttpServerResponse.text("slow down\n", { status: 429, headers: { "retry-after": "1" } }))

const flaky: Manner = (visit) =>
  visit.number > 1 ? well(visit) : Effect.succeed(HttpServerResponse.text("try again\n", { status: 502 }))

/** How `/item/N` behaves: the first row whose divisor divides N. */
const manners: ReadonlyArray<readonly [divisor: number, manner: Manner]> = [
  [1499, throttling],
  [401, silent],
  [211, endless],
  [97, truncated],
  [53, reset],
  [41, missing],
  [17, flaky],
  [1, well]
]

/** Paths whose visits are remembered; beyond that every visit counts as the first. */
const visitsMax = 100_000

const make = Effect.gen(function*() {
  const server = createServer({ keepAliveTimeout: 5_000 })
  const counts = { requests: 0, inFlight: 0, inFlightMax: 0, abandoned: 0, sockets: 0 }
  const visits = new Map<string, number>()
  server.on("connection", (socket) => {
    counts.sockets++
    socket.once("close", () => counts.sockets--)
  })

  const item = (request: HttpServerRequest.HttpServerRequest, path: string, number: number) => {
    const visit = (visits.get(path) ?? 0) + 1
    if (visits.size < visitsMax) visits.set(path, visit)
    const [, manner] = manners.find(([divisor]) => number % divisor === 0) ?? [1, well]
    return manner({ item: number, path, number: visit, request })
  }

  const answer = Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const [path = ""] = request.url.split("?")
    const [, kind, value] = path.split("/")
    const number = Number(value)
    if (kind === "delay" && number >= 0) {
      return yield* Effect.as(Effect.sleep(number), HttpServerResponse.text(body(request.url)))
    }
    if (kind === "item" && number >= 0) return yield* item(request, request.url, number)
    return HttpServerResponse.text("unknown path\n", { status: 404 })
  })

  const counted = Effect.acquireUseRelease(
    Effect.sync(() => {
      counts.requests++
      counts.inFlight++
      counts.inFlightMax = Math.max(counts.inFlightMax, counts.inFlight)
    }),
    () => Effect.onInterrupt(Effect.interruptible(answer), () => Effect.sync(() => counts.abandoned++)),
    () => Effect.sync(() => counts.inFlight--)
  )

  const http = yield* NodeHttpServer.make(() => server, { host: "127.0.0.1", port: 0, gracefulShutdownTimeout: 0 })
  yield* http.serve(counted)
  return UnrulyOrigin.of({ url: HttpServer.formatAddress(http.address), counts: Effect.sync(() => ({ ...counts })) })
})

/** An origin on a free loopback port, for as long as the layer's scope. */
export const layer: Layer.Layer<UnrulyOrigin, ServeError> = Layer.effect(UnrulyOrigin, make)
