/**
 * Content codings undone (RFC 9110 section 8.4): gzip, deflate, br and zstd, also in a chain. A stream that ends before its own end is
 * refused, and so is one that grows beyond all measure.
 */
import { Effect, Result, type Scope } from "effect"
import type { Transform } from "node:stream"
import * as zlib from "node:zlib"
import { BodyTooLarge, ContentEncodingError, TruncatedBody } from "../../../services/fetch/FetchError.ts"

/** Codings in a chain; nobody means more than two. */
const chainMax = 3

/** Bodies up to this size are decoded in one step on this thread, as long as they stay below `inlineOutMax`. */
const inlineMax = 16 * 1024
const inlineOutMax = 256 * 1024

/** Growth is not judged before this much has come out. */
const ratioFloorBytes = 1024 * 1024

export interface DecodeLimits {
  readonly url: string
  readonly bodyMaxBytes: number
  readonly decodeRatioMax: number
}

type DecodeFault = ContentEncodingError | TruncatedBody | BodyTooLarge

/** The codings of a Content-Encoding header in the order to undo them; empty when the body is as it is. */
export const codings = (
  header: string | undefined,
  url: string
): Result.Result<ReadonlyArray<string>, ContentEncodingError> => {
  if (header === undefined || header === "") return Result.succeed([])
  const named = header.toLowerCase().split(",").map((each) => each.trim()).filter((each) =>
    each !== "" && each !== "identity"
  )
  if (named.length > chainMax) {
    return Result.fail(
      new ContentEncodingError({ url, encoding: header.slice(0, 100), problem: `more than ${chainMax} codings` })
    )
  }
  const unknown = named.find((each) => !(each in decoders))
  if (unknown !== undefined) {
    return Result.fail(new ContentEncodingError({ url, encoding: unknown.slice(0, 100), problem: "unknown coding" }))
  }
  return Result.succeed(named.reverse())
}

/** What to ask for: the codings that are undone here. */
export const acceptEncoding = "gzip, br, zstd"

const decoders: Readonly<
  Record<string, { readonly stream: () => Transform; readonly whole: (body: Uint8Array, max: number) => Buffer }>
> = {
  gzip: { stream: () => zlib.createGunzip(), whole: (body, max) => zlib.gunzipSync(body, { maxOutputLength: max }) },
  "x-gzip": {
    stream: () => zlib.createGunzip(),
    whole: (body, max) => zlib.gunzipSync(body, { maxOutputLength: max })
  },
  br: {
    stream: () => zlib.createBrotliDecompress(),
    whole: (body, max) => zlib.brotliDecompressSync(body, { maxOutputLength: max })
  },
  zstd: {
    stream: () => zlib.createZstdDecompress(),
    whole: (body, max) => zlib.zstdDecompressSync(body, { maxOutputLength: max })
  },
  // Both kinds of deflate are in the wild: the first byte tells a zlib header from a raw stream.
  deflate: {
    stream: () => zlib.createInflate(),
    whole: (body, max) =>
      isZlib(body)
        ? zlib.inflateSync(body, { maxOutputLength: max })
        : zlib.inflateRawSync(body, { maxOutputLength: max })
  }
}

const isZlib = (body: Uint8Array): boolean =>
  ((body[0] ?? 0) & 0x0f) === 8 && ((body[0] ?? 0) * 256 + (body[1] ?? 0)) % 31 === 0

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
      try: (): Uint8Array | undefined => decoders[coding]?.whole(input, Math.min(inlineOutMax, limits.bodyMaxBytes)),
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
): Effect.Effect<BodyDecoder, never, Scope.Scope> =>
  codings.length === 0
    ? Effect.succeed(identity)
    : Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => new Chain(codings, limits)),
        (chain) => Effect.sync(() => chain.destroy())
      ),
      (chain): BodyDecoder => chain
    )

class Chain implements BodyDecoder {
  private stages: Array<Transform> = []
  private readonly codings: ReadonlyArray<string>
  private readonly limits: DecodeLimits
  private out: Array<Uint8Array> = []
  private bytesIn = 0
  private bytesOut = 0
  private fault: DecodeFault | undefined = undefined
  private waiting: (() => void) | undefined = undefined

  constructor(codings: ReadonlyArray<string>, limits: DecodeLimits) {
    this.codings = codings
    this.limits = limits
  }

  /** Builds the chain when its first bytes are here: of deflate there are two kinds. */
  private open(first: Uint8Array): void {
    this.stages = this.codings.map((coding, index) => {
      const stage = coding === "deflate" && index === 0 && !isZlib(first)
        ? zlib.createInflateRaw()
        : decoders[coding]?.stream() ?? zlib.createGunzip()
      stage.on("error", (cause) => this.fail(faultOf(cause, coding, this.limits, this.bytesIn)))
      return stage
    })
    for (const [index, stage] of this.stages.entries()) {
      const after = this.stages[index + 1]
      if (after !== undefined) stage.pipe(after)
      else stage.on("data", (chunk: Uint8Array) => this.emit(chunk))
    }
  }

  push(chunk: Uint8Array): Effect.Effect<ReadonlyArray<Uint8Array>, DecodeFault> {
    if (this.stages.length === 0) this.open(chunk)
    return this.step((first, done) => {
      this.bytesIn += chunk.length
      first.write(chunk, done)
    })
  }

  get end(): Effect.Effect<ReadonlyArray<Uint8Array>, DecodeFault> {
    if (this.stages.length === 0) this.open(new Uint8Array(0))
    return this.step((first, done) => {
      this.stages.at(-1)?.once("end", done)
      first.end()
    })
  }

  destroy(): void {
    for (const stage of this.stages) stage.destroy()
  }

  private step(
    act: (first: Transform, done: () => void) => void
  ): Effect.Effect<ReadonlyArray<Uint8Array>, DecodeFault> {
    return Effect.callback((resume) => {
      const done = () => {
        this.waiting = undefined
        resume(this.fault === undefined ? Effect.succeed(this.take()) : Effect.fail(this.fault))
      }
      this.waiting = done
      const [first] = this.stages
      if (this.fault !== undefined || first === undefined) done()
      else act(first, done)
    })
  }

  private emit(chunk: Uint8Array): void {
    if (this.fault !== undefined) return
    this.bytesOut += chunk.length
    const { bodyMaxBytes, decodeRatioMax, url } = this.limits
    if (this.bytesOut > bodyMaxBytes) this.fail(new BodyTooLarge({ url, limitBytes: bodyMaxBytes }))
    else if (this.bytesOut > ratioFloorBytes && this.bytesOut > this.bytesIn * decodeRatioMax) {
      this.fail(
        new ContentEncodingError({
          url,
          encoding: "compressed",
          problem: `grows to more than ${decodeRatioMax} times its size`
        })
      )
    } else this.out.push(chunk)
  }

  private fail(fault: DecodeFault): void {
    this.fault ??= fault
    this.destroy()
    this.waiting?.()
  }

  private take(): ReadonlyArray<Uint8Array> {
    const out = this.out
    this.out = []
    return out
  }
}
