/**
 * What to fetch: one HTTP request as a user writes it, and the canonical form under which a run knows it.
 */
import { Result, Schema } from "effect"
import { InvalidRequest } from "./FetchError.ts"
import * as Redact from "./Redact.ts"

/** Methods that a fetch may use. */
export const Method = Schema.Literals(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])

/** A method that a fetch may use. */
export type Method = typeof Method.Type

/**
 * What whoever asks calls a request by: nothing of it is sent, nor counts in what a run knows it by. Its outcome carries it, so that it can
 * be joined to where it comes from.
 */
export const Label = Schema.Struct({
  /** The input: the name of a file, `stdin` or `argument`. */
  source: Schema.optionalKey(Schema.String),
  /** Its line in the input, from 1. */
  line: Schema.optionalKey(Schema.Int),
  /** A name of the user's own. */
  id: Schema.optionalKey(Schema.Json),
  /** What else its line of the input had. */
  input: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json))
})

/** What whoever asks calls a request by. */
export type Label = typeof Label.Type

/**
 * One request: `url` as written, `method` (`GET` when absent), `headers` by name, a text `body` and a `label`.
 *
 * A plain object, so that it costs nothing to make a million of them.
 */
export const FetchRequest = Schema.Struct({
  url: Schema.String,
  method: Schema.optionalKey(Method),
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  body: Schema.optionalKey(Schema.String),
  label: Schema.optionalKey(Label)
})

/** One request. */
export interface FetchRequest {
  readonly url: string
  readonly method?: Method
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly label?: Label
}

/** A request whose URL was checked and parsed once: what gates, frontiers and transports work with. */
export interface FetchTarget {
  readonly request: FetchRequest
  /** Canonical URL (WHATWG URL Standard serialisation, without fragment). */
  readonly url: string
  /** `scheme://host:port`: what a connection pool is keyed by. */
  readonly origin: string
  /** Lower-case host name and port: what politeness is keyed by. */
  readonly host: string
  /** Path and query. */
  readonly path: string
  /**
   * Whether it came over the network, and not from who runs this: then where it leads is guarded (`FetchPolicy.denyPrivate`), in this
   * process or another that works on the same run.
   */
  readonly untrusted?: boolean
  /** Headers that are sent too, unless the request sets them itself. They are stored nowhere, and no part of its identity. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Names in lower case and sorted, each once: the last of a name is the one that is sent. */
const canonicalHeaders = (headers: Readonly<Record<string, string>> | undefined): string => {
  if (headers === undefined) return ""
  const byName = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return Array.from(byName, ([name, value]) => `${name}: ${value}\n`).sort().join("")
}

/**
 * What a run knows a target by: method, canonical URL, headers and body. Of the headers the names count in any case and order, the values
 * as they were given.
 */
export const keyOf = ({ request: { body, headers, method }, url }: FetchTarget): string => {
  const lines = canonicalHeaders(headers)
  // No line break is in a method, a URL or a header: nothing else has the same key.
  return body === undefined && lines === "" && (method === undefined || method === "GET")
    ? url
    : `${method ?? "GET"} ${url}\n${lines}\n${body ?? ""}`
}

/** Longest URL that is accepted, in UTF-16 code units. */
export const urlLengthMax = 8192

const controls = /\p{Cc}/u
const lineBreak = /[\r\n\0]/

const controlNames: Readonly<Record<string, string>> = {
  "\0": "a NUL character",
  "\t": "a tab",
  "\n": "a line break",
  "\r": "a line break"
}

/** What of a text would not be sent as it stands; `undefined` when it would. */
const lossIn = (text: string): string | undefined => {
  const control = controls.exec(text)?.[0]
  if (control !== undefined) {
    return `has ${
      controlNames[control] ?? `a control character (U+${hex(control)})`
    } in it; a URL has none: write it as ${encodeURIComponent(control)}`
  }
  return encodingLossIn(text)
}

const encodingLossIn = (text: string): string | undefined =>
  !text.isWellFormed() ? "has half a character (a lone surrogate), which cannot be sent" : undefined

const hex = (character: string): string => character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")

const invalid = (request: FetchRequest, problem: string) =>
  Result.fail(new InvalidRequest({ url: Redact.brief(request.url, 200), problem }))

/**
 * Checks a request and names its canonical URL, host and path.
 *
 * Fails with `InvalidRequest`, which says what is wrong and what would be right: not an absolute URL, a scheme other than http(s),
 * longer than 8,192 characters, a control character or what is left of another encoding in the URL, a line break in a header, a body on GET
 * or HEAD.
 */
export const parseTarget = (request: FetchRequest): Result.Result<FetchTarget, InvalidRequest> => {
  if (request.url.length > urlLengthMax) return invalid(request, `longer than ${urlLengthMax} characters`)
  // The URL parser would drop or replace them without a word, and another URL would be fetched.
  const loss = lossIn(request.url)
  if (loss !== undefined) return invalid(request, loss)
  if (request.url.includes("\uFFFD")) {
    return invalid(request, "has U+FFFD in it, which stands for bytes that were not UTF-8 where the URL comes from")
  }
  const url = URL.parse(request.url)
  if (url === null) return invalid(request, "not an absolute URL; write it as https://host/path")
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return invalid(request, `scheme "${url.protocol}" is not fetched; only http: and https: are`)
  }
  if (
    request.body !== undefined &&
    (request.method === undefined || request.method === "GET" || request.method === "HEAD")
  ) {
    return invalid(request, `a body needs a method that carries one, not ${request.method ?? "GET"}`)
  }
  if (request.body !== undefined && encodingLossIn(request.body) !== undefined) {
    return invalid(request, "its body has half a character (a lone surrogate), which cannot be sent")
  }
  for (const name in request.headers) {
    if (name === "" || lineBreak.test(name) || lineBreak.test(request.headers[name] ?? "")) {
      return invalid(request, `header ${JSON.stringify(name)} has a line break or no name`)
    }
  }
  // Setting it costs a parse, even to what it is; a `#` with nothing behind it has none either.
  if (request.url.includes("#")) url.hash = ""
  const { href } = url
  return Result.succeed({
    request,
    url: href,
    origin: url.origin,
    host: url.host,
    // As it stands in the URL: a `?` with nothing behind it is part of it.
    path: href.slice(href.indexOf("/", url.protocol.length + 2))
  })
}
