/**
 * Content codings undone (RFC 9110 section 8.4): gzip, deflate, br and zstd, also in a chain. A stream that ends before its own end is
 * refused, and so is one that goes on after it, and one that grows beyond all measure. A body without a byte is empty, whatever its coding.
 */
import { Effect, Result, type Scope } from "effect"
import { BodyTooLarge, ContentEncodingError, TruncatedBody } from "../../../services/fetch/FetchError.ts"
import * as Coding from "./Coding.ts"
import { DecoderStage, TrailingBytes } from "./DecoderStage.ts"

/** Codings in a chain; nobody means more than two. */
const chainMax = 3

/** Bodies up to this size are decoded in one step on this thread, as long as they stay below `inlineOutMax`. */
const inlineMax = 16 * 1024
const inlineOutMax = 256 * 1024
/** Frames that are decoded in one step. */
const inlineFramesMax = 16

/** Growth is not judged before this much has come out. */
const ratioFloorBytes = 1024 * 1024

export interface DecodeLimits {
  readonly url: string
  readonly bodyMaxBytes: number
  readonly decodeRatioMax: number
}

type DecodeFault = ContentEncodingError | TruncatedBody | BodyTooLarge

/** Names that say that nothing was done; "none" is not registered, but servers send it. */
const plain = new Set(["", "identity", "none"])

/** The codings of a Content-Encoding header in the order to undo them; empty when the body is as it is. */
export const codings = (
  header: string | undefined,
  url: string
): Result.Result<ReadonlyArray<string>, ContentEncodingError> => {
  if (header === undefined || header === "") return Result.succeed([])
  const named = header.toLowerCase().split(",").map((each) => each.trim()).filter((each) => !plain.has(each))
  if (named.length > chainMax) {
    return Result.fail(
      new ContentEncodingError({ url, encoding: header.slice(0, 100), problem: `more than ${chainMax} codings` })
    )
  }
  const unknown = named.find((each) => !Coding.isKnown(each))
  if (unknown !== undefined) {
    return Result.fail(new ContentEncodingError({ url, encoding: unknown.slice(0, 100), problem: "unknown coding" }))
  }
  return Result.succeed(named.reverse())
}

/** What to ask for: the codings that are undone here. */
export const acceptEncoding = "gzip, br, zstd"

const faultOf = (cause: unknown, coding: string, limits: DecodeLimits, bytesReceived: number): DecodeFault => {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "UNKNOWN"
  return code === "Z_BUF_ERROR"
    ? new TruncatedBody({ url: limits.url, bytesReceived })
    : new ContentEncodingError({ url: limits.url, encoding: coding, problem: code })
}

/**
 * Decodes a small whole body in one step: the body; or `undefined` when it is too large for that and has to go through a `BodyDecoder`.
 */
export const decodeWhole = (
  body: Uint8Array,
  codings: ReadonlyArray<string>,
  limits: DecodeLimits
): Result.Result<Uint8Array | undefined, DecodeFault> => {
  let decoded = body
  for (const coding of codings) {
    if (decoded.length > inlineMax) return Result.succeed(undefined)
    const input = decoded
    const step = Result.try({
      try: () => undo(Coding.of(coding, input), input, Math.min(inlineOutMax, limits.bodyMaxBytes)),
      catch: (cause) => cause
    })
    if (Result.isFailure(step)) {
      const isTooLarge = step.failure instanceof RangeError
      return isTooLarge ? Result.succeed(undefined) : Result.fail(faultOf(step.failure, coding, limits, body.length))
    }
    if (step.success === undefined) return Result.succeed(undefined)
    decoded = step.success
  }
  return Result.succeed(decoded)
}

/** One coding of a whole body undone; `undefined` when it takes too many steps or gives too much. */
const undo = (coding: Coding.Coding, body: Uint8Array, max: number): Uint8Array | undefined => {
  const out: Array<Buffer> = []
  let left = max
  let rest = body
  while (rest.length > 0) {
    if (out.length === inlineFramesMax || left === 0) return undefined
    const step = coding.whole(rest, left)
    out.push(step.out)
    left -= step.out.length
    rest = rest.subarray(step.taken)
    if (coding.after === "more" || rest.length === 0) continue
    if (coding.after === "nothing" || !Coding.isZeros(rest)) throw new TrailingBytes()
    break
  }
  const [only] = out
  return out.length === 1 && only !== undefined ? only : Buffer.concat(out)
}

