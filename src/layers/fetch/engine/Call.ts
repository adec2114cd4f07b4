/**
 * One URL on its way to its outcome, through attempts and redirects; and what the end of an attempt means for it. No effects: what is
 * to be done next is the answer.
 */
import { type Cause, type Context, Result } from "effect"
import {
  type FetchError,
  HostThrottled,
  HostUnavailable,
  RedirectError,
  RetryAfterTooLong,
  StatusError
} from "../../../services/fetch/FetchError.ts"
import { failure, type FetchOutcome } from "../../../services/fetch/FetchOutcome.ts"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import type { Refusal } from "../../../services/fetch/HostGate.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import * as Redirect from "../../../services/fetch/Redirect.ts"
import * as Retry from "../../../services/fetch/Retry.ts"
import type { Sink, Wants } from "./BodySink.ts"
import type { Flight } from "./Flight.ts"
import type { Limits } from "./Limits.ts"
import { type AttemptEnd, headerOf } from "./Transfer.ts"

export interface Task {
  readonly target: FetchTarget
  readonly limits: Limits
  readonly wants: Wants
  /** The context that its attempts run in; `undefined` is the session's own. */
  readonly context: Context.Context<never> | undefined
  readonly settle: Settle
  /** Where redirects have led. */
  current: FetchTarget
  /** Hops of the present chain. */
  hops: number
  /** How often the present chain has led to a URL, once it has led anywhere. */
  visits: Map<string, number> | undefined
  attempts: number
  /** Wall clock at the first attempt; -1 before it. */
  startedAt: number
  /** Monotonic time at the first attempt. */
  startedAtMillis: number
  /** What earlier hops took of the present attempt's time. */
  spentMillis: number
  /** Whether what comes next is a hop of the same attempt. */
  isHop: boolean
  /** What is there of its body, for the next attempt to go on with. */
  sink: Sink | undefined
  /** Its attempts under way: one, or two when it is hedged. */
  readonly flights: Array<Flight>
  /** Nobody wants it any more. */
  isCancelled: boolean
  next: Task | undefined
}

/**
 * Receives the end of a task: its outcome, with what came and the error it failed with; or the cause, when it was interrupted from
 * elsewhere or died.
 */
export type Settle = (
  outcome: FetchOutcome | undefined,
  end: AttemptEnd | undefined,
  error: FetchError | undefined,
  task: Task,
  cause: Cause.Cause<never> | undefined
) => void

export const make = (
  target: FetchTarget,
  limits: Limits,
  wants: Wants,
  context: Context.Context<never> | undefined,
  settle: Settle
): Task => ({
  target,
  limits,
  wants,
  context,
  settle,
  current: target,
  hops: 0,
  visits: undefined,
  attempts: 0,
  startedAt: -1,
  startedAtMillis: 0,
  spentMillis: 0,
  isHop: false,
  sink: undefined,
  flights: [],
  isCancelled: false,
  next: undefined
})

/** When all attempts of it must be done. */
export const endsAt = (task: Task): number => task.startedAtMillis + task.limits.totalMillis

/** What follows the end of an attempt. */
export type Step =
  | { readonly _tag: "Success"; readonly end: AttemptEnd }
  | { readonly _tag: "Failure"; readonly error: FetchError; readonly end: AttemptEnd | undefined }
  /** Sent on at once, to `task.current`. */
  | { readonly _tag: "Hop" }
  /** Tried again after a wait; what it failed with is what it ends with when it may not be. */
  | {
    readonly _tag: "Retry"
    readonly waitMillis: number
    readonly error: FetchError
    readonly end: AttemptEnd | undefined
  }

export interface Now {
  /** Monotonic. */
  readonly nowMillis: number
  /** Unix time. */
  readonly wallMillis: number
  /** In [0, 1). */
  readonly chance: () => number
}

/**
 * What follows a response.
 *
 * @param askedMillis how long its host has asked to be left alone; `undefined` when it has not
 */
export const afterResponse = (task: Task, end: AttemptEnd, now: Now, askedMillis: number | undefined): Step => {
  const { headers, status } = end
  if (status >= 200 && status < 300) return { _tag: "Success", end }
  const url = Redact.url(task.current.url)
  const location = Redirect.location(Redirect.isRedirect(status) ? headers["location"] : undefined)
  if (Result.isFailure(location)) {
    const several = Redact.url(location.failure.slice(0, 500))
    return { _tag: "Failure", error: new RedirectError({ url, problem: "several", location: several }), end }
  }
  if (location.success !== undefined) return afterRedirect(task, end, location.success)
  if (!Retry.isTransientStatus(status)) return { _tag: "Failure", error: new StatusError({ url, status }), end }
  if (askedMillis !== undefined && askedMillis > task.limits.patienceMillis) {
    return { _tag: "Failure", error: tooLong(url, status, askedMillis, now), end }
  }
  return retryOr(task, end, new StatusError({ url, status }), now, askedMillis)
}

