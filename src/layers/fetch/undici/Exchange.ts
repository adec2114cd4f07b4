/**
 * One request on one connection: undici's callbacks on one side, a response with its body on the other. A small body is handed over
 * whole, in one step; a larger one as it comes, with back pressure down to the socket.
 */
import { Cause, Data, Effect, type Pull, Stream } from "effect"
import type { IncomingHttpHeaders } from "node:http"
import type { Dispatcher } from "undici"
import type { TransportWatch } from "../../../services/fetch/TransportWatch.ts"
import type { Connection } from "./Connection.ts"
import type { ConnectionPool } from "./ConnectionPool.ts"

/** Why an exchange was given up by this side. */
export class ExchangeAborted extends Data.TaggedError("ExchangeAborted")<{ readonly code: string }> {}

/** Interim (1xx) responses that are put up with before one final response. */
const interimMax = 16

/** Bytes that wait in memory before the socket is paused. */
const highWaterBytes = 256 * 1024

/** What came of a request: the head, and the body whole or as it comes. */
export interface Received {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** `undefined` when the body comes as a stream. */
  readonly whole: Buffer | undefined
  readonly pull: Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown>
  /** Ends the exchange if it has not ended: what was not read is not read any more. */
  readonly abort: () => void
}

type Settled = (error: unknown, received: Received | undefined) => void

export class Exchange implements Dispatcher.DispatchHandler, Received {
  status = 0
  headers: IncomingHttpHeaders = {}
  whole: Buffer | undefined = undefined
  private readonly pool: ConnectionPool
  private readonly connection: Connection
  private readonly watch: TransportWatch | undefined
  private readonly inlineBytes: number
  private readonly settled: Settled
  private controller: Dispatcher.DispatchController | undefined = undefined
  private chunks: Array<Buffer> = []
  private bufferedBytes = 0
  private interim = 0
  private isStreaming = false
  private isEnded = false
  private error: unknown = undefined
  private wake: (() => void) | undefined = undefined

  constructor(
    pool: ConnectionPool,
    connection: Connection,
    watch: TransportWatch | undefined,
    inlineBytes: number,
    settled: Settled
  ) {
    this.pool = pool
    this.connection = connection
    this.watch = watch
    this.inlineBytes = inlineBytes
    this.settled = settled
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    if (this.isEnded) controller.abort(new ExchangeAborted({ code: "ABORTED" }))
    else this.watch?.enter("headers")
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) {
      if (++this.interim > interimMax) controller.abort(new ExchangeAborted({ code: "TOO_MANY_INTERIM_RESPONSES" }))
      return
    }
    this.status = status
    this.headers = headers
    this.watch?.enter("body")
    const length = headers["content-length"]
    if (length !== undefined && Number(length) > this.inlineBytes) this.stream()
    // A caller who is no fetcher may want the head before the end (server-sent events), and a fetcher needs no more than the head of a
    // redirect or an error: there, what has not come with the head is streamed.
    else if (this.watch === undefined ? length === undefined : status >= 300) setImmediate(() => this.stream())
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.watch?.received(chunk.length)
    this.chunks.push(chunk)
    this.bufferedBytes += chunk.length
    if (!this.isStreaming) {
      if (this.bufferedBytes > this.inlineBytes) this.stream()
      return
    }
    if (this.bufferedBytes > highWaterBytes) controller.pause()
    this.notify()
  }

  onResponseEnd(): void {
    if (this.isEnded) return
    this.isEnded = true
    this.pool.release(this.connection)
    if (this.isStreaming) return this.notify()
    const [first] = this.chunks
    this.whole = first === undefined
      ? empty
      : this.chunks.length === 1
      ? first
      : Buffer.concat(this.chunks, this.bufferedBytes)
    this.settled(undefined, this)
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.isEnded) return
    this.end(error)
    if (this.isStreaming) this.notify()
    else this.settled(error, undefined)
  }

  /** Pulls what has come since the last pull. */
  get pull(): Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown> {
    return this.next()
  }

  private next(): Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown> {
    return Effect.suspend(() => {
      if (this.chunks.length > 0) return Effect.succeed(this.take())
      if (this.error !== undefined) return Effect.fail(this.error)
      if (this.isEnded) return Cause.done()
      return Effect.flatMap(this.more, () => this.next())
    })
  }

  abort(): void {
    if (this.isEnded) return
    const error = new ExchangeAborted({ code: "ABORTED" })
    this.end(error)
    this.controller?.abort(error)
  }

  private get more(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.wake = () => resume(Effect.void)
    })
  }

  private end(error: unknown): void {
    this.isEnded = true
    this.error = error
    this.pool.discard(this.connection, error instanceof Error ? error : null)
  }

  private stream(): void {
    if (this.isEnded || this.isStreaming) return
    this.isStreaming = true
    this.settled(undefined, this)
  }

  private notify(): void {
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  private take(): readonly [Uint8Array, ...Array<Uint8Array>] {
    const [first = empty, ...rest] = this.chunks
    this.chunks = []
    this.bufferedBytes = 0
    if (this.controller?.paused === true) this.controller.resume()
    return [first, ...rest]
  }
}

const empty = Buffer.alloc(0)

/** The body of an exchange as a stream; leaving it early ends the exchange. */
export const bodyStream = <E>(received: Received, onError: (cause: unknown) => E): Stream.Stream<Uint8Array, E> =>
  received.whole === undefined
    ? Stream.ensuring(
      Stream.mapError(Stream.fromPull(Effect.succeed(received.pull)), onError),
      Effect.sync(() => received.abort())
    )
    : received.whole.length === 0
    ? Stream.empty
    : Stream.succeed(received.whole)
