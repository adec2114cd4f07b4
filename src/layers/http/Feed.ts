/**
 * What happens to something, told over a connection that stays open: as server-sent events or, when the request asks for an upgrade, over a
 * WebSocket. The documents are the same: what is `data` in the one is a message of the other.
 */
import { Effect, Schedule, type Scope, Stream } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as LongConnections from "../../services/http/LongConnections.ts"
import type * as Problem from "../../services/http/Problem.ts"
import * as Shutdown from "../../services/tasks/Shutdown.ts"

/** One thing that has happened. */
export interface Item {
  /** What a client comes back with after a break; undefined where each item says everything. */
  readonly id: string | undefined
  readonly document: unknown
}

/** Something to follow, until its end. */
export interface Feed<E> {
  /** In the live task tree. */
  readonly name: string
  /** The name of its events. */
  readonly event: string
  readonly items: Stream.Stream<Item, E>
}

/** Comments between events keep proxies from closing a quiet stream. */
const keepAlive = Stream.fromSchedule(Schedule.spaced("15 seconds")).pipe(Stream.map(() => ": still here\n\n"))

/** A client that lost the stream comes back after a second, with Last-Event-ID. */
const preamble = "retry: 1000\n\n"

const eventText = (event: string, { document, id }: Item): string =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(document)}\n\n`

/** A feed as the text of server-sent events; ends when the process drains. */
export const eventStream = <E>({ event, items }: Feed<E>): Stream.Stream<Uint8Array> =>
  Stream.succeed(preamble).pipe(
    Stream.concat(
      Stream.merge(Stream.map(items, (item) => eventText(event, item)), keepAlive, { haltStrategy: "left" })
    ),
    // A store that fails in mid-stream ends the stream: the client comes back and learns of it as a problem.
    Stream.catchCause((cause) => Stream.drain(Stream.fromEffect(Effect.logDebug("an event stream broke", cause)))),
    Stream.interruptWhen(Shutdown.awaitDraining),
    Stream.encodeText
  )

const broken = new LongConnections.Hangup({ code: 1011, reason: "cannot be followed now: come back and go on" })

/** A feed as the messages of a WebSocket. What the client sends is not looked at, but read: it may say that it is still there. */
const messages = <E>({ items }: Feed<E>) => (peer: LongConnections.Peer) => {
  const told = Stream.runForEach(
    Stream.mapError(items, () => broken),
    ({ document }) => peer.send(JSON.stringify(document))
  )
  return Effect.raceFirst(told, Effect.forever(peer.receive))
}

/** Whether a request asks for a WebSocket. Any other upgrade is answered as if it had not been asked for. */
const isWebSocket = ({ headers }: HttpServerRequest): boolean => headers["upgrade"]?.toLowerCase() === "websocket"

/** Answers a request with the feed, in the way that it asks for. */
export const answer = <E>(
  request: HttpServerRequest,
  feed: Feed<E>
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  Problem.UpgradeRefused | Problem.TooManyConnections | Problem.Unavailable,
  LongConnections.LongConnections | Scope.Scope
> =>
  Effect.flatMap(LongConnections.LongConnections, (connections) =>
    isWebSocket(request)
      ? connections.webSocket(request, { name: feed.name, handle: messages(feed) })
      : Effect.as(
        connections.place(request),
        HttpServerResponse.stream(eventStream(feed), {
          contentType: "text/event-stream",
          headers: { "cache-control": "no-store", "x-accel-buffering": "no" }
        })
      ))
