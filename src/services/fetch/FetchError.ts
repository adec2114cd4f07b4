/**
 * Why a fetch failed: one tag for each way to fail, each with how far it got. The tag is what is stored, queried and printed.
 */
import { Runtime, Schema } from "effect"
import { ExitCode } from "../tasks/ExitCode.ts"
import * as FileFault from "./FileFault.ts"

const at = { url: Schema.String }

/** The request itself is wrong: nothing was sent. */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  ...at,
  problem: Schema.String
}) {
  override get message(): string {
    return `cannot fetch ${JSON.stringify(this.url)}: ${this.problem}`
  }
}

/** The host name did not resolve. `code` is the resolver's own (`ENOTFOUND`, `ESERVFAIL`, `ETIMEOUT`, `EAI_AGAIN`). */
export class DnsError extends Schema.TaggedError<DnsError>()("DnsError", { ...at, code: Schema.String }) {
  override get message(): string {
    return `host name did not resolve (${this.code})`
  }
}

/** No TCP connection: refused, unreachable, reset while connecting. `code` is the system's own (`ECONNREFUSED`). */
export class ConnectError extends Schema.TaggedError<ConnectError>()("ConnectError", { ...at, code: Schema.String }) {
  override get message(): string {
    return `no connection (${this.code})`
  }
}

/** The TLS handshake or the certificate check failed. */
export class TlsError extends Schema.TaggedError<TlsError>()("TlsError", { ...at, code: Schema.String }) {
  override get message(): string {
    return `TLS failed (${this.code})`
  }
}

/** The address policy refuses the address that the host resolved to. */
export class ForbiddenAddress extends Schema.TaggedError<ForbiddenAddress>()("ForbiddenAddress", {
  ...at,
  address: Schema.String,
  range: Schema.String
}) {
  override get message(): string {
    return `address ${this.address} is ${this.range}, which the address policy refuses`
  }
}

/** A deadline passed: which one, its length, and how far the attempt got. */
const deadline = { ...at, limitMillis: Schema.Finite, bytesReceived: Schema.Finite }

/** The host name did not resolve within the limit. */
export class DnsTimeout extends Schema.TaggedError<DnsTimeout>()("DnsTimeout", deadline) {
  override get message(): string {
    return `host name did not resolve within ${this.limitMillis} ms`
  }
}

/** The TLS handshake did not end within the limit. */
export class TlsTimeout extends Schema.TaggedError<TlsTimeout>()("TlsTimeout", deadline) {
  override get message(): string {
    return `TLS handshake did not end within ${this.limitMillis} ms`
  }
}

/** No connection (DNS, TCP and TLS together) within the limit. */
export class ConnectTimeout extends Schema.TaggedError<ConnectTimeout>()("ConnectTimeout", deadline) {
  override get message(): string {
    return `no connection within ${this.limitMillis} ms`
  }
}

/** Connected, but no response head within the limit. */
export class HeadersTimeout extends Schema.TaggedError<HeadersTimeout>()("HeadersTimeout", deadline) {
  override get message(): string {
    return `no response headers within ${this.limitMillis} ms`
  }
}

/** The body stood still for longer than the limit. */
export class IdleTimeout extends Schema.TaggedError<IdleTimeout>()("IdleTimeout", deadline) {
  override get message(): string {
    return `body stood still for ${this.limitMillis} ms after ${this.bytesReceived} bytes`
  }
}

/** The body came, but slower than the minimum speed. */
export class TooSlow extends Schema.TaggedError<TooSlow>()("TooSlow", { ...deadline, bytesPerSecond: Schema.Finite }) {
  override get message(): string {
    return `body came slower than ${this.bytesPerSecond} bytes per second over ${this.limitMillis} ms`
  }
}

/** One attempt, request and body together, took longer than the limit. */
export class AttemptTimeout extends Schema.TaggedError<AttemptTimeout>()("AttemptTimeout", deadline) {
  override get message(): string {
    return `attempt took longer than ${this.limitMillis} ms (${this.bytesReceived} bytes received)`
  }
}

/** The deadline of the whole (all attempts, or the run) passed. */
export class TotalTimeout extends Schema.TaggedError<TotalTimeout>()("TotalTimeout", deadline) {
  override get message(): string {
    return `deadline of ${this.limitMillis} ms passed`
  }
}

/**
 * The connection broke, or what came over it was not HTTP. `code` is the transport's own: `CLOSED` when the server ended the connection
 * without an answer, the system's (`ECONNRESET`), or what was wrong with the reply (`BAD_STATUS_LINE`, `BAD_HEADER`, `HEAD_TOO_LARGE`,
 * `BAD_CONTENT_LENGTH`, `BAD_TRANSFER_ENCODING`, `BAD_CHUNK`); `problem` says that in words.
 */
export class ProtocolError extends Schema.TaggedError<ProtocolError>()("ProtocolError", {
  ...at,
  code: Schema.String,
  problem: Schema.optionalKey(Schema.String),
  bytesReceived: Schema.Finite
}) {
  override get message(): string {
    const what = this.problem ?? (this.code === "CLOSED" ? "server closed the connection" : "connection broke")
    return `${what} (${this.code}, ${this.bytesReceived} bytes received)`
  }
}

/**
 * The body ended before its Content-Length, its last chunk or its compression trailer, or its connection broke before it had ended
 * (RFC 9112 section 8).
 */
export class TruncatedBody extends Schema.TaggedError<TruncatedBody>()("TruncatedBody", {
  ...at,
  bytesReceived: Schema.Finite
}) {
  override get message(): string {
    return `body was cut off after ${this.bytesReceived} bytes`
  }
}

