/**
 * One URL on its way to its outcome, through attempts and redirects; and what the end of an attempt means for it. No effects: what is
 * to be done next is the answer.
 */
import { type Cause, type Context, Result } from "effect"
import { type FetchError, RedirectError, RetryAfterTooLong, StatusError } from "../../../services/fetch/FetchError.ts"
import { failure, type FetchOutcome } from "../../../services/fetch/FetchOutcome.ts"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import * as Redirect from "../../../services/fetch/Redirect.ts"
import * as Retry from "../../../services/fetch/Retry.ts"
import type { Flight } from "./Flight.ts"
import type { Limits } from "./Limits.ts"
import { type AttemptEnd, headerOf } from "./Reception.ts"
import type { Sink, Wants } from "./Sink.ts"

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
  visited: Set<string> | undefined
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
  visited: undefined,
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
 * @param blockMillis how long its host is left alone now; `undefined` when it did not ask for that
 */
export const afterResponse = (task: Task, end: AttemptEnd, now: Now, blockMillis: number | undefined): Step => {
  const { headers, status } = end
  if (status >= 200 && status < 300) return { _tag: "Success", end }
  const location = Redirect.isRedirect(status) ? headerOf(headers, "location") : undefined
  if (location !== undefined) return afterRedirect(task, end, location)
  const url = Redact.url(task.current.url)
  if (!Retry.isTransientStatus(status)) return { _tag: "Failure", error: new StatusError({ url, status }), end }
  if (blockMillis !== undefined && blockMillis > task.limits.patienceMillis) {
    return { _tag: "Failure", error: tooLong(url, status, blockMillis, now), end }
  }
  return retryOr(task, end, new StatusError({ url, status }), now, blockMillis)
}

/** The host may not be asked for longer than the patience. */
export const tooLong = (url: string, status: number, forMillis: number, now: Now): RetryAfterTooLong =>
  new RetryAfterTooLong({
    url,
    status,
    retryAfterMillis: Math.round(forMillis),
    // A date beyond what a Date can hold is as good as never.
    retryAt: new Date(Math.min(now.wallMillis + forMillis, 8.64e15)).toISOString()
  })

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
  if (task.hops >= task.limits.redirectsMax) {
    return { _tag: "Failure", error: new RedirectError({ url, problem: "limit", location: short }), end }
  }
  const next = Redirect.next(from, end.status, location)
  if (Result.isFailure(next)) return { _tag: "Failure", error: next.failure, end }
  const visited = task.visited ??= new Set([chainKey(task.target)])
  const key = chainKey(next.success)
  if (visited.has(key)) {
    return { _tag: "Failure", error: new RedirectError({ url, problem: "loop", location: short }), end }
  }
  visited.add(key)
  task.hops++
  task.current = next.success
  return { _tag: "Hop" }
}

const chainKey = (target: FetchTarget): string => `${target.request.method ?? "GET"} ${target.url}`

/** Starts the chain again: a retry asks the URL that it was given. */
export const restart = (task: Task): void => {
  task.current = task.target
  task.hops = 0
  task.visited = undefined
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