/** A chain of decoders that is fed piece by piece. */
export interface BodyDecoder {
  /** What a piece decodes to. */
  readonly push: (chunk: Uint8Array) => Effect.Effect<ReadonlyArray<Uint8Array>, DecodeFault>
  /** What was left, once every piece has come. */
  readonly end: Effect.Effect<ReadonlyArray<Uint8Array>, DecodeFault>
}

/** Passes everything through: a body without codings. */
const identity: BodyDecoder = { push: (chunk) => Effect.succeed([chunk]), end: Effect.succeed([]) }

/** A decoder for these codings; its scope's end frees its memory. */
export const make = (
  codings: ReadonlyArray<string>,
  limits: DecodeLimits
): Effect.Effect<BodyDecoder, never, Scope.Scope> => {
  if (codings.length === 0) return Effect.succeed(identity)
  const chain = Effect.sync(() => {
    const wire = { bytesIn: 0 }
    return { wire, links: codings.map((coding) => new Link(coding, limits, wire)) }
  })
  return Effect.map(
    Effect.acquireRelease(chain, ({ links }) => Effect.sync(() => links.forEach((link) => link.destroy()))),
    ({ links, wire }) => ({
      push: (chunk) =>
        Effect.suspend(() => {
          wire.bytesIn += chunk.length
          return through(links, 0, [chunk])
        }),
      end: finish(links, 0)
    })
  )
}

type Pieces = Effect.Effect<ReadonlyArray<Uint8Array>, DecodeFault>

/** Pieces through the links from the n-th on. */
const through = (links: ReadonlyArray<Link>, n: number, pieces: ReadonlyArray<Uint8Array>): Pieces => {
  const link = links[n]
  if (link === undefined) return Effect.succeed(pieces)
  return Effect.flatMap(
    Effect.forEach(pieces, (piece) => link.step((stage, done) => stage.push(piece, done))),
    (out) => through(links, n + 1, out.flat())
  )
}

/** The ends of the links from the n-th on, each with what it gives through those behind it. */
const finish = (links: ReadonlyArray<Link>, n: number): Pieces =>
  Effect.suspend(() => {
    const link = links[n]
    if (link === undefined) return Effect.succeed([])
    return Effect.gen(function*() {
      const last = yield* link.step((stage, done) => stage.end(done))
      const before = yield* through(links, n + 1, last)
      return [...before, ...yield* finish(links, n + 1)]
    })
  })

/** One coding of a chain, and the limits of what comes out of it. */
class Link {
  private readonly coding: string
  private readonly limits: DecodeLimits
  private readonly wire: { readonly bytesIn: number }
  private readonly stage: DecoderStage
  private out: Array<Uint8Array> = []
  private bytesOut = 0
  private fault: DecodeFault | undefined = undefined

  constructor(coding: string, limits: DecodeLimits, wire: { readonly bytesIn: number }) {
    this.coding = coding
    this.limits = limits
    this.wire = wire
    this.stage = new DecoderStage(coding, (piece) => this.emit(piece))
  }

  destroy(): void {
    this.stage.destroy()
  }

  /** Does something with the stage, and takes what comes out of it. */
  step(act: (stage: DecoderStage, done: (error: unknown) => void) => void): Pieces {
    return Effect.callback((resume) => {
      const settle = (error: unknown) => {
        // Where a limit has stopped it there is a fault already.
        if (error !== undefined) this.fault ??= faultOf(error, this.coding, this.limits, this.wire.bytesIn)
        const { fault, out } = this
        this.out = []
        resume(fault === undefined ? Effect.succeed(out) : Effect.fail(fault))
      }
      if (this.fault === undefined) act(this.stage, settle)
      else settle(undefined)
    })
  }

  private emit(piece: Uint8Array): void {
    if (this.fault !== undefined) return
    this.bytesOut += piece.length
    const { bodyMaxBytes, decodeRatioMax, url } = this.limits
    if (this.bytesOut > bodyMaxBytes) this.fault = new BodyTooLarge({ url, limitBytes: bodyMaxBytes })
    else if (this.bytesOut > ratioFloorBytes && this.bytesOut > this.wire.bytesIn * decodeRatioMax) {
      const problem = `grows to more than ${decodeRatioMax} times its size`
      this.fault = new ContentEncodingError({ url, encoding: "compressed", problem })
    } else this.out.push(piece)
    if (this.fault !== undefined) this.stage.stop(this.fault)
  }
}
