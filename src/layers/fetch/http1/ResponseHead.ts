/**
 * The head of a response, from its text (RFC 9112 sections 4 and 5). Line ends may be bare LF, and a folded line goes on with a space, as
 * section 2.2 and 5.2 have it for user agents; everything else that the grammar does not allow is refused.
 */
import { WireFault } from "./WireFault.ts"

/** Fields by lower-case name, in the order they came; one that came more than once is an array. Text is Latin-1. */
export type Fields = Readonly<Record<string, string | Array<string> | undefined>>

export interface ResponseHead {
  readonly status: number
  /** The x of HTTP/1.x. */
  readonly minor: number
  readonly fields: Fields
}

/** Field lines in one head; servers send some tens. */
const linesMax = 1000

// Any run of blanks between the parts, as section 4 allows; the reason may be missing, its space too.
const statusLine = /^HTTP\/1\.(\d)[ \t]+([1-9]\d\d)(?=[ \t\r\n])/
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** Valid names as they were written, in lower case: the same few come again and again. */
const known = new Map<string, string>()
const knownMax = 500

const lowerCase = (name: string): string | undefined => {
  const found = known.get(name)
  if (found !== undefined) return found
  if (!token.test(name)) return undefined
  const lower = name.toLowerCase()
  if (known.size < knownMax) known.set(name, lower)
  return lower
}

const isBlank = (code: number): boolean => code === 32 || code === 9

const trimmed = (text: string, from: number, to: number): string => {
  let start = from
  let end = to
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

const fault = (code: string, what: string, at: number): WireFault =>
  new WireFault({ code, problem: `${what} at byte ${at} of the head` })

/** The head that this text is, last empty line included. */
export const parse = (text: string): ResponseHead | WireFault => {
  const found = statusLine.exec(text)
  if (found === null) {
    const line = text.slice(0, 60).split(/\r?\n/, 1)[0]
    return new WireFault({ code: "BAD_STATUS_LINE", problem: `status line is ${JSON.stringify(line)}` })
  }
  const end = text.indexOf("\n")
  const bare = text.indexOf("\r")
  if (bare >= 0 && bare < end - 1) return fault("BAD_STATUS_LINE", "a carriage return without a line feed", bare)
  const fields = parseFields(text, end + 1)
  return fields instanceof WireFault ? fields : { status: Number(found[2]), minor: Number(found[1]), fields }
}

/** The field lines from an offset up to the empty line. */
export const parseFields = (text: string, from: number): Fields | WireFault => {
  const nul = text.indexOf("\0")
  if (nul >= 0) return fault("BAD_HEADER", "a NUL", nul)
  const fields: Record<string, string | Array<string> | undefined> = { __proto__: null } as never
  let name: string | undefined
  let lines = 0
  let at = from
  while (at < text.length) {
    const feed = text.indexOf("\n", at)
    const bare = text.indexOf("\r", at)
    const end = bare >= 0 && bare === feed - 1 ? bare : feed
    if (bare >= 0 && bare < end) return fault("BAD_HEADER", "a carriage return without a line feed", bare)
    if (end === at) break
    if (++lines > linesMax) return fault("TOO_MANY_HEADERS", `more than ${linesMax} header lines`, at)
    if (isBlank(text.charCodeAt(at))) {
      if (name === undefined) return fault("BAD_HEADER", "a folded line that continues none", at)
      fold(fields, name, trimmed(text, at, end))
    } else {
      const colon = text.indexOf(":", at)
      if (colon < 0 || colon >= end) return fault("BAD_HEADER", "a header line without a colon", at)
      name = lowerCase(text.slice(at, colon))
      if (name === undefined) return fault("BAD_HEADER", "a header name that is no token", at)
      add(fields, name, trimmed(text, colon + 1, end))
    }
    at = feed + 1
  }
  return fields
}

const add = (fields: Record<string, string | Array<string> | undefined>, name: string, value: string): void => {
  const before = fields[name]
  if (before === undefined) fields[name] = value
  else if (typeof before === "string") fields[name] = [before, value]
  else before.push(value)
}

/** RFC 9112 section 5.2: a user agent takes a fold for one or more spaces. */
const fold = (fields: Record<string, string | Array<string> | undefined>, name: string, more: string): void => {
  const before = fields[name]
  if (Array.isArray(before)) before.push(joined(before.pop() ?? "", more))
  else fields[name] = joined(before ?? "", more)
}

const joined = (before: string, more: string): string =>
  before === "" ? more : more === "" ? before : `${before} ${more}`

/** All values of a field as one list. */
export const listed = (fields: Fields, name: string): string | undefined => {
  const value = fields[name]
  return typeof value === "string" || value === undefined ? value : value.join(", ")
}
