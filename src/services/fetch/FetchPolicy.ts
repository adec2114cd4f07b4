/**
 * The limits of a fetch, as one value that can be written down, compared and composed.
 */
import { ByteSize, Context, Duration } from "effect"
import type { StatusRange } from "./StatusRange.ts"

/** Limits of one attempt and of the whole. */
export interface FetchTimeouts {
  /** Resolving the host name. @default 5 seconds */
  readonly dns: Duration.Duration
  /** The TLS handshake. @default 10 seconds */
  readonly tls: Duration.Duration
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
  /**
   * First wait; doubles each time; full jitter for faults, equal jitter for throttling (AWS Architecture Blog, 2015).
   *
   * @default 250 millis
   */
  readonly base: Duration.Duration
  /** Longest wait of ours. @default 30 seconds */
  readonly cap: Duration.Duration
  /**
   * Statuses that are tried again too, besides 408, 425, 429, 500, 502, 503 and 504. They count as faults of the URL: the pace of its host
   * is not theirs to change. @default []
   */
  readonly statuses: ReadonlyArray<StatusRange>
  /**
   * Longest that a URL waits for its host: a longer Retry-After (RFC 9110 section 10.2.3) ends it as `RetryAfterTooLong`, a longer rest of
   * a host that refuses nearly everything as `HostThrottled`, a robots.txt that cannot be read for longer as `RobotsUnreachable`.
   * @default 1 minute
   */
  readonly patience: Duration.Duration
  /** Whether methods that are not idempotent (RFC 9110 section 9.2.2) are retried too. @default false */
  readonly unsafeMethods: boolean
  /** Retries per request that each host is given on average, those that wait included. @default 0.2 */
  readonly budgetRatio: number
  /** Retries per second that each host is given on top; up to ten seconds' worth are saved. @default 10 */
  readonly budgetPerSecond: number
}

/** The slowest that a body may come. */
export interface MinSpeed {
  readonly bytesPerSecond: number
  /** Judged over each stretch of this length. */
  readonly over: Duration.Duration
}

/** When a request that has no answer yet is sent a second time; the first answer counts, the other request is ended. */
export interface Hedge {
  /** How long the first is waited for; a little above the usual (Dean and Barroso, "The Tail at Scale", 2013). */
  readonly after: Duration.Duration
  /** Second requests per request, on average. @default 0.05 */
  readonly ratio?: number | undefined
}

/** What a host is given that throttles, or does not answer. */
export interface HostPatience {
  /** Whether it is found out how many requests the host takes (429 or 503 above), at once and a second. @default true */
  readonly adaptive: boolean
  /**
   * Longest rest for a host that refuses nearly everything without a Retry-After; it starts at one to two seconds and doubles.
   *
   * @default 10 minutes
   */
  readonly blockMax: Duration.Duration
  /** Time without a refusal after which such rests start small again; answers make them shorter before. @default 10 minutes */
  readonly forgiveAfter: Duration.Duration
  /** Connections in a row that come to nothing before the circuit opens. @default 8 */
  readonly breakerFailures: number
  /** First time that the circuit stays open; doubles with each probe that fails. @default 1 second */
  readonly breakerCooldown: Duration.Duration
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
  /** @default undefined: any speed, as long as `timeouts.idle` is kept */
  readonly minSpeed: MinSpeed | undefined
  readonly retry: FetchRetry
  readonly hosts: HostPatience
  /** For GET and HEAD. @default undefined: never */
  readonly hedge: Hedge | undefined
  /** Whether robots.txt is asked and obeyed (RFC 9309). @default false */
  readonly robots: boolean
  /** Sent as User-Agent, and looked for in robots.txt. @default "sluice/0.1" */
  readonly userAgent: string
  /** Largest decoded body. @default 64 MiB */
  readonly maxBody: ByteSize.ByteSize
  /** Times that a compressed body of more than 1 MiB may grow when it is decoded. @default 256 */
  readonly maxDecodeRatio: number
  /** @default 10 */
  readonly maxRedirects: number
  /**
   * Whether private, loopback and link-local addresses are refused: `true` for every URL, `false` for none, `"untrusted"` for those that
   * came over the network (`FetchTarget.untrusted`). @default "untrusted"
   */
  readonly denyPrivate: boolean | "untrusted"
}

/** The default limits. */
export const defaults: FetchPolicy = {
  concurrency: 64,
  perHost: 16,
  ratePerSecond: Infinity,
  perHostRatePerSecond: Infinity,
  timeouts: {
    dns: Duration.seconds(5),
    tls: Duration.seconds(10),
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
    statuses: [],
    patience: Duration.minutes(1),
    unsafeMethods: false,
    budgetRatio: 0.2,
    budgetPerSecond: 10
  },
  minSpeed: undefined,
  hosts: {
    adaptive: true,
    blockMax: Duration.minutes(10),
    forgiveAfter: Duration.minutes(10),
    breakerFailures: 8,
    breakerCooldown: Duration.seconds(1)
  },
  hedge: undefined,
  robots: false,
  userAgent: "sluice/0.1",
  maxBody: ByteSize.mebibytes(64),
  maxDecodeRatio: 256,
  maxRedirects: 10,
  denyPrivate: "untrusted"
}

/** What may be changed of the defaults. */
export interface FetchPolicyInput extends Partial<Omit<FetchPolicy, "timeouts" | "retry" | "hosts">> {
  readonly timeouts?: Partial<FetchTimeouts>
  readonly retry?: Partial<FetchRetry>
  readonly hosts?: Partial<HostPatience>
}

/** The defaults, changed where the input says so; inputs compose left to right. */
export const make = (...inputs: ReadonlyArray<FetchPolicyInput>): FetchPolicy => {
  let policy = defaults
  for (const input of inputs) {
    policy = {
      ...policy,
      ...input,
      timeouts: { ...policy.timeouts, ...input.timeouts },
      retry: { ...policy.retry, ...input.retry },
      hosts: { ...policy.hosts, ...input.hosts }
    }
  }
  return policy
}

/** The policy in force: inherited by every fetch below it. */
export const FetchPolicy = Context.Reference<FetchPolicy>("sluice/services/fetch/FetchPolicy", {
  defaultValue: () => defaults
})
