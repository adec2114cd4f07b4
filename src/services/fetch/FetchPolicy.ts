/**
 * The limits of a fetch, as one value that can be written down, compared and composed.
 */
import { ByteSize, Context, Duration } from "effect"

/** Limits of one attempt and of the whole. */
export interface FetchTimeouts {
  /** DNS, TCP and TLS together. @default 10 seconds */
  readonly connect: Duration.Duration
  /** From the request's last byte to the response's head. @default 30 seconds */
  readonly headers: Duration.Duration
  /** Longest stand-still of a body. @default 30 seconds */
  readonly idle: Duration.Duration
  /** One attempt, request and body together. @default 2 minutes */
  readonly attempt: Duration.Duration
  /** All attempts of one URL and the waits between them. @default 10 minutes */
  readonly total: Duration.Duration
}

/** When to try again and how long to wait before it. */
export interface FetchRetry {
  /** Retries after the first attempt. @default 3 */
  readonly times: number
  /** First wait; doubles each time; full jitter for faults, equal jitter for throttling (AWS Architecture Blog, 2015). @default 250 millis */
  readonly base: Duration.Duration
  /** Longest wait of ours. @default 30 seconds */
  readonly cap: Duration.Duration
  /** Longest Retry-After (RFC 9110 section 10.2.3) that is waited for; a longer one ends the fetch as `RetryAfterTooLong`. @default 1 minute */
  readonly patience: Duration.Duration
  /** Whether methods that are not idempotent (RFC 9110 section 9.2.2) are retried too. @default false */
  readonly unsafeMethods: boolean
}

/** Every limit of a fetch. */
export interface FetchPolicy {
  /** Requests in flight at once. @default 64 */
  readonly concurrency: number
  /** Requests in flight at once to one host. @default 16 */
  readonly perHost: number
  /** Requests started per second in all; `Infinity` is no limit. @default Infinity */
  readonly ratePerSecond: number
  /** Requests started per second to one host; `Infinity` is no limit. @default Infinity */
  readonly perHostRatePerSecond: number
  readonly timeouts: FetchTimeouts
  readonly retry: FetchRetry
  /** Largest decoded body. @default 64 MiB */
  readonly maxBody: ByteSize.ByteSize
  /** Times that a compressed body of more than 1 MiB may grow when it is decoded. @default 256 */
  readonly maxDecodeRatio: number
  /** @default 10 */
  readonly maxRedirects: number
  /** Whether private, loopback and link-local addresses are refused. @default false */
  readonly denyPrivate: boolean
}

/** The default limits. */
export const defaults: FetchPolicy = {
  concurrency: 64,
  perHost: 16,
  ratePerSecond: Infinity,
  perHostRatePerSecond: Infinity,
  timeouts: {
    connect: Duration.seconds(10),
    headers: Duration.seconds(30),
    idle: Duration.seconds(30),
    attempt: Duration.minutes(2),
    total: Duration.minutes(10)
  },
  retry: {
    times: 3,
    base: Duration.millis(250),
    cap: Duration.seconds(30),
    patience: Duration.minutes(1),
    unsafeMethods: false
  },
  maxBody: ByteSize.mebibytes(64),
  maxDecodeRatio: 256,
  maxRedirects: 10,
  denyPrivate: false
}

/** What may be changed of the defaults. */
export interface FetchPolicyInput extends Partial<Omit<FetchPolicy, "timeouts" | "retry">> {
  readonly timeouts?: Partial<FetchTimeouts>
  readonly retry?: Partial<FetchRetry>
}

/** The defaults, changed where the input says so; inputs compose left to right. */
export const make = (...inputs: ReadonlyArray<FetchPolicyInput>): FetchPolicy => {
  let policy = defaults
  for (const input of inputs) {
    policy = {
      ...policy,
      ...input,
      timeouts: { ...policy.timeouts, ...input.timeouts },
      retry: { ...policy.retry, ...input.retry }
    }
  }
  return policy
}

/** The policy in force: inherited by every fetch below it. */
export const FetchPolicy = Context.Reference<FetchPolicy>("sluice/services/fetch/FetchPolicy", {
  defaultValue: () => defaults
})
