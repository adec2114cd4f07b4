/**
 * When a failed attempt is tried again, and how long that waits. Pure: time and chance are arguments.
 */
import type { FetchError } from "./FetchError.ts"
import type { Method } from "./FetchRequest.ts"
import * as StatusRange from "./StatusRange.ts"

/** Methods that may be sent twice without asking (RFC 9110 section 9.2.2). */
export const isIdempotent = (method: Method): boolean => method !== "POST" && method !== "PATCH"

/** Statuses that say "not now": the server throttles. */
export const isThrottling = (status: number): boolean => status === 429 || status === 503

const transientStatuses = new Set([408, 425, 429, 500, 502, 503, 504])

/**
 * Statuses that may be gone with the next attempt.
 *
 * @param more that whoever asks knows to be so (`FetchRetry.statuses`)
 */
export const isTransientStatus = (status: number, more: ReadonlyArray<StatusRange.StatusRange> = []): boolean =>
  transientStatuses.has(status) || more.some((range) => StatusRange.includes(range, status))

/** What a resolver says of a name that leads nowhere, for good: there is none, it has no address, it is none. */
const noNameCodes = new Set(["ENOTFOUND", "ENODATA", "EBADNAME"])

/** Whether a resolver's code is an answer about the name, so that asking again gets no other. */
export const isNoName = (code: string): boolean => noNameCodes.has(code)

/** Whether another attempt can end differently. */
export const isTransient = (error: FetchError): boolean => {
  switch (error._tag) {
    case "ConnectError":
    case "DnsTimeout":
    case "TlsTimeout":
    case "TooSlow":
    case "ConnectTimeout":
    case "HeadersTimeout":
    case "IdleTimeout":
    case "AttemptTimeout":
    case "ProtocolError":
    case "TruncatedBody":
      return true
    // A connection lost in the handshake; a certificate does not get better.
    case "TlsError":
      return error.code === "ECONNRESET" || error.code === "EPIPE" || error.code === "ETIMEDOUT"
    case "DnsError":
      return !isNoName(error.code)
    case "StatusError":
      return isTransientStatus(error.status)
    default:
      return false
  }
}

const localCodes = new Set(["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"])

/**
 * Whether the host gave no answer at all: what its circuit breaker counts. A URL that stays silent again says nothing new of its host.
 *
 * @param attempts that the URL has had, this one included
 */
export const isHostFault = (error: FetchError, attempts: number): boolean => {
  switch (error._tag) {
    case "ConnectTimeout":
    case "DnsTimeout":
    case "TlsTimeout":
      return true
    case "HeadersTimeout":
      return attempts === 1
    // Out of files or of ports is this side's doing, not the host's.
    case "ConnectError":
      return !localCodes.has(error.code)
    // A name that does not exist is an answer, and a cheap one.
    case "DnsError":
      return !isNoName(error.code) && !localCodes.has(error.code)
    default:
      return false
  }
}

/** Doubling wait before the n-th retry (the first is 1), without jitter. */
const step = (n: number, baseMillis: number, capMillis: number): number =>
  Math.min(capMillis, baseMillis * 2 ** Math.min(n - 1, 30))

/**
 * Full jitter, for faults: anything from nothing to the doubling step (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
 *
 * @param chance in [0, 1)
 */
export const fullJitterMillis = (n: number, baseMillis: number, capMillis: number, chance: number): number =>
  step(n, baseMillis, capMillis) * chance

/** Equal jitter, for throttling: at least half of the doubling step, so that a limited server is left alone for a while. */
export const equalJitterMillis = (n: number, baseMillis: number, capMillis: number, chance: number): number => {
  const half = step(n, baseMillis, capMillis) / 2
  return half + half * chance
}

const seconds = /^\d{1,15}$/
const imfFixdate = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? /

/**
 * A Retry-After header (RFC 9110 section 10.2.3) as milliseconds from now: seconds or an HTTP-date, a past date is zero. `undefined`
 * when there is none or it is neither.
 */
export const retryAfterMillis = (header: string | undefined, nowMillis: number): number | undefined => {
  if (header === undefined) return undefined
  const text = header.trim()
  if (seconds.test(text)) return Number(text) * 1000
  // Only what begins like an HTTP-date: Date.parse takes far too much ("-5", "1.5").
  if (!imfFixdate.test(text)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMillis)
}
