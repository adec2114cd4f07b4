/**
 * One request and its response. A small body is handed over whole, in one step; a larger one as it comes, with back pressure down to the
 * socket. A request that met the end of a kept connection goes out again on a new one.
 */
import { Cause, Effect, type Pull } from "effect"
import type { Readable } from "node:stream"
import type { TransportWatch } from "../../../services/fetch/TransportWatch.ts"
import { BodyPieces } from "./BodyPieces.ts"
import type { Connection, Rider } from "./Connection.ts"
import type { ConnectionPool } from "./ConnectionPool.ts"
import * as Framing from "./Framing.ts"
import type { RequestHead } from "./RequestHead.ts"
import type { Fields, ResponseHead } from "./ResponseHead.ts"
import { type Reader, ResponseParser } from "./ResponseParser.ts"
import { Upload } from "./Upload.ts"
import { ConnectionLost, ExchangeAborted } from "./WireFault.ts"

/** Bytes that wait in memory before the socket is paused. */
const highWaterBytes = 256 * 1024

/** Bodies up to this size are written with their head, in one piece. */
const oneWriteBytes = 16 * 1024

/** How long a body waits for "100 Continue", as curl has it. */
const continueMillis = 1000

/** What is asked. */
export interface Question {
  readonly method: string
  readonly head: RequestHead
  readonly body: Uint8Array | Readable | undefined
}

/** What came of a request: the head, and the body whole or as it comes. */
export interface Received {
  readonly status: number
  readonly headers: Fields
  /** `undefined` when the body comes as a stream. */
  readonly whole: Buffer | undefined
  readonly pull: Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown>
  /** Ends the exchange if it has not ended: what was not read is not read any more. */
  readonly abort: () => void
}

export interface ExchangeOptions {
  readonly pool: ConnectionPool
  readonly connection: Connection
  readonly question: Question
  readonly watch: TransportWatch | undefined
  /** Bodies up to this size are handed over whole. */
  readonly inlineBytes: number
  /** Called once, with the error or with what came. */
  readonly settled: (error: unknown, received: Received | undefined) => void
}

export class Exchange implements Rider, Reader, Received {
  status = 0
  headers: Fields = {}
  whole: Buffer | undefined = undefined
  readonly watch: TransportWatch | undefined
  private readonly pool: ConnectionPool
  private readonly connection: Connection
  private readonly question: Question
  private readonly inlineBytes: number
  private readonly settled: ExchangeOptions["settled"]
  private readonly parser: ResponseParser
  private upload: Upload | undefined = undefined
  private readonly pieces = new BodyPieces()
  /** Something of the request was written to the present socket. */
  private isSent = false
  /** The body, or what there is instead of one, was handed to the socket. */
  private isBodySent = false
  private wasReused = false
  private isStreaming = false
  private isPaused = false
  private isEnded = false
  private error: unknown = undefined
  private wake: (() => void) | undefined = undefined

  constructor({ connection, inlineBytes, pool, question, settled, watch }: ExchangeOptions) {
    this.pool = pool
    this.connection = connection
    this.question = question
    this.watch = watch
    this.inlineBytes = inlineBytes
    this.settled = settled
    this.parser = new ResponseParser(question.method, connection.options.headersMaxBytes, this)
  }

  start(): void {
    this.connection.board(this)
  }

  get hasAnswer(): boolean {
    return this.parser.hasBegun
  }

  onOpen(): void {
    this.wasReused = this.connection.isReused
    if (!this.wasReused || this.isRepeatable) return this.send()
    // It could not go out twice.
    if (this.connection.isDoubtful) return this.connection.reopen()
    // The end of the connection, if it is already here, is seen in the next turn of the event loop.
    setImmediate(() =>
      setImmediate(() => {
        if (!this.isEnded && !this.isSent && this.wasReused) this.send()
      })
    )
  }

  onBytes(piece: Buffer): void {
    if (this.isEnded) return
    // Nothing was asked yet: the line is of no use.
    if (!this.isSent) return this.onLost(new ConnectionLost({ code: "CLOSED" }))
    const fault = this.parser.take(piece)
    // The reader may have been told of a head that it gives up.
    if (this.isEnded) return
    if (fault !== undefined) return this.fail(fault)
    if (this.parser.isDone) return this.complete()
    if (!this.isStreaming) return
    if (this.pieces.bytes > highWaterBytes && !this.isPaused) {
      this.isPaused = true
      this.connection.pause()
    }
    this.notify()
  }

  /** A server that never says "continue" gets the body all the same (RFC 9110 section 10.1.1). */
  onQuiet(): void {
    if (this.isSent) this.sendBody()
  }

  onDrain(): void {
    this.upload?.resume()
  }

