/**
 * The head of a request as it is written (RFC 9112 section 3). Nothing gets in that could end a line or begin another request, and the
 * fields that frame a message are this file's alone.
 */
import type * as Headers from "effect/http/Headers"
import { RequestFault } from "./WireFault.ts"

interface HeaderLines {
  readonly text: string
  readonly host: string | undefined
  readonly length: number | undefined
  /** `Expect: 100-continue`: the body waits for the server's word. */
  readonly expectsContinue: boolean
  /** `Connection: close`. */
  readonly closes: boolean
  /** The client says that sending it twice does no harm. */
  readonly hasIdempotencyKey: boolean
}

export interface RequestHead {
  readonly text: string
  /** Bytes of the body; `undefined` when it is sent in chunks. */
  readonly length: number | undefined
  readonly expectsContinue: boolean
  readonly closes: boolean
  /** May be sent again without asking when the connection was lost (RFC 9110 section 9.2.2). */
  readonly isRepeatable: boolean
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const pathText = /^(?:\/[\x21-\x7e]*|\*)$/
const hostText = /^[\x21-\x7e]+$/
// Latin-1 without control characters but tab.
const badValue = /[^\t\x20-\x7e\x80-\xff]/
const idempotent = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
/** Methods that mean something with a body: an empty one is announced. */
const carriers = new Set(["POST", "PUT", "PATCH"])

/** Headers are values that many requests share: each is written once. */
const written = new WeakMap<Headers.Headers, HeaderLines | RequestFault>()

export interface RequestLine {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Name and port. */
  readonly host: string
}

/**
 * The head of a request.
 *
 * @param bodyLength its bytes, `undefined` when they are not known beforehand: then the caller's Content-Length says it, or it is sent in
 * chunks
 */
export const write = (
  { host, method, path }: RequestLine,
  headers: Headers.Headers,
  bodyLength: number | undefined
): RequestHead | RequestFault => {
  if (!idempotent.has(method) && (!token.test(method) || method === "CONNECT")) {
    return new RequestFault({ problem: `method ${JSON.stringify(method)} cannot be sent` })
  }
  if (!pathText.test(path)) {
    return new RequestFault({ problem: `path ${JSON.stringify(path.slice(0, 200))} cannot be sent` })
  }
  let lines = written.get(headers)
  if (lines === undefined) written.set(headers, lines = linesOf(headers))
  if (lines instanceof RequestFault) return lines
  const length = bodyLength ?? lines.length
  if (lines.length !== undefined && lines.length !== length) {
    return new RequestFault({ problem: `content-length ${lines.length} contradicts a body of ${length} bytes` })
  }
  if (lines.expectsContinue && length === 0) {
    return new RequestFault({ problem: "expect: 100-continue needs a body (RFC 9110 section 10.1.1)" })
  }
  const framing = length === undefined
    ? "transfer-encoding: chunked\r\n"
    : length > 0 || carriers.has(method)
    ? `content-length: ${length}\r\n`
    : ""
  const connection = lines.closes ? "close" : "keep-alive"
  return {
    text: `${method} ${path} HTTP/1.1\r\nhost: ${lines.host ?? host}\r\nconnection: ${connection}\r\n` +
      `${lines.text}${framing}\r\n`,
    length,
    expectsContinue: lines.expectsContinue,
    closes: lines.closes,
    isRepeatable: idempotent.has(method) || lines.hasIdempotencyKey
  }
}

const linesOf = (headers: Headers.Headers): HeaderLines | RequestFault => {
  let text = ""
  for (const name of Object.keys(headers)) {
    const value = headers[name] ?? ""
    if (!token.test(name)) return new RequestFault({ problem: `header name ${JSON.stringify(name)} is no token` })
    if (badValue.test(value)) {
      return new RequestFault({ problem: `header ${name} has a control character or one beyond Latin-1` })
    }
    const problem = problems.get(name)?.(value.trim().toLowerCase())
    if (problem !== undefined) return new RequestFault({ problem: `header ${name}: ${problem}` })
    if (!own.has(name)) text += `${name}: ${value}\r\n`
    else if (name === "expect") text += "expect: 100-continue\r\n"
  }
  return {
    text,
    host: headers["host"],
    length: headers["content-length"] === undefined ? undefined : Number(headers["content-length"]),
    expectsContinue: headers["expect"] !== undefined,
    closes: headers["connection"]?.trim().toLowerCase() === "close",
    hasIdempotencyKey: headers["idempotency-key"] !== undefined
  }
}

/** Written by this file, not as they are given. */
const own = new Set(["host", "connection", "content-length", "expect"])

/** What may not be said in a header that is about the connection. */
const problems = new Map<string, (value: string) => string | undefined>([
  ["host", (value) => hostText.test(value) ? undefined : "no host name"],
  [
    "connection",
    (value) =>
      value === "close" || value === "keep-alive" ? undefined : "only \"close\" and \"keep-alive\" can be asked for"
  ],
  ["content-length", (value) => /^\d{1,15}$/.test(value) ? undefined : "no number"],
  ["transfer-encoding", () => "the body's framing is the client's"],
  ["upgrade", () => "other protocols are not spoken"],
  ["expect", (value) => value === "100-continue" ? undefined : "only \"100-continue\" can be expected"]
])
