/**
 * Bodies under content codings, whole and not, with what has to come of every piece of them: known from how they were made, not from
 * decoding them.
 */
import * as zlib from "node:zlib"
import type { Chance } from "./Chance.ts"

/** What must become of a body: its content, or a tag. */
export type Verdict = Buffer | "TruncatedBody" | "ContentEncodingError"

export interface Content {
  /** For people who read a failure. */
  readonly name: string
  readonly header: string | undefined
  /** As it is sent. */
  readonly bytes: Buffer
  /** What must come of the first so many bytes. */
  readonly verdict: (bytes: number) => Verdict
}

const nothing = Buffer.alloc(0)

interface Coder {
  readonly header: string
  readonly encode: (content: Buffer) => Buffer
}

const encoders: ReadonlyArray<Coder> = [
  { header: "gzip", encode: (content) => zlib.gzipSync(content) },
  { header: "X-Gzip", encode: (content) => zlib.gzipSync(content) },
  { header: "br", encode: (content) => zlib.brotliCompressSync(content, quick) },
  { header: "zstd", encode: (content) => zlib.zstdCompressSync(content) },
  { header: "deflate", encode: (content) => zlib.deflateSync(content) },
  { header: "deflate", encode: (content) => zlib.deflateRawSync(content) },
  { header: "gzip, br", encode: (content) => zlib.brotliCompressSync(zlib.gzipSync(content), quick) },
  { header: "zstd,gzip", encode: (content) => zlib.gzipSync(zlib.zstdCompressSync(content)) }
]
const quick = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }

const text = (chance: Chance, size: number): Buffer => {
  const words = Buffer.from("to be or not to be, that is the question of whether it is nobler in the mind to suffer ")
  // Half of it compresses, half does not.
  return Buffer.concat([Buffer.alloc(size >> 1, words), chance.bytes(size - (size >> 1))])
}

/** A size that is small more often than large, and often next to a limit. */
const size = (chance: Chance): number =>
  chance.of([0, 1, 2, chance.int(100), chance.int(2000), 16_384, 65_535, 65_536, 65_537, chance.int(120_000)])

const plain = (content: Buffer, header: string | undefined): Content => ({
  name: `${content.length} bytes, ${header ?? "no coding"}`,
  header,
  bytes: content,
  verdict: (bytes) => content.subarray(0, bytes)
})

const coded = (content: Buffer, { encode, header }: Coder): Content => {
  const bytes = encode(content)
  return {
    name: `${content.length} bytes as ${header}`,
    header,
    bytes,
    // No byte of a coded body is an empty body; some of it is not the whole.
    verdict: (count) => count === 0 ? nothing : count < bytes.length ? "TruncatedBody" : content
  }
}

/** Several streams behind each other: those that are whole count, and one that is begun has to be ended. */
const several = (
  name: string,
  header: string,
  parts: ReadonlyArray<readonly [sent: Buffer, content: Buffer]>
): Content => ({
  name,
  header,
  bytes: Buffer.concat(parts.map(([sent]) => sent)),
  verdict: (count) => {
    let end = 0
    const whole: Array<Buffer> = []
    for (const [sent, content] of parts) {
      if (end === count) break
      end += sent.length
      if (end > count) return "TruncatedBody"
      whole.push(content)
    }
    return Buffer.concat(whole)
  }
})

const zstdFrames = (chance: Chance): Content => {
  const parts = Array.from({ length: 2 + chance.int(4) }, (): readonly [Buffer, Buffer] => {
    if (chance.percent(30)) {
      const skipped = Buffer.alloc(8 + chance.int(50))
      skipped.writeUInt32LE(0x184d2a50 + chance.int(16), 0)
      skipped.writeUInt32LE(skipped.length - 8, 4)
      return [skipped, nothing]
    }
    const content = text(chance, chance.of([0, 1, 900, chance.int(40_000)]))
    return [zlib.zstdCompressSync(content), content]
  })
  return several(`${parts.length} frames of zstd`, "zstd", parts)
}

const gzipMembers = (chance: Chance): Content => {
  const parts = Array.from({ length: 2 + chance.int(3) }, (): readonly [Buffer, Buffer] => {
    const content = text(chance, chance.of([0, 1, 900, chance.int(40_000)]))
    return [zlib.gzipSync(content), content]
  })
  return several(`${parts.length} members of gzip`, "gzip", parts)
}

/** A coded body and something behind it that does not belong there. */
const overlong = (content: Buffer, coder: Coder, more: Buffer): Content => {
  const whole = coded(content, coder)
  return {
    ...whole,
    name: `${whole.name} and more`,
    bytes: Buffer.concat([whole.bytes, more]),
    // How much of it makes it plain that it is no new member or frame differs; eight bytes do.
    verdict: (count) =>
      count <= whole.bytes.length
        ? whole.verdict(count)
        : count >= whole.bytes.length + 8
        ? "ContentEncodingError"
        : "TruncatedBody"
  }
}

export const make = (chance: Chance): Content => {
  const kind = chance.int(100)
  const content = text(chance, size(chance))
  if (kind < 40) return plain(content, chance.of([undefined, undefined, undefined, "identity", "none", ""]))
  if (kind < 75) return coded(content, chance.of(encoders))
  if (kind < 83) return zstdFrames(chance)
  if (kind < 91) return gzipMembers(chance)
  if (kind < 95) {
    const gzip = coded(content, {
      header: "gzip",
      encode: (bytes) => Buffer.concat([zlib.gzipSync(bytes), Buffer.alloc(9)])
    })
    const whole = gzip.bytes.length - 9
    return { ...gzip, name: `${gzip.name}, padded`, verdict: (count) => count < whole ? gzip.verdict(count) : content }
  }
  return overlong(content, chance.of(encoders.slice(0, 6)), Buffer.from("not that!"))
}
