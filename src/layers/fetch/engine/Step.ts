/**
 * What follows the end of an attempt, for its call and for the gate of its host. Nothing is started, put back or settled here: what is to
 * be done is the answer, and the dispatcher does it.
 */
import { Cause, Exit, Result } from "effect"
import type * as HttpClientError from "effect/http/HttpClientError"
import {
  type FetchError,
  HostThrottled,
  HostUnavailable,
  ProtocolError,
  RedirectError,
  RetryAfterTooLong,
  StatusError
} from "../../../services/fetch/FetchError.ts"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import type { Block } from "../../../services/fetch/HostView.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import * as Redirect from "../../../services/fetch/Redirect.ts"
import * as Retry from "../../../services/fetch/Retry.ts"
import type { Attempt } from "./Attempt.ts"
import * as Call from "./Call.ts"
import * as Transfer from "./Transfer.ts"

export type Step =
  /** Over: its end is known. */
  | { readonly _tag: "Settle"; readonly end: Call.End }
  /** Sent on at once, to `call.current`. */
  | { readonly _tag: "Redirect" }
  /** Tried again, not before that time. */
  | { readonly _tag: "Retry"; readonly atMillis: number }
  /** Nothing: nobody wants it, or the other attempt of a hedged call decides. */
  | { readonly _tag: "Leave" }

/** What an attempt's fiber ends with. */
export type AttemptExit = Exit.Exit<Transfer.Reply, HttpClientError.HttpClientError | FetchError>

const leave: Step = { _tag: "Leave" }
const redirect: Step = { _tag: "Redirect" }

/** What follows; the gate and the call have been told of it. */
export const after = (call: Call.Call, attempt: Attempt, exit: AttemptExit, now: Call.Now): Step => {
  if (attempt.isLoser || call.isCancelled) return leave
  if (Exit.isSuccess(exit)) return afterReply(call, attempt, exit.value, now)
  const failure = attempt.expired ?? exit.cause.reasons.find(Cause.isFailReason)?.error
  if (failure !== undefined) {
    const error = Transfer.failureOf(failure, attempt)
    if (Retry.isHostFault(error, call.attempts)) attempt.gate.failed(call.limits, now.nowMillis)
    return Retry.isTransient(error) ? retry(call, attempt, { error }, now) : fail(call, { error }, now)
  }
  // A bug, or interrupted from elsewhere: there is no error to report, only the cause to hand on.
  const cause = Cause.hasInterruptsOnly(exit.cause) ? Cause.interrupt() : Cause.die(Cause.squash(exit.cause))
  return { _tag: "Settle", end: Call.lost(cause) }
}

/** Why an attempt came to nothing, with the response that says so. */
interface Failure {
  readonly error: FetchError
  readonly reply?: Transfer.Reply
  /** How long its host has asked to be left alone. */
  readonly askedMillis?: number | undefined
}

const fail = (call: Call.Call, { error, reply }: Failure, now: Call.Now): Step =>
  // A hedged call is left to its other attempt.
  call.inFlight.length > 0 ? leave : { _tag: "Settle", end: Call.failed(call, error, reply, now) }

const afterReply = (call: Call.Call, attempt: Attempt, reply: Transfer.Reply, now: Call.Now): Step => {
  const { gate, sink } = attempt
  const { headers, status } = reply
  if (status === 416 && sink !== undefined) {
    // The rest of the body is not to be had: it is asked for whole again.
    const url = Redact.url(call.current.url)
    return retry(call, attempt, {
      error: new ProtocolError({ url, code: "RANGE_REFUSED", bytesReceived: sink.bytes })
    }, now)
  }
  if (!Retry.isThrottling(status)) gate.answered(call.limits, now.nowMillis)
  if (status >= 200 && status < 300) return { _tag: "Settle", end: Call.done(call, reply, now) }
  const url = Redact.url(call.current.url)
  const location = Redirect.location(Redirect.isRedirect(status) ? headers["location"] : undefined)
  if (Result.isFailure(location)) {
    const several = Redact.url(location.failure.slice(0, 500))
    return fail(call, { error: new RedirectError({ url, problem: "several", location: several }), reply }, now)
  }
  if (location.success !== undefined) return afterRedirect(call, attempt, { reply, location: location.success }, now)
  const error = new StatusError({ url, status })
  if (!Retry.isTransientStatus(status, call.limits.retriedStatuses)) return fail(call, { error, reply }, now)
  if (!Retry.isThrottling(status)) return retry(call, attempt, { error, reply }, now)
  const askedMillis = Retry.retryAfterMillis(Transfer.headerOf(headers, "retry-after"), now.wallMillis)
  const refused = { status, askedMillis, ticket: attempt.ticket, isAgain: call.attempts > 1, chance: now.chance() }
  gate.refused(call.limits, refused, now.nowMillis)
  return askedMillis !== undefined && askedMillis > call.limits.patienceMillis
    ? fail(call, { error: tooLong(url, status, askedMillis, now), reply }, now)
    : retry(call, attempt, { error, reply, askedMillis }, now)
}