  onFinish(): void {
    if (this.isEnded) return
    const lost = this.parser.finish()
    if (lost !== undefined) this.onLost(lost)
    else this.complete()
  }

  onLost(error: Error): void {
    if (this.isEnded) return
    if (!this.mayGoAgain) return this.fail(error)
    this.wasReused = false
    this.isSent = false
    this.isBodySent = false
    this.connection.reopen()
  }

  onInterim(status: number): void {
    if (status === 100) this.sendBody()
  }

  onHead(head: ResponseHead, length: number | undefined): void {
    this.status = head.status
    this.headers = head.fields
    this.watch?.enter("body")
    if (length !== undefined && length > this.inlineBytes) this.stream()
    // A caller who is no fetcher may want the head before the end (server-sent events), and a fetcher needs no more than the head of a
    // redirect or an error: there, what has not come with the head is streamed.
    else if (this.watch === undefined ? length === undefined : head.status >= 300) setImmediate(() => this.stream())
  }

  onBody(piece: Buffer): void {
    this.watch?.received(piece.length)
    this.pieces.push(piece)
    if (!this.isStreaming && this.pieces.bytes > this.inlineBytes) this.stream()
  }

  /** Pulls what has come since the last pull. */
  get pull(): Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown> {
    return this.next()
  }

  abort(): void {
    if (!this.isEnded) this.end(new ExchangeAborted({ code: "ABORTED" }))
  }

  private send(): void {
    const { body, head } = this.question
    this.isSent = true
    this.watch?.enter("headers")
    if (head.expectsContinue) {
      this.connection.write(head.text)
      this.connection.quietAfter(continueMillis)
    } else if (body instanceof Uint8Array && body.length <= oneWriteBytes) {
      this.isBodySent = true
      const text = Buffer.from(head.text, "latin1")
      this.connection.write(Buffer.concat([text, body], text.length + body.length))
    } else {
      this.connection.write(head.text)
      this.sendBody()
    }
  }

  private sendBody(): void {
    if (this.isBodySent || this.isEnded || this.parser.head !== undefined) return
    this.isBodySent = true
    const { body, head } = this.question
    if (body === undefined) return
    if (body instanceof Uint8Array) this.connection.write(body)
    else {
      this.upload = new Upload(body, head.length, this.connection, (error) => this.fail(error))
      this.upload.start()
    }
  }

  /**
   * Whether a lost connection means nothing but that: it was a kept one, no byte of an answer had come, and the request may go out twice
   * or has not gone out at all (RFC 9112 section 9.3.1, RFC 9110 section 9.2.2).
   */
  private get mayGoAgain(): boolean {
    return this.wasReused && !this.hasAnswer && (!this.isSent || this.isRepeatable)
  }

  /** A stream is read only once. */
  private get isRepeatable(): boolean {
    const { body, head } = this.question
    return head.isRepeatable && (body === undefined || body instanceof Uint8Array)
  }

  private get isUploaded(): boolean {
    return this.isBodySent && this.connection.isFlushed && (this.upload === undefined || this.upload.isDone)
  }

  private complete(): void {
    this.isEnded = true
    const { head, isReusable } = this.parser
    const isKept = head !== undefined && isReusable && !this.question.head.closes && this.isUploaded
    if (isKept && this.connection.rest(Framing.keepAliveMillis(head))) {
      if (this.isPaused) this.connection.resume()
      this.pool.release(this.connection)
    } else {
      // What is left of the request is not wanted any more.
      this.upload?.stop()
      this.pool.discard(this.connection, null)
    }
    if (this.isStreaming) return this.notify()
    this.whole = this.pieces.whole()
    this.settled(undefined, this)
  }

  private fail(error: unknown): void {
    if (this.isEnded) return
    // The head of a redirect or an error says it all, whatever becomes of its body.
    if (this.watch !== undefined && this.status >= 300) this.stream()
    if (this.isEnded) return
    this.end(error)
    if (this.isStreaming) this.notify()
    else this.settled(error, undefined)
  }

  private end(error: unknown): void {
    this.isEnded = true
    this.error = error
    this.upload?.stop()
    this.pool.discard(this.connection, error instanceof Error ? error : null)
  }

  private next(): Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown> {
    return Effect.suspend(() => {
      const pieces = this.pieces.take()
      if (pieces !== undefined) {
        this.resume()
        return Effect.succeed(pieces)
      }
      if (this.error !== undefined) return Effect.fail(this.error)
      if (this.isEnded) return Cause.done()
      return Effect.flatMap(this.more, () => this.next())
    })
  }

  private get more(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.wake = () => resume(Effect.void)
    })
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

  private resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    if (!this.isEnded) this.connection.resume()
  }
}
