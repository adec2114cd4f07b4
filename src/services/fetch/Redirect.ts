/**
 * Where a redirect leads, and what of the request goes along (RFC 9110 section 15.4). Pure.
 */
import { Result } from "effect"
import { RedirectError } from "./FetchError.ts"
import type { FetchRequest, FetchTarget, Method } from "./FetchRequest.ts"
import * as Request from "./FetchRequest.ts"
import * as Redact from "./Redact.ts"

/** Statuses that redirect when a Location comes with them. */
export const isRedirect = (status: number): boolean =>
  status === 301 || status === 302 || status === 303 || status === 307 || status === 308

/**
 * Where a Location header leads, as far as it says so: one or more equal ones are one (as clients that join them write it, too), an empty
 * one is none (as curl has it). Header text is Latin-1: what is beyond ASCII goes into the URL byte by byte, so UTF-8 stays what it is.
 *
 * Fails with the text of several that differ: which of them is meant nobody knows.
 */
export const location = (
  header: string | ReadonlyArray<string> | undefined
): Result.Result<string | undefined, string> => {
  const lines = typeof header === "string" ? header.split(", ") : header ?? []
  const [first, ...rest] = lines.map((line) => line.trim())
  if (first !== undefined && rest.every((line) => line === first)) {
    return Result.succeed(first === "" ? undefined : first.replace(beyondAscii, percentEncoded))
  }
  if (typeof header !== "string") return first === undefined ? Result.succeed(undefined) : Result.fail(lines.join(", "))
  return Result.succeed(header.trim().replace(beyondAscii, percentEncoded))
}

const beyondAscii = /[\x80-\xFF]/g

const percentEncoded = (byte: string): string => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`

/**
 * Headers that follow to another origin. An allow-list, because header names are the user's: a token may be in any of them.
 */
export const headersAcrossOrigins: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "pragma",
  "user-agent"
])

/** Headers that describe a body and go when the body goes. */
const bodyHeaders: ReadonlySet<string> = new Set([
  "content-encoding",
  "content-language",
  "content-length",
  "content-location",
  "content-type",
  "transfer-encoding"
])

const without = (
  headers: Readonly<Record<string, string>>,
  keeps: (name: string) => boolean
): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => keeps(name.toLowerCase())))

/**
 * The next hop: 303 turns every method but HEAD into GET, 301 and 302 turn POST into GET, 307 and 308 keep method and body. To another
 * origin only `headersAcrossOrigins` go along, and those that describe a body that is sent again.
 *
 * Fails with `RedirectError` (`problem: "location"`) unless the Location is, resolved, an http(s) URL.
 */
export const next = (
  from: FetchTarget,
  status: number,
  location: string
): Result.Result<FetchTarget, RedirectError> => {
  const refused = () =>
    Result.fail(
      new RedirectError({
        url: Redact.url(from.url),
        problem: "location",
        location: Redact.brief(location, 500)
      })
    )
  const url = URL.parse(location, from.url)
  if (url === null) return refused()
  const method: Method = from.request.method ?? "GET"
  const becomesGet = (status === 303 && method !== "HEAD") || ((status === 301 || status === 302) && method === "POST")
  const { body, headers: own, ...rest } = from.request
  // Here they become the request's own: a hop is stored nowhere.
  const headers = from.headers === undefined ? own : { ...from.headers, ...own }
  const isCrossOrigin = url.origin !== from.origin
  const kept = headers === undefined ? undefined : without(headers, (name) =>
    !(becomesGet && bodyHeaders.has(name)) &&
    name !== "host" &&
    (!isCrossOrigin || headersAcrossOrigins.has(name) || (!becomesGet && bodyHeaders.has(name))))
  const request: FetchRequest = {
    ...rest,
    url: url.href,
    ...(becomesGet ? { method: "GET" as const } : body === undefined ? undefined : { body }),
    ...(kept === undefined ? undefined : { headers: kept })
  }
  const target = Request.parseTarget(request)
  return Result.isFailure(target) ? refused() : Result.succeed(target.success)
}
