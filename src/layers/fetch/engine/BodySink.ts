/**
 * Where the decoded bytes of one body go: counted, hashed, kept or saved. It may outlive its attempt, so that the next one can go on
 * where this one broke off (RFC 9110 section 14).
 */
import { Effect, Exit, Result, Scope } from "effect"
import { createHash } from "node:crypto"
import type { BodyStore, BodyWriter } from "../../../services/fetch/BodyStore.ts"
import { type BodyStoreError, BodyTooLarge, ProtocolError, TruncatedBody } from "../../../services/fetch/FetchError.ts"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"

/** What is to become of bodies. */
export interface Wants {
  readonly store: BodyStore["Service"] | undefined
  /** Whether bodies are handed back in memory. */
  readonly keeps: boolean
  /** Stops after this many bytes and takes what is there for the whole; `undefined` wants all of it. */
  readonly cutBytes: number | undefined
}

/** What a sink is made with. */
export interface SinkOptions {
  /** What was asked for, before redirects: the body is called by it. */
  readonly target: FetchTarget
  readonly wants: Wants
  readonly contentType: string | undefined
  readonly sinks: Set<BodySink>
}

/** A strong validator: only with one may pieces of a body be put together. */
const strongEtag = /^"[\x21\x23-\x7E\x80-\xFF]*"$/

/** A `Content-Range: bytes first-last/total`. */
const contentRange = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/

export interface Taken {
  readonly bytes: number
  readonly sha256: string
  readonly savedTo: string | null
  readonly body: Uint8Array
}

export class BodySink {
  bytes = 0
  private readonly wants: Wants
  private readonly writer: BodyWriter | undefined
  private readonly scope: Scope.Closeable
  private readonly sinks: Set<BodySink>
  private readonly sha256 = createHash("sha256")
  private readonly kept: Array<Uint8Array> = []
  private etag: string | undefined = undefined
  /** Bytes that the whole of it has, when a head has said that. */
  private total: number | undefined = undefined

  constructor(wants: Wants, writer: BodyWriter | undefined, scope: Scope.Closeable, sinks: Set<BodySink>) {
    this.wants = wants
    this.writer = writer
    this.scope = scope
    this.sinks = sinks
    sinks.add(this)
  }

  /** A sink for a body; it is in `sinks` until it is closed. */
  static make({ contentType, sinks, target, wants }: SinkOptions): Effect.Effect<BodySink, BodyStoreError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.make(), (scope) =>
        wants.store === undefined
          ? Effect.succeed(new BodySink(wants, undefined, scope, sinks))
          : Effect.onError(
            Effect.map(
              restore(Scope.provide(wants.store.writer(target, contentType), scope)),
              (writer) => new BodySink(wants, writer, scope, sinks)
            ),
            () => Scope.close(scope, Exit.void)
          ))
    )
  }

  /** Closes every sink that is still open. */
  static closeAll(sinks: Set<BodySink>): Effect.Effect<void> {
    return Effect.suspend(() => Effect.forEach([...sinks], (sink) => sink.close, { discard: true }))
  }

  /** This body is a plain one that may be gone on with. */
  mayResume(etag: string | undefined, length: number | undefined): void {
    if (etag !== undefined && strongEtag.test(etag)) this.etag = etag
    this.total = length
  }

  /** What the next request says to get only the rest; `undefined` when it has to start again. */
  get resumeHeaders(): { readonly range: string; readonly "if-range": string } | undefined {
    return this.etag === undefined || this.bytes === 0 ||
        this.writer === undefined && !this.wants.keeps && this.bytes < 65_536
      ? undefined
      : { range: `bytes=${this.bytes}-`, "if-range": this.etag }
  }

  /**
   * Whether a 206 is exactly the rest of this body: it starts where this one ends, reaches to the end, agrees about the size and carries
   * the same validator. Servers lie about each of these.
   */
  continues(etag: string | undefined, range: string | undefined, length: number | undefined): boolean {
    const found = range === undefined ? null : contentRange.exec(range)
    if (found === null || etag !== this.etag) return false
    const [first, last, total] = [Number(found[1]), Number(found[2]), Number(found[3])]
    const isRest = first === this.bytes && last === total - 1 && (this.total === undefined || this.total === total) &&
      (length === undefined || length === total - first)
    // What comes is measured against it: a response need not say its length.
    if (isRest) this.total = total
    return isRest
  }

  /** A part that the user has asked for: as long as its range says. */
  expect(range: string | undefined): void {
    const found = range === undefined ? null : contentRange.exec(range)
    if (found !== null) this.total = Number(found[2]) - Number(found[1]) + 1
  }

  /** Takes one piece. */
  take(
    chunk: Uint8Array,
    limitBytes: number,
    url: string
  ): Effect.Effect<void, BodyTooLarge | BodyStoreError | ProtocolError> {
    const bytes = this.bytes + chunk.length
    if (bytes > limitBytes) return Effect.fail(new BodyTooLarge({ url, limitBytes }))
    if (this.total !== undefined && bytes > this.total) {
      const problem = `more than the ${this.total} bytes that were promised`
      return Effect.fail(new ProtocolError({ url, code: "BAD_CONTENT_RANGE", problem, bytesReceived: bytes }))
    }
    this.sha256.update(chunk)
    if (this.writer === undefined) {
      this.bytes = bytes
      if (this.wants.keeps) this.kept.push(chunk)
      return Effect.void
    }
    return Effect.map(this.writer.write(chunk), () => {
      this.bytes = bytes
    })
  }

  /** Whether all that was promised has come. */
  whole(url: string): Result.Result<void, TruncatedBody> {
    return this.total === undefined || this.bytes === this.total
      ? Result.void
      : Result.fail(new TruncatedBody({ url, bytesReceived: this.bytes }))
  }

  /** Makes the body final. */
  get finish(): Effect.Effect<Taken, BodyStoreError> {
    return Effect.flatMap(
      this.writer === undefined ? Effect.succeed(null) : this.writer.commit,
      (savedTo) =>
        Effect.as(this.close, {
          bytes: this.bytes,
          sha256: this.sha256.digest("hex"),
          savedTo,
          body: this.kept.length === 0 ? nothing : Buffer.concat(this.kept)
        })
    )
  }

  /** Throws away what is not final. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.sinks.delete(this)
      return Effect.uninterruptible(Scope.close(this.scope, Exit.void))
    })
  }
}

const nothing = new Uint8Array(0)
