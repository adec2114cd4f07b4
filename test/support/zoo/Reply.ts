/**
 * Responses by chance: every way to frame, code, fold, cut and end one, with the verdict that follows from how it was made.
 */
import type { Chance } from "./Chance.ts"
import * as Content from "./Content.ts"

export type Tag = "ok" | "ProtocolError" | "TruncatedBody" | "ContentEncodingError" | "StatusError"

export interface Reply {
  /** For people who read a failure. */
  readonly name: string
  readonly method: "GET" | "HEAD" | "PUT"
  /** What is written, in these pieces. */
  readonly pieces: ReadonlyArray<Buffer>
  /** How the server ends the connection then; `drop` is an end of TLS without its close_notify. */
  readonly ending: "keep" | "finish" | "reset" | "drop"
  readonly tag: Tag
  /** What the body must be when it is ok. */
  readonly content: Buffer
}

interface Framing {
  readonly name: string
  readonly lines: ReadonlyArray<string>
  readonly kind: "length" | "chunked" | "close" | "bad"
}

const lengths = (chance: Chance, n: number): Framing => {
  const [lines, isGood] = chance.of<readonly [ReadonlyArray<string>, boolean]>([
    [[`Content-Length: ${n}`], true],
    [[`Content-Length: ${n}`], true],
    [[`content-length:${n}`], true],
    [[`CONTENT-LENGTH: \t ${n} \t`], true],
    [[`content-length: 0${n}`], true],
    [[`content-length: ${n}, ${n}`], true],
    [[`content-length: ${n}`, `content-length: ${n}`], true],
    [[`content-length:`, ` ${n}`], true],
    [[`content-length: +${n}`], false],
    [[`content-length: -${n}`], false],
    [[`content-length: ${n}x`], false],
    [[`content-length: 0x${n}`], false],
    [[`content-length: ${n}.0`], false],
    [[`content-length: ${n} ${n}`], false],
    [[`content-length: ${n}, ${n + 1}`], false],
    [[`content-length: ${n}`, `content-length: ${n + 1}`], false],
    [["content-length:"], false],
    [["content-length: 18446744073709551616"], false]
  ])
  return { name: lines.join("|"), lines, kind: isGood ? "length" : "bad" }
}

const chunkings = (chance: Chance, n: number): Framing => {
  const [lines, isGood] = chance.of<readonly [ReadonlyArray<string>, boolean]>([
    [["Transfer-Encoding: chunked"], true],
    [["Transfer-Encoding: chunked"], true],
    [["transfer-encoding:CHUNKED \t"], true],
    [["transfer-encoding: ,chunked,"], true],
    [[`content-length: ${n + 3}`, "transfer-encoding: chunked"], true],
    [["transfer-encoding: gzip, chunked"], false],
    [["transfer-encoding: gzip", "transfer-encoding: chunked"], false],
    [["transfer-encoding: chunked, gzip"], false],
    [["transfer-encoding: chunked, chunked"], false],
    [["transfer-encoding: gzip"], false],
    [["transfer-encoding: xchunked"], false],
    [["transfer-encoding: chunked;q=1"], false],
    [["transfer-encoding: identity"], false]
  ])
  return { name: lines.join("|"), lines, kind: isGood ? "chunked" : "bad" }
}

const framings = (chance: Chance, n: number): Framing =>
  chance.of([
    () => lengths(chance, n),
    () => chunkings(chance, n),
    (): Framing => ({ name: "until the end", lines: [], kind: "close" })
  ])()

interface Chunks {
  readonly bytes: Buffer
  /** Where each byte of the body ends up: how many of the body are there after the first so many of these. */
  readonly bodyAt: (count: number) => number
  readonly isBad: boolean
}

const badChunks = [
  "xyz\r\nhello\r\n",
  "-5\r\nhello\r\n",
  "5\nhello\r\n",
  "2\r\nhello\r\n",
  "5\rhello\r\n",
  "\r\nhello\r\n",
  "5 5\r\nhello\r\n",
  "ffffffffffffffff\r\nhello\r\n"
]

/** A body in chunks: with extensions and trailers; one in eight of them spoilt at its end. */
const chunked = (chance: Chance, body: Buffer): Chunks => {
  const parts: Array<Buffer> = []
  const spans: Array<readonly [from: number, at: number, length: number]> = []
  let bytes = 0
  const add = (part: Buffer) => {
    parts.push(part)
    bytes += part.length
  }
  for (let at = 0; at < body.length;) {
    const piece = body.subarray(at, at + 1 + chance.int(chance.of([4, 1000, 70_000])))
    const hex = piece.length.toString(16)
    const size = chance.of([hex, hex.toUpperCase(), `000${hex}`, `${hex} `, `${hex};a=b`, `${hex} ; a="b c"`])
    add(Buffer.from(`${size}\r\n`))
    spans.push([bytes, at, piece.length])
    add(piece)
    add(Buffer.from("\r\n"))
    at += piece.length
  }
  const isBad = chance.percent(12)
  add(Buffer.from(isBad ? chance.of(badChunks) : `${chance.of(["0", "000", "0;last"])}\r\n`))
  if (!isBad) {
    add(Buffer.from(chance.of(["\r\n", "\r\n", "x-checksum: 1\r\n\r\n", "a: 1\r\nb: 2\r\n c\r\n\r\n", "a: 1\n\n"])))
  }
  return {
    bytes: Buffer.concat(parts),
    bodyAt: (count) => {
      const last = spans.findLast(([from]) => from < count)
      return last === undefined ? 0 : last[1] + Math.min(last[2], count - last[0])
    },
    isBad
  }
}