/** The host has asked to be left alone for longer than the patience. */
const tooLong = (url: string, status: number, forMillis: number, now: Now): RetryAfterTooLong =>
  new RetryAfterTooLong({ url, status, ...later(forMillis, now) })

/** A time from now on, as errors carry it. */
export const later = (forMillis: number, now: Now) => ({
  retryAfterMillis: Math.round(forMillis),
  // A date beyond what a Date can hold is as good as never.
  retryAt: new Date(Math.min(now.wallMillis + forMillis, 8.64e15)).toISOString()
})

/** What a task ends with that would have to wait at its host's gate for longer than the patience. */
export const refused = (task: Task, refusal: Refusal, now: Now): FetchError => {
  const { host } = task.current
  const url = Redact.url(task.current.url)
  const { forMillis } = refusal
  if (refusal._tag === "Asked") return tooLong(url, refusal.status, forMillis, now)
  if (refusal._tag === "Resting") {
    return new HostThrottled({ url, host, status: refusal.status, ...later(forMillis, now) })
  }
  return new HostUnavailable({ url, host, problem: "circuit open", retryAfterMillis: Math.round(forMillis) })
}

/** What follows a failed attempt. */
export const afterFailure = (task: Task, error: FetchError, now: Now): Step =>
  Retry.isTransient(error)
    ? retryOr(task, undefined, error, now, undefined)
    : { _tag: "Failure", error, end: undefined }

const retryOr = (
  task: Task,
  end: AttemptEnd | undefined,
  error: FetchError,
  now: Now,
  askedMillis: number | undefined
): Step => {
  const { limits } = task
  const isThrottled = end !== undefined && Retry.isThrottling(end.status)
  const mayRetry = task.attempts <= limits.retries &&
    (limits.retriesUnsafe || Retry.isIdempotent(task.current.request.method ?? "GET"))
  if (!mayRetry) return { _tag: "Failure", error, end }
  const jitter = isThrottled ? Retry.equalJitterMillis : Retry.fullJitterMillis
  const ownMillis = jitter(task.attempts, limits.baseMillis, limits.capMillis, now.chance())
  // What the server asks is a floor: never earlier, and spread out after it so that not all come back at once.
  const waitMillis = askedMillis === undefined ? ownMillis : Math.max(askedMillis, ownMillis)
  // No use in waiting for an attempt that the deadline of the whole would cut off: the real reason says more.
  if (now.nowMillis + waitMillis >= endsAt(task)) return { _tag: "Failure", error, end }
  return { _tag: "Retry", waitMillis, error, end }
}

const afterRedirect = (task: Task, end: AttemptEnd, location: string): Step => {
  const from = task.current
  const short = Redact.brief(location, 500)
  const url = Redact.url(from.url)
  const next = Redirect.next(from, end.status, location)
  if (Result.isFailure(next)) return { _tag: "Failure", error: next.failure, end }
  const visits = task.visits ??= new Map([[chainKey(task.target), 1]])
  const key = chainKey(next.success)
  const visit = (visits.get(key) ?? 0) + 1
  if (visit > visitsMax) {
    return { _tag: "Failure", error: new RedirectError({ url, problem: "loop", location: short }), end }
  }
  if (task.hops >= task.limits.redirectsMax) {
    return { _tag: "Failure", error: new RedirectError({ url, problem: "limit", location: short }), end }
  }
  visits.set(key, visit)
  task.hops++
  task.current = next.success
  return { _tag: "Hop" }
}

/** Visits of one URL in a chain: a page that first sets a cookie, or wakes something, sends back to itself once. */
const visitsMax = 2

const chainKey = (target: FetchTarget): string => `${target.request.method ?? "GET"} ${target.url}`

/** Starts the chain again: a retry asks the URL that it was given. */
export const restart = (task: Task): void => {
  task.current = task.target
  task.hops = 0
  task.visits = undefined
  task.spentMillis = 0
  task.isHop = false
}

/** The outcome of a task that has ended. */
export const outcome = (
  task: Task,
  end: AttemptEnd | undefined,
  error: FetchError | undefined,
  now: Now
): FetchOutcome => ({
  url: Redact.url(task.target.request.url),
  finalUrl: end === undefined ? null : Redact.url(task.current.url),
  ok: error === undefined,
  status: end === undefined ? null : end.status,
  attempts: task.attempts,
  bytes: end === undefined ? 0 : end.bytes,
  sha256: end === undefined ? null : end.sha256,
  contentType: end === undefined ? null : headerOf(end.headers, "content-type") ?? null,
  startedAt: new Date(task.startedAt < 0 ? now.wallMillis : task.startedAt).toISOString(),
  durationMs: task.startedAt < 0 ? 0 : Math.round((now.nowMillis - task.startedAtMillis) * 1000) / 1000,
  savedTo: end === undefined ? null : end.savedTo,
  error: error === undefined ? null : failure(error)
})
