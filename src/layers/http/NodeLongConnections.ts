import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"
import { Cause, Deferred, Effect, Exit, FiberSet, Latch, Layer, Metric, Option, type Scope } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ApiSettings } from "../../services/http/ApiSettings.ts"
import { type Handler, type Limits, LongConnections } from "../../services/http/LongConnections.ts"
import * as Problem from "../../services/http/Problem.ts"
import * as Shutdown from "../../services/tasks/Shutdown.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as WebSocketPeer from "./WebSocketPeer.ts"

type Refusal = Problem.UpgradeRefused | Problem.TooManyConnections | Problem.Unavailable

const loopback = /^(?:::1|(?:::ffff:)?127\.)/

/**
 * The client of a request: who has connected or, when that is a proxy of this machine, who the proxy says has. Only the last address of
 * X-Forwarded-For is the proxy's own word.
 */
const clientOf = (request: HttpServerRequest): string => {
  const address = Option.getOrElse(request.remoteAddress, () => "unknown")
  const forwarded = request.headers["x-forwarded-for"]?.split(",").at(-1)?.trim()
  return forwarded !== undefined && forwarded !== "" && loopback.test(address) ? forwarded.slice(0, 64) : address
}

/** Sixteen bytes in Base64 (RFC 6455 section 4.1). */
const keyForm = /^[A-Za-z0-9+/]{22}==$/

const handshake = ({ headers }: HttpServerRequest): Effect.Effect<void, Problem.UpgradeRefused> => {
  if (headers["sec-websocket-version"] !== "13") {
    return Effect.fail(new Problem.UpgradeRefused({ detail: "Sec-WebSocket-Version must be 13" }))
  }
  return keyForm.test(headers["sec-websocket-key"] ?? "")
    ? Effect.void
    : Effect.fail(new Problem.UpgradeRefused({ detail: "Sec-WebSocket-Key must be 16 bytes in Base64" }))
}

const refused = () => new Problem.UpgradeRefused({ detail: "the connection cannot be upgraded" })

/** How a handler's end is told to the other side; undefined when there is nobody to tell. */
const goodbyeOf = <E extends { readonly _tag: string }>(
  exit: Exit.Exit<void, E | { readonly _tag: "Hangup"; readonly code: number; readonly reason: string }>
): readonly [code: number, reason: string] | undefined => {
  if (Exit.isSuccess(exit)) return [1000, ""]
  if (Cause.hasInterruptsOnly(exit.cause)) return [1001, "the server is about to stop"]
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (error === undefined) return [1011, "something went wrong on our side"]
  if ("code" in error && "reason" in error) return [error.code, error.reason]
  return error._tag === "PeerTooSlow" ? [1008, "too slow: come back and go on from what you have"] : undefined
}

const open = Metric.gauge("sluice_http_long_connections", {
  description: "Event streams and WebSockets that are open"
})

/** The places that there are. */
const makePlaces = ({ max, maxPerClient }: Limits) => {
  const perClient = new Map<string, number>()
  let live = 0
  const enter = (client: string): Effect.Effect<void, Problem.TooManyConnections> =>
    Effect.suspend(() => {
      const own = perClient.get(client) ?? 0
      if (live >= max) return Effect.fail(new Problem.TooManyConnections({ detail: `${max} are open in all` }))
      if (own >= maxPerClient) {
        return Effect.fail(new Problem.TooManyConnections({ detail: `${maxPerClient} are open from your address` }))
      }
      live += 1
      perClient.set(client, own + 1)
      return Metric.update(open, live)
    })
  const leave = (client: string) =>
    Effect.suspend(() => {
      live -= 1
      const own = (perClient.get(client) ?? 1) - 1
      if (own === 0) perClient.delete(client)
      else perClient.set(client, own)
      return Metric.update(open, live)
    })
  const take = (request: HttpServerRequest) =>
    Effect.gen(function*() {
      if (yield* Shutdown.isDraining) return yield* new Problem.Unavailable({ detail: "this process is about to stop" })
      const client = clientOf(request)
      return yield* Effect.asVoid(Effect.acquireRelease(enter(client), () => leave(client)))
    })
  return { take, live: Effect.sync(() => live) }
}

/** Pings all of them, and cuts those that are gone; it runs only while there are any. */
const beating = Effect.fnUntraced(function*({ heartbeat }: Limits) {
  const all = new Set<WebSocketPeer.Connection>()
  const some = Latch.makeUnsafe(false)
  yield* some.await.pipe(
    Effect.andThen(Effect.sleep(heartbeat)),
    Effect.andThen(Effect.sync(() => {
      for (const connection of all) {
        if (connection.beat() === "gone") connection.cut()
      }
    })),
    Effect.forever,
    Effect.forkScoped
  )
  return (connection: WebSocketPeer.Connection): Effect.Effect<void, never, Scope.Scope> =>
    Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => {
        all.add(connection)
        some.openUnsafe()
      }),
      () =>
        Effect.sync(() => {
          all.delete(connection)
          if (all.size === 0) some.closeUnsafe()
        })
    ))
})

/** Long connections within these limits. */
export const make = Effect.fnUntraced(function*(limits: Limits) {
  const places = makePlaces(limits)
  const keepAlive = yield* beating(limits)
  const fibers = yield* FiberSet.make<void>()
  // Each runs in the context of the layer: that of its request has a deadline, and ends with the answer.
  const fork = yield* FiberSet.runtime(fibers)()
  yield* Shutdown.onDrain("long connections", FiberSet.clear(fibers))

  const connect = Effect.fnUntraced(function*(request: HttpServerRequest, opened: Deferred.Deferred<void, Refusal>) {
    yield* places.take(request)
    const socket = yield* Effect.mapError(request.upgrade, refused)
    const reader = yield* Effect.mapError(socket.reader, refused)
    const writer = yield* socket.writer
    const wire = toIncomingMessage(request).socket
    const connection = WebSocketPeer.make({ client: clientOf(request), wire, reader, writer, limits })
    yield* keepAlive(connection)
    yield* Deferred.succeed(opened, undefined)
    return connection
  })

  const run = (request: HttpServerRequest, { handle, name }: Handler, opened: Deferred.Deferred<void, Refusal>) =>
    Effect.gen(function*() {
      const connection = yield* Effect.tapCause(connect(request, opened), (cause) => Deferred.failCause(opened, cause))
      yield* Effect.onExit(Effect.scoped(handle(connection.peer)), (exit) => {
        const goodbye = goodbyeOf(exit)
        return goodbye === undefined ? Effect.void : connection.close(...goodbye)
      })
    }).pipe(
      Effect.scoped,
      Effect.catchCause((cause) => Cause.hasDies(cause) ? Effect.logError(`${name} broke`, cause) : Effect.void),
      Tasks.named(name)
    )

  return LongConnections.of({
    place: places.take,
    live: places.live,
    webSocket: (request, handler) =>
      Effect.gen(function*() {
        yield* handshake(request)
        const opened = Deferred.makeUnsafe<void, Refusal>()
        fork(run(request, handler, opened))
        yield* Deferred.await(opened)
        // The handshake has been answered with the upgrade; this is what the counters see.
        return HttpServerResponse.empty({ status: 101 })
      })
  })
})

/** With the limits of the API's settings. */
export const layer: Layer.Layer<LongConnections, never, ApiSettings> = Layer.effect(
  LongConnections,
  Effect.flatMap(ApiSettings, ({ connections }) => make(connections))
)

/** With limits of one's own, beside no API. */
export const layerWith = (limits: Limits): Layer.Layer<LongConnections> => Layer.effect(LongConnections, make(limits))
