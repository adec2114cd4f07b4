/**
 * A policy as the numbers that the hot path compares: milliseconds and bytes.
 */
import { ByteSize, Duration } from "effect"
import type { FetchPolicy } from "../../../services/fetch/FetchPolicy.ts"

export interface Limits {
  readonly concurrency: number
  readonly ratePerSecond: number
  readonly perHost: number
  readonly perHostRatePerSecond: number
  readonly connectMillis: number
  readonly headersMillis: number
  readonly idleMillis: number
  readonly attemptMillis: number
  readonly totalMillis: number
  readonly retries: number
  readonly baseMillis: number
  readonly capMillis: number
  readonly patienceMillis: number
  readonly retriesUnsafe: boolean
  readonly bodyMaxBytes: number
  readonly decodeRatioMax: number
  readonly redirectsMax: number
  readonly denyPrivate: boolean
}

const compiled = new WeakMap<FetchPolicy, Limits>()

/** The numbers of a policy; worked out once for each policy value. */
export const of = (policy: FetchPolicy): Limits => {
  const known = compiled.get(policy)
  if (known !== undefined) return known
  const limits: Limits = {
    concurrency: Math.max(1, Math.floor(policy.concurrency)),
    ratePerSecond: policy.ratePerSecond,
    perHost: Math.max(1, Math.floor(policy.perHost)),
    perHostRatePerSecond: policy.perHostRatePerSecond,
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
    bodyMaxBytes: ByteSize.toNumberUnsafe(policy.maxBody),
    decodeRatioMax: policy.maxDecodeRatio,
    redirectsMax: policy.maxRedirects,
    denyPrivate: policy.denyPrivate
  }
  compiled.set(policy, limits)
  return limits
}
