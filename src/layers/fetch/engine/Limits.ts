/**
 * A policy as the hot path takes it: milliseconds, bytes and headers.
 */
import { ByteSize, Duration } from "effect"
import * as Headers from "effect/http/Headers"
import type { FetchPolicy } from "../../../services/fetch/FetchPolicy.ts"
import type { HostLimits } from "../../../services/fetch/HostGate.ts"
import type { StatusRange } from "../../../services/fetch/StatusRange.ts"
import { acceptEncoding } from "./BodyDecoder.ts"

export interface Limits extends HostLimits {
  readonly concurrency: number
  readonly ratePerSecond: number
  readonly dnsMillis: number
  readonly tlsMillis: number
  readonly connectMillis: number
  readonly headersMillis: number
  readonly idleMillis: number
  readonly attemptMillis: number
  readonly totalMillis: number
  readonly retries: number
  readonly baseMillis: number
  readonly capMillis: number
  readonly retriesUnsafe: boolean
  /** Besides those that always are. */
  readonly retriedStatuses: ReadonlyArray<StatusRange>
  readonly bodyMaxBytes: number
  readonly decodeRatioMax: number
  readonly redirectsMax: number
  readonly denyPrivate: boolean
  /** Bytes that must come in each `speedOverMillis`; 0 is any. */
  readonly speedBytes: number
  readonly speedOverMillis: number
  /** `Infinity` is never. */
  readonly hedgeAfterMillis: number
  readonly hedgeRatio: number
  readonly robots: boolean
  readonly userAgent: string
  /** Sent with every request that does not set them itself. */
  readonly headers: Headers.Headers
}

const compiled = new WeakMap<FetchPolicy, Limits>()
const compiledUntrusted = new WeakMap<FetchPolicy, Limits>()

/** The numbers of a policy; worked out once for each policy value. */
export const of = (policy: FetchPolicy): Limits => known(compiled, policy, () => make(policy))

/** The same for what came over the network. */
export const ofUntrusted = (policy: FetchPolicy): Limits =>
  known(compiledUntrusted, policy, () => ({ ...of(policy), denyPrivate: policy.denyPrivate !== false }))

const known = (all: WeakMap<FetchPolicy, Limits>, policy: FetchPolicy, make: () => Limits): Limits => {
  const limits = all.get(policy) ?? make()
  all.set(policy, limits)
  return limits
}

const make = (policy: FetchPolicy): Limits => ({
  concurrency: Math.max(1, Math.floor(policy.concurrency)),
  ratePerSecond: policy.ratePerSecond,
  perHost: Math.max(1, Math.floor(policy.perHost)),
  perHostRatePerSecond: policy.perHostRatePerSecond,
  isAdaptive: policy.hosts.adaptive,
  blockMaxMillis: Duration.toMillis(policy.hosts.blockMax),
  forgiveMillis: Duration.toMillis(policy.hosts.forgiveAfter),
  breakerFailures: policy.hosts.breakerFailures,
  breakerCooldownMillis: Duration.toMillis(policy.hosts.breakerCooldown),
  retryRatio: policy.retry.budgetRatio,
  retriesPerSecond: policy.retry.budgetPerSecond,
  dnsMillis: Duration.toMillis(policy.timeouts.dns),
  tlsMillis: Duration.toMillis(policy.timeouts.tls),
  connectMillis: Duration.toMillis(policy.timeouts.connect),
  headersMillis: Duration.toMillis(policy.timeouts.headers),
  idleMillis: Duration.toMillis(policy.timeouts.idle),
  attemptMillis: Duration.toMillis(policy.timeouts.attempt),
  totalMillis: Duration.toMillis(policy.timeouts.total),
  retries: policy.retry.times,
  baseMillis: Duration.toMillis(policy.retry.base),
  capMillis: Duration.toMillis(policy.retry.cap),
  patienceMillis: Duration.toMillis(policy.retry.patience),
  retriesUnsafe: policy.retry.unsafeMethods,
  retriedStatuses: policy.retry.statuses,
  bodyMaxBytes: ByteSize.toNumberUnsafe(policy.maxBody),
  decodeRatioMax: policy.maxDecodeRatio,
  redirectsMax: policy.maxRedirects,
  denyPrivate: policy.denyPrivate === true,
  speedBytes: policy.minSpeed === undefined
    ? 0
    : policy.minSpeed.bytesPerSecond * Duration.toSeconds(policy.minSpeed.over),
  speedOverMillis: policy.minSpeed === undefined ? Infinity : Duration.toMillis(policy.minSpeed.over),
  hedgeAfterMillis: policy.hedge === undefined ? Infinity : Duration.toMillis(policy.hedge.after),
  hedgeRatio: policy.hedge?.ratio ?? 0.05,
  robots: policy.robots,
  userAgent: policy.userAgent,
  headers: Headers.fromRecordUnsafe({
    accept: "*/*",
    "accept-encoding": acceptEncoding,
    "user-agent": policy.userAgent
  })
})