const badLines = [": x", "nonsense", "x : y", "x: a\0b", "x: a\rb", "x\ty: z", "\x01: z"]
const oddLines = [
  "x-a: 1",
  "x-a: one\r\n two",
  "x-b:",
  "x-c: \xe9\xff",
  "x: y: z",
  "x-long: " + "y".repeat(3000),
  "__proto__: z",
  "constructor: z",
  "vary: *\r\n\t, b"
]
const badStarts = [
  "HTTP/2.0 200 OK",
  "HTTP/1.1 20 OK",
  "HTTP/1.1 2000 OK",
  "HTTP/1.1 -20 OK",
  "HTTP 200 OK",
  "ICY 200 OK",
  "",
  " HTTP/1.1 200 OK",
  "http/1.1 200 OK",
  "HTTP/1.1 000 OK",
  "HTTP/1.1200 OK",
  "HTTP/1.1 101 Switching"
]

const statusOf = (chance: Chance): number =>
  chance.percent(80) ? 200 : chance.of([201, 203, 204, 299, 304, 400, 404, 500, 599])

/** Some of it at once, some byte by byte, some as it comes. */
const chopped = (chance: Chance, bytes: Buffer): ReadonlyArray<Buffer> => {
  const kind = chance.int(4)
  if (kind === 0 || bytes.length === 0) return [bytes]
  if (kind === 1 && bytes.length < 400) return Array.from(bytes, (byte) => Buffer.from([byte]))
  const pieces: Array<Buffer> = []
  const most = Math.max(2, Math.ceil(bytes.length / (1 + chance.int(5))))
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + chance.int(most))
    pieces.push(bytes.subarray(at, end))
    at = end
  }
  return pieces
}

/** What is in the socket's buffers whole: a reset throws nothing of it away. */
const resetMaxBytes = 40_000

/**
 * A response by chance.
 *
 * @param isTls it is to go over TLS, where a reset cannot be had, but an end without notice
 */
export const make = (chance: Chance, isTls: boolean): Reply => {
  const method = chance.of(["GET", "GET", "GET", "GET", "HEAD", "PUT"] as const)
  const content = Content.make(chance)
  const status = statusOf(chance)
  const framing = framings(chance, content.bytes.length)
  const version = chance.of(["1.1", "1.1", "1.1", "1.0", "1.2"])
  const eol = chance.percent(20) ? "\n" : "\r\n"
  const isBadHead = chance.percent(6)
  const start = `HTTP/${version} ${status}${chance.of([" OK", "", " ", " \xe9 odd: one", "\tOK"])}`
  const others = Array.from({ length: chance.int(6) }, () => chance.of(oddLines))
  const lines = [...others, ...framing.lines]
  if (content.header !== undefined) lines.push(`Content-Encoding: ${content.header}`)
  if (chance.percent(20)) {
    lines.push(
      chance.of([
        "connection: close",
        "Connection: keep-alive, Close",
        "connection: keep-alive",
        "keep-alive: timeout=1"
      ])
    )
  }
  const isBadLine = isBadHead && chance.percent(50)
  const bad = chance.of(isBadLine ? badLines : badStarts)
  const head = [isBadHead && !isBadLine ? bad : start, ...lines, ...isBadLine ? [bad] : [], "", ""].join("\r\n")
    .replaceAll("\r\n", eol)
  const interim = chance.percent(15)
    ? chance.of([
      "HTTP/1.1 100 Continue\r\n\r\n",
      "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(3),
      "HTTP/1.1 102\n\n"
    ])
    : ""
  const before = Buffer.from(interim + head, "latin1")

  const isBodiless = method === "HEAD" || status === 204 || status === 304
  const chunks = framing.kind === "chunked" && !isBodiless ? chunked(chance, content.bytes) : undefined
  const body = isBodiless ? Buffer.alloc(0) : chunks?.bytes ?? content.bytes
  const whole = Buffer.concat([before, body])
  // What is wrong with chunks must not be cut off.
  const isCut = chunks?.isBad !== true && chance.percent(30)
  const cutAt = chance.percent(30) ? chance.int(before.length) : before.length + chance.int(body.length + 1)
  const sent = isCut ? whole.subarray(0, cutAt) : whole
  const mustEnd = isCut || (framing.kind === "close" && !isBodiless)
  const hard = isTls ? "drop" : sent.length > resetMaxBytes ? "finish" : "reset"
  const ending = chance.of([mustEnd ? "finish" : "keep", mustEnd ? "finish" : "keep", "finish", hard] as const)

  const verdict = (): Tag | Buffer => {
    if (sent.length < before.length || isBadHead) return "ProtocolError"
    if (isBodiless) return status >= 300 ? "StatusError" : Buffer.alloc(0)
    if (framing.kind === "bad") return "ProtocolError"
    if (status >= 300) return "StatusError"
    const came = sent.length - before.length
    if (chunks !== undefined) {
      // What is wrong is seen before the end is.
      if (came < chunks.bytes.length) return "TruncatedBody"
      return chunks.isBad ? "ProtocolError" : content.verdict(content.bytes.length)
    }
    if (framing.kind === "length") return came < content.bytes.length ? "TruncatedBody" : content.verdict(came)
    return ending === "reset" ? "TruncatedBody" : content.verdict(came)
  }
  const result = verdict()
  const cut = isCut ? ` cut at ${cutAt} of ${whole.length}` : ""
  return {
    name: `${method} ${JSON.stringify(isBadHead ? bad : start)} ${framing.name}, ${content.name},${cut} ${ending}`,
    method,
    pieces: chopped(chance, sent),
    ending,
    tag: typeof result === "string" ? result : "ok",
    content: typeof result === "string" ? Buffer.alloc(0) : result
  }
}
