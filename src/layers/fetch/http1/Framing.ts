/**
 * Where the body of a response ends, and whether its connection may carry another request (RFC 9112 sections 6.3 and 9.3).
 */
import { listed, type ResponseHead } from "./ResponseHead.ts"
import { WireFault } from "./WireFault.ts"

export type Framing =
  | { readonly _tag: "Length"; readonly bytes: number }
  | { readonly _tag: "Chunked" }
  /** By the end of the connection. */
  | { readonly _tag: "Close" }

const none: Framing = { _tag: "Length", bytes: 0 }
const chunked: Framing = { _tag: "Chunked" }
const close: Framing = { _tag: "Close" }

const digits = /^\d+$/

/** Elements of a list, empty ones left out (RFC 9110 section 5.6.1). */
const elements = (list: string): ReadonlyArray<string> =>
  list.split(",").map((each) => each.trim()).filter((each) => each !== "")

/** How the body of a final response is framed. */
export const of = (head: ResponseHead, method: string): Framing | WireFault => {
  const { fields, status } = head
  if (method === "HEAD" || status === 204 || status === 304) return none
  const coding = listed(fields, "transfer-encoding")
  if (coding !== undefined) {
    const codings = elements(coding.toLowerCase())
    // It overrides a Content-Length; the connection is not used again then.
    if (codings.length === 1 && codings[0] === "chunked") return chunked
    return new WireFault({
      code: "BAD_TRANSFER_ENCODING",
      problem: `transfer-encoding ${JSON.stringify(coding.slice(0, 100))} is not "chunked"`
    })
  }
  const length = fields["content-length"]
  if (length === undefined) return close
  const bytes = lengthOf(length)
  return bytes === undefined
    ? new WireFault({
      code: "BAD_CONTENT_LENGTH",
      problem: `content-length is ${JSON.stringify(String(length).slice(0, 100))}`
    })
    : { _tag: "Length", bytes }
}

/** A length that is a number, or several times the same one (RFC 9110 section 8.6). */
const lengthOf = (value: string | Array<string>): number | undefined => {
  if (typeof value === "string" && digits.test(value)) return safe(value)
  const [first, ...rest] = elements(typeof value === "string" ? value : value.join(","))
  return first !== undefined && digits.test(first) && rest.every((each) => each === first) ? safe(first) : undefined
}

const safe = (text: string): number | undefined => {
  const bytes = Number(text)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Whether the server keeps the connection open after a response with this head. */
export const persists = ({ fields, minor }: ResponseHead): boolean => {
  // Framing that contradicts itself may be an attack on somebody on the way (RFC 9112 section 6.1).
  if (fields["transfer-encoding"] !== undefined && (minor === 0 || fields["content-length"] !== undefined)) return false
  const connection = listed(fields, "connection")
  if (connection === undefined) return minor > 0
  const options = elements(connection.toLowerCase())
  return !options.includes("close") && (minor > 0 || options.includes("keep-alive"))
}

const timeout = /(?:^|[,\s])timeout\s*=\s*"?(\d{1,9})/i

/** How long the server says it keeps an idle connection; `undefined` when it does not say. */
export const keepAliveMillis = ({ fields }: ResponseHead): number | undefined => {
  const hint = listed(fields, "keep-alive")
  const found = hint === undefined ? null : timeout.exec(hint)
  return found === null ? undefined : Number(found[1]) * 1000
}
