/**
 * The content codings that are undone here (RFC 9110 section 8.4.1), each as node's zlib has it.
 */
import type { Transform } from "node:stream"
import * as zlib from "node:zlib"

/** Undoes a coding piece by piece. */
export type Engine = Transform & { readonly bytesWritten: number }

export interface Coding {
  readonly open: () => Engine
  /** Undoes it in one step; throws what an `Engine` emits, and a RangeError when more than `max` bytes come out. */
  readonly whole: (body: Uint8Array, max: number) => Whole
  /** What may follow the end of a stream, where the engine stops. */
  readonly after: "nothing" | "zeros" | "more"
}

export interface Whole {
  readonly out: Buffer
  /** Bytes of the body up to where the engine stopped. */
  readonly taken: number
}

type Sync = (body: Uint8Array, options: { readonly maxOutputLength: number; readonly info: true }) => unknown

const coding = (open: () => Engine, sync: Sync, after: Coding["after"]): Coding => ({
  open,
  whole: (body, max) => {
    // `info` is documented, and not in the types.
    const { buffer, engine } = sync(body, { maxOutputLength: max, info: true }) as {
      readonly buffer: Buffer
      readonly engine: Engine
    }
    return { out: buffer, taken: engine.bytesWritten }
  },
  after
})

// Members may follow each other, which the engine knows; padding too (RFC 1952 section 2.2, and what gzip itself does).
const gzip = coding(() => zlib.createGunzip(), zlib.gunzipSync, "zeros")
const br = coding(() => zlib.createBrotliDecompress(), zlib.brotliDecompressSync, "nothing")
// Frames may follow each other (RFC 8878 section 3), and the engine stops after each.
const zstd = coding(() => zlib.createZstdDecompress(), zlib.zstdDecompressSync, "more")
const deflate = coding(() => zlib.createInflate(), zlib.inflateSync, "nothing")
const rawDeflate = coding(() => zlib.createInflateRaw(), zlib.inflateRawSync, "nothing")

const isZlib = ([first = 0, second = 0]: Uint8Array): boolean =>
  (first & 0x0f) === 8 && (first * 256 + second) % 31 === 0

const codings: ReadonlyMap<string, (start: Uint8Array) => Coding> = new Map([
  ["gzip", () => gzip],
  ["x-gzip", () => gzip],
  ["br", () => br],
  ["zstd", () => zstd],
  // Both kinds of deflate are in the wild.
  ["deflate", (start: Uint8Array) => isZlib(start) ? deflate : rawDeflate]
])

/** Bytes by which a coding is known from its kin. */
export const startBytes = 2

export const isKnown = (name: string): boolean => codings.has(name)

/** The coding of this name whose body starts so. */
export const of = (name: string, start: Uint8Array): Coding => codings.get(name)?.(start) ?? gzip

export const isZeros = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)