/** Tries again after a wait, when that is allowed and there is time; otherwise it is over. */
const retry = (call: Call.Call, attempt: Attempt, failure: Failure, now: Call.Now): Step => {
  if (call.inFlight.length > 0) return leave
  const { limits } = call
  const { askedMillis, error, reply } = failure
  const mayRetry = call.attempts <= limits.retries &&
    (limits.retriesUnsafe || Retry.isIdempotent(call.current.request.method ?? "GET"))
  if (!mayRetry) return fail(call, failure, now)
  const isThrottled = reply !== undefined && Retry.isThrottling(reply.status)
  const jitter = isThrottled ? Retry.equalJitterMillis : Retry.fullJitterMillis
  const ownMillis = jitter(call.attempts, limits.baseMillis, limits.capMillis, now.chance())
  // What the server asks is a floor: never earlier, and spread out after it so that not all come back at once.
  const atMillis = now.nowMillis + Math.max(askedMillis ?? 0, ownMillis)
  // No use in waiting for an attempt that the deadline of the whole would cut off: the real reason says more.
  if (atMillis >= Call.endsAt(call)) return fail(call, failure, now)
  if (!attempt.gate.takeRetry(limits, now.nowMillis)) return fail(call, failure, now)
  const { sink } = attempt
  const isKept = sink?.resumeHeaders !== undefined && call.current === call.target &&
    !(error._tag === "ProtocolError" && resumeFaults.has(error.code))
  Call.restart(call, isKept ? sink : undefined)
  return { _tag: "Retry", atMillis }
}

/** Faults of going on with a body: what is there of it is not to be trusted. */
const resumeFaults = new Set(["RANGE_REFUSED", "BAD_CONTENT_RANGE", "UNSOLICITED_PARTIAL"])

/** A response that redirects, and where to. */
interface Redirected {
  readonly reply: Transfer.Reply
  readonly location: string
}

const afterRedirect = (call: Call.Call, attempt: Attempt, { location, reply }: Redirected, now: Call.Now): Step => {
  const from = call.current
  const next = Redirect.next(from, reply.status, location)
  if (Result.isFailure(next)) return fail(call, { error: next.failure, reply }, now)
  const wrong = (problem: "loop" | "limit"): Step => {
    const error = new RedirectError({ url: Redact.url(from.url), problem, location: Redact.brief(location, 500) })
    return fail(call, { error, reply }, now)
  }
  const visits = call.visits ??= new Map([[chainKey(call.target), 1]])
  const key = chainKey(next.success)
  const visit = (visits.get(key) ?? 0) + 1
  if (visit > visitsMax) return wrong("loop")
  if (call.hops >= call.limits.redirectsMax) return wrong("limit")
  visits.set(key, visit)
  Call.hop(call, next.success, now.nowMillis - attempt.startedAtMillis)
  return redirect
}

/** Visits of one URL in a chain: a page that first sets a cookie, or wakes something, sends back to itself once. */
const visitsMax = 2

const chainKey = (target: FetchTarget): string => `${target.request.method ?? "GET"} ${target.url}`

/** What a call ends with that would have to wait at its host's gate for longer than the patience. */
export const refused = (call: Call.Call, refusal: Block, now: Call.Now): FetchError => {
  const { host } = call.current
  const url = Redact.url(call.current.url)
  const { forMillis } = refusal
  if (refusal._tag === "Asked") return tooLong(url, refusal.status, forMillis, now)
  if (refusal._tag === "Resting") {
    return new HostThrottled({ url, host, status: refusal.status, ...later(forMillis, now) })
  }
  return new HostUnavailable({ url, host, problem: "circuit open", retryAfterMillis: Math.round(forMillis) })
}

/** The host has asked to be left alone for longer than the patience. */
const tooLong = (url: string, status: number, forMillis: number, now: Call.Now): RetryAfterTooLong =>
  new RetryAfterTooLong({ url, status, ...later(forMillis, now) })

/** A time from now on, as errors carry it. */
export const later = (forMillis: number, now: Call.Now) => ({
  retryAfterMillis: Math.round(forMillis),
  // A date beyond what a Date can hold is as good as never.
  retryAt: new Date(Math.min(now.wallMillis + forMillis, 8.64e15)).toISOString()
})
