import type { Options } from "@effect/platform-node/NodeHttpServer"
import { Clock, Duration, Effect } from "effect"
import { type IncomingMessage, Server, type ServerResponse } from "node:http"
import { Server as NetServer, type Socket } from "node:net"

/** Heads and bodies are small: a client that needs longer is broken, or holds the connection on purpose. */
const maxArrivalMillis = 10_000

/** Longer than proxies keep theirs (a minute, as a rule): the one that sends requests should be the one that closes. */
const keepAliveMillis = 75_000

/** Connections are looked at so often while they are left. */
const lookMillis = 20

/** The listener closes when nobody has connected for so long, or after the longer time in any case. */
const calmMillis = 100
const calmWithinMillis = 1_000

/** A connection, and how long it has been quiet. */
interface Line {
  /** The last answer that was begun on it; pipelined ones are sent in their order. */
  last: ServerResponse | undefined
  bytesRead: number
  quietSinceMillis: number
}

const isBusy = ({ last }: Line): boolean => last !== undefined && !last.writableFinished && !last.destroyed

/**
 * Node's HTTP server, with limits on how long a request may take to arrive, and with a way to leave that cuts nobody.
 *
 * Node's own `close` ends idle connections in the same moment, though a request may be on its way on each of them, and leaves those that
 * were busy open when they become idle. Here the listener closes first; then each connection is told to close with its next answer; and
 * one that stays quiet is closed when it has been so for a while.
 */
export class HttpListener extends Server {
  private readonly lines = new Map<Socket, Line>()
  private isLeaving = false
  private connected = 0

  constructor(arrivalMillis: number) {
    super({
      requestTimeout: arrivalMillis,
      headersTimeout: arrivalMillis,
      connectionsCheckingInterval: Math.ceil(arrivalMillis / 4),
      keepAliveTimeout: keepAliveMillis
    })
    this.on("connection", (socket: Socket) => {
      this.connected++
      this.lines.set(socket, { last: undefined, bytesRead: 0, quietSinceMillis: 0 })
      socket.once("close", () => this.lines.delete(socket))
    })
    const onRequest = (request: IncomingMessage, response: ServerResponse) => {
      const line = this.lines.get(request.socket)
      if (line !== undefined) line.last = response
      if (this.isLeaving) response.shouldKeepAlive = false
    }
    this.on("request", onRequest)
    this.on("checkContinue", onRequest)
    // From here on it speaks another protocol, whose own end is not ours to choose.
    this.on("upgrade", (request: IncomingMessage) => this.lines.delete(request.socket))
  }

  /** Node's own, which takes a connection that has not sent anything for a busy one, and would leave it open. */
  override close(onClosed?: (error?: Error) => void): this {
    for (const socket of this.lines.keys()) if (socket.bytesRead === 0) socket.destroy()
    return super.close(onClosed)
  }

  /** Connections that speak HTTP. */
  get lineCount(): number {
    return this.lines.size
  }

  /**
   * Takes no more connections, as soon as nobody connects or so much time has passed; answers what comes on those that there are with
   * `Connection: close`, and closes one when nothing was heard on it for so long. Returns when there is none left.
   */
  leave(quiet: Duration.Input): Effect.Effect<void> {
    const quietMillis = Duration.toMillis(Duration.fromInputUnsafe(quiet))
    return Effect.gen({ self: this }, function*() {
      const clock = yield* Clock.Clock
      yield* this.calm(Math.min(quietMillis, calmWithinMillis))
      if (this.listening) NetServer.prototype.close.call(this)
      this.isLeaving = true
      for (const line of this.lines.values()) {
        line.quietSinceMillis = clock.currentTimeMillisUnsafe()
        if (line.last !== undefined && !line.last.headersSent) line.last.shouldKeepAlive = false
      }
      while (this.lines.size > 0) {
        const lookedAt = clock.currentTimeMillisUnsafe()
        this.hear(lookedAt)
        // What has arrived meanwhile is read before anything is closed.
        yield* afterPoll
        this.hear(lookedAt)
        for (const [socket, line] of this.lines) {
          if (lookedAt - line.quietSinceMillis >= quietMillis) socket.destroy()
        }
        yield* Effect.sleep(lookMillis)
      }
      // Ends the timer that looks for slow requests.
      this.close()
    })
  }

  /**
   * Waits for a moment in which nobody connects, for so long at most: a connection that the kernel has made, and we have not accepted when
   * the listener closes, is reset. A proxy that keeps its connections, as it should, makes hardly any.
   */
  private calm(mostMillis: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      for (let waited = 0, calm = 0; waited < mostMillis && calm < calmMillis; waited += lookMillis) {
        const before = this.connected
        yield* Effect.sleep(lookMillis)
        calm = this.connected === before ? calm + lookMillis : 0
      }
      // Right after the loop has looked at its sockets.
      yield* afterPoll
    })
  }

  /** Notes which connections are quiet since when. */
  private hear(nowMillis: number): void {
    for (const [socket, line] of this.lines) {
      if (socket.bytesRead === line.bytesRead && !isBusy(line)) continue
      line.bytesRead = socket.bytesRead
      // One that was just read from has been quiet since the next look at the earliest.
      line.quietSinceMillis = nowMillis + 1
    }
  }
}

/** Node runs immediates right after it has read its sockets. */
const afterPoll = Effect.callback<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/**
 * A listener of a server whose answers have this deadline. Head and body of a request must have arrived within 10 s, and within half of the
 * deadline: else 408, and the connection is closed. Looked at four times in that time. A connection that is quiet is kept for 75 s.
 */
export const make = (deadline: Duration.Duration): HttpListener =>
  new HttpListener(Math.max(4, Math.min(maxArrivalMillis, Math.floor(Duration.toMillis(deadline) / 2))))

/**
 * The largest message that a client may send over a WebSocket, in bytes: 16 KiB, else it is closed with 1009. Messages are not compressed:
 * that would cost each connection more memory than everything else.
 */
export const webSocket: NonNullable<Options["websocket"]> = {
  maxPayload: 16_384,
  perMessageDeflate: false
}