/** The body is larger than the limit; what was read of it was thrown away. */
export class BodyTooLarge extends Schema.TaggedError<BodyTooLarge>()("BodyTooLarge", {
  ...at,
  limitBytes: Schema.Finite
}) {
  override get message(): string {
    return `body is larger than ${this.limitBytes} bytes`
  }
}

/** The body does not decode as its Content-Encoding says, or decodes to far more than it should. */
export class ContentEncodingError extends Schema.TaggedError<ContentEncodingError>()("ContentEncodingError", {
  ...at,
  encoding: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `body does not decode as ${this.encoding}: ${this.problem}`
  }
}

/** A response whose status is no success. */
export class StatusError extends Schema.TaggedError<StatusError>()("StatusError", {
  ...at,
  status: Schema.Int
}) {
  override get message(): string {
    return `status ${this.status}`
  }
}

/** 429 or 503 with a Retry-After longer than the patience: `retryAt` (ISO 8601) says when it may be asked again. */
export class RetryAfterTooLong extends Schema.TaggedError<RetryAfterTooLong>()("RetryAfterTooLong", {
  ...at,
  status: Schema.Int,
  retryAfterMillis: Schema.Finite,
  retryAt: Schema.String
}) {
  override get message(): string {
    return `status ${this.status}, may be asked again at ${this.retryAt}`
  }
}

/**
 * The host refuses nearly everything (429, 503) and has not said for how long: it is left to rest, by our own choice, for longer than the
 * patience. Nothing was sent for this URL now; `retryAt` (ISO 8601) says when it may be.
 */
export class HostThrottled extends Schema.TaggedError<HostThrottled>()("HostThrottled", {
  ...at,
  host: Schema.String,
  /** What it refused with last. */
  status: Schema.Int,
  retryAfterMillis: Schema.Finite,
  retryAt: Schema.String
}) {
  override get message(): string {
    return `${this.host} refuses nearly everything (status ${this.status}) and does not say for how long: ` +
      `it is left to rest until ${this.retryAt}`
  }
}

/** More redirects than the limit, a redirect to where the chain has been twice, to what is no http(s) URL, or to several at once. */
export class RedirectError extends Schema.TaggedError<RedirectError>()("RedirectError", {
  ...at,
  problem: Schema.Literals(["limit", "loop", "location", "several"]),
  location: Schema.String
}) {
  override get message(): string {
    return this.problem === "limit"
      ? `too many redirects, the last to ${this.location}`
      : this.problem === "loop"
      ? `redirect loop through ${this.location}`
      : this.problem === "several"
      ? `redirect to several places at once: ${this.location}`
      : `redirect to ${JSON.stringify(this.location)}, which is not an http(s) URL`
  }
}

/** The host's circuit breaker is open, and for longer than the patience: nothing was sent. */
export class HostUnavailable extends Schema.TaggedError<HostUnavailable>()("HostUnavailable", {
  ...at,
  host: Schema.String,
  problem: Schema.Literals(["circuit open"]),
  retryAfterMillis: Schema.Finite
}) {
  override get message(): string {
    return `${this.host}: ${this.problem} for another ${this.retryAfterMillis} ms`
  }
}

/** The host's robots.txt asks not to fetch this (RFC 9309). */
export class RobotsDisallowed extends Schema.TaggedError<RobotsDisallowed>()("RobotsDisallowed", at) {
  override get message(): string {
    return "robots.txt disallows it"
  }
}

/**
 * The host's robots.txt could not be read, for longer than the patience: everything is disallowed as long as it cannot (RFC 9309 section
 * 2.3.1.4). Nothing was sent for this URL. `reason` and `problem` are the tag and the message of what robots.txt failed with; `retryAt`
 * (ISO 8601) says when it is asked for again, `null` that it would end no differently.
 */
export class RobotsUnreachable extends Schema.TaggedError<RobotsUnreachable>()("RobotsUnreachable", {
  ...at,
  reason: Schema.String,
  problem: Schema.String,
  retryAfterMillis: Schema.NullOr(Schema.Finite),
  retryAt: Schema.NullOr(Schema.String)
}) {
  override get message(): string {
    const again = this.retryAt === null ? "" : `; it is asked for again at ${this.retryAt}`
    return `robots.txt could not be read (${this.problem}), which disallows everything for now${again}`
  }
}

/** The body could not be kept: no space, no rights, too many open files. `code` is the system's own (`ENOSPC`). */
export class BodyStoreError extends Schema.TaggedError<BodyStoreError>()("BodyStoreError", {
  ...at,
  path: Schema.String,
  code: Schema.String
}) {
  override get message(): string {
    return `cannot save ${this.url === "" ? "bodies" : "the body"} to ${this.path}: ${FileFault.inWords(this.code)}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

/** Every way for a fetch to fail. */
export const FetchError = Schema.Union([
  InvalidRequest,
  DnsError,
  ConnectError,
  TlsError,
  ForbiddenAddress,
  DnsTimeout,
  TlsTimeout,
  ConnectTimeout,
  HeadersTimeout,
  IdleTimeout,
  TooSlow,
  AttemptTimeout,
  TotalTimeout,
  ProtocolError,
  TruncatedBody,
  BodyTooLarge,
  ContentEncodingError,
  StatusError,
  RetryAfterTooLong,
  RedirectError,
  HostThrottled,
  HostUnavailable,
  RobotsDisallowed,
  RobotsUnreachable,
  BodyStoreError
])

/** Every way for a fetch to fail. */
export type FetchError = typeof FetchError.Type
