/**
 * Connections that stay open: WebSockets, and streams of server-sent events. There are only so many of them, in all and for each client; a
 * WebSocket whose reader is too slow is dropped, one whose other side is gone is found by pings, and all end when the process drains.
 */
import { Context, Duration, type Effect, Schema, type Scope } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type * as Problem from "./Problem.ts"

/** How many connections there may be, and how they are kept. */
export interface Limits {
  /** Connections in all. @default 2000 */
  readonly max: number
  /** Connections of one client address. @default 200 */
  readonly maxPerClient: number
  /** Between two pings. Who has answered nothing by the next one is gone. @default 15 seconds */
  readonly heartbeat: Duration.Duration
  /** How long a message waits for a reader that does not read. @default 10 seconds */
  readonly patience: Duration.Duration
  /** How long the other side may take to say goodbye. @default 2 seconds */
  readonly farewell: Duration.Duration
}

/** What holds unless it is said otherwise. */
export const defaults: Limits = {
  max: 2_000,
  maxPerClient: 200,
  heartbeat: Duration.seconds(15),
  patience: Duration.seconds(10),
  farewell: Duration.seconds(2)
}

/** The other side has closed the connection, or it broke; `code` is that of its close frame, 1006 when there was none. */
export class PeerGone extends Schema.TaggedError<PeerGone>()("PeerGone", { code: Schema.Int }) {
  override get message(): string {
    return `the other side of a WebSocket has gone (${this.code})`
  }
}

/** The other side did not read what it was sent within the {@link Limits.patience}. */
export class PeerTooSlow extends Schema.TaggedError<PeerTooSlow>()("PeerTooSlow", { unreadBytes: Schema.Int }) {
  override get message(): string {
    return `a WebSocket has not read ${this.unreadBytes} bytes in time`
  }
}

/** The connection is to be closed with this code and reason (RFC 6455 section 7.4). */
export class Hangup extends Schema.TaggedError<Hangup>()("Hangup", { code: Schema.Int, reason: Schema.String }) {
  override get message(): string {
    return `a WebSocket is closed: ${this.reason} (${this.code})`
  }
}

/** The other side of a WebSocket. */
export interface Peer {
  /** Its address, as far as the server can tell. */
  readonly client: string
  /** What it has sent since, a text or bytes for each message. What nobody takes is not read from the wire. */
  readonly receive: Effect.Effect<ReadonlyArray<string | Uint8Array>, PeerGone>
  /**
   * Sends a message. Waits while the connection's buffer is full (64 KiB, Node's high-water mark): what is unread here is never more than
   * that and one message.
   */
  readonly send: (text: string) => Effect.Effect<void, PeerGone | PeerTooSlow>
}

/** What becomes of a WebSocket: it is open for as long as `handle` runs. */
export interface Handler {
  /** In the live task tree. */
  readonly name: string
  /**
   * Closes with 1000 when it ends, 1008 on PeerTooSlow, 1011 when it dies, and as a {@link Hangup} says. It learns that the other side has
   * gone when it receives or sends: what may do neither for long should receive beside it, if only to throw away what comes.
   */
  readonly handle: (peer: Peer) => Effect.Effect<void, PeerGone | PeerTooSlow | Hangup, Scope.Scope>
}

/** The long connections of a process. */
export class LongConnections extends Context.Service<LongConnections, {
  /** One of the places that there are, until the scope closes. For what is open without being a WebSocket. */
  readonly place: (
    request: HttpServerRequest
  ) => Effect.Effect<void, Problem.TooManyConnections | Problem.Unavailable, Scope.Scope>
  /** Takes the connection of a request over, and answers the request; `handle` goes on by itself, in the context of the layer. */
  readonly webSocket: (
    request: HttpServerRequest,
    handler: Handler
  ) => Effect.Effect<
    HttpServerResponse,
    Problem.UpgradeRefused | Problem.TooManyConnections | Problem.Unavailable
  >
  /** How many there are now. */
  readonly live: Effect.Effect<number>
}>()("sluice/services/http/LongConnections") {}
