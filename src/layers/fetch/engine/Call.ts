/**
 * A call: one URL on its way to its outcome, through attempts and redirects. Its state, its ends, and nothing that acts.
 */
import type { Cause, Context } from "effect"
import { type FetchError, TotalTimeout } from "../../../services/fetch/FetchError.ts"
import { asked, failure, type FetchOutcome } from "../../../services/fetch/FetchOutcome.ts"
import type { FetchRequest, FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import type { Moment } from "../../../services/fetch/HostState.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import type { Attempt } from "./Attempt.ts"
import type { BodySink, Wants } from "./BodySink.ts"
import type { Limits } from "./Limits.ts"
import { headerOf, type Reply } from "./Transfer.ts"

/** What is to be fetched, for whom. */
export interface CallOptions {
  readonly target: FetchTarget
  readonly limits: Limits
  readonly wants: Wants
  /** The context that its attempts run in; `undefined` is the dispatcher's own. */
  readonly context: Context.Context<never> | undefined
  /** Receives its end, once. */
  readonly settle: (end: End, call: Call) => void
}

export interface Call extends CallOptions {
  /** Where redirects have led. */
  current: FetchTarget
  /** Hops of the present chain. */
  hops: number
  /** How often the present chain has led to a URL, once it has led anywhere. */
  visits: Map<string, number> | undefined
  /** Attempts that were made. */
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
  sink: BodySink | undefined
  /** Its attempts under way: one, or two when it is hedged. */
  readonly inFlight: Array<Attempt>
  /** Nobody wants it any more. */
  isCancelled: boolean
  /** The one behind it in the queue of its host. */
  next: Call | undefined
}

/** How a call ends. */
export type End =
  | { readonly _tag: "Done"; readonly outcome: FetchOutcome; readonly reply: Reply }
  | { readonly _tag: "Failed"; readonly outcome: FetchOutcome; readonly error: FetchError }
  /** Interrupted from elsewhere, or died: there is no outcome to report. */
  | { readonly _tag: "Lost"; readonly cause: Cause.Cause<never> }

export interface Now extends Moment {
  /** In [0, 1). */
  readonly chance: () => number
}

export const make = ({ context, limits, settle, target, wants }: CallOptions): Call => ({
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
  inFlight: [],
  isCancelled: false,
  next: undefined
})

/** When all attempts of it must be done. */
export const endsAt = (call: Call): number => call.startedAtMillis + call.limits.totalMillis

/** Begins an attempt, or a hop of one; or answers that its time was over before. */
export const begin = (call: Call, nowMillis: number, wallMillis: number): TotalTimeout | undefined => {
  if (call.startedAt < 0) {
    call.startedAt = wallMillis
    call.startedAtMillis = nowMillis
  } else if (endsAt(call) <= nowMillis) {
    const limitMillis = call.limits.totalMillis
    return new TotalTimeout({ url: Redact.url(call.current.url), limitMillis, bytesReceived: 0 })
  }
  if (!call.isHop) call.attempts++
  return undefined
}

/** Whether a second attempt may go beside the first: what can be sent twice without a trace, and whose body goes to one place. */
export const mayHedge = ({ current: { request: { method } }, limits, wants }: Call): boolean =>
  limits.hedgeAfterMillis < Infinity && (method === undefined || method === "GET" || method === "HEAD") &&
  wants.store === undefined

/** Sends it on, to where a response has redirected it: a hop of the same attempt. */
export const hop = (call: Call, to: FetchTarget, tookMillis: number): void => {
  call.hops++
  call.current = to
  call.isHop = true
  call.spentMillis += tookMillis
}

/** Starts the chain again: a retry asks the URL that it was given, and goes on with what is there of the body. */
export const restart = (call: Call, sink: BodySink | undefined): void => {
  call.current = call.target
  call.hops = 0
  call.visits = undefined
  call.spentMillis = 0
  call.isHop = false
  call.sink = sink
}

export const done = (call: Call, reply: Reply, now: Now): End => ({
  _tag: "Done",
  outcome: outcomeOf(call, reply, undefined, now),
  reply
})

/** @param reply what the server answered, if it did */
export const failed = (call: Call, error: FetchError, reply: Reply | undefined, now: Now): End => ({
  _tag: "Failed",
  outcome: outcomeOf(call, reply, error, now),
  error
})

export const lost = (cause: Cause.Cause<never>): End => ({ _tag: "Lost", cause })

const outcomeOf = (
  call: Call,
  reply: Reply | undefined,
  error: FetchError | undefined,
  now: Now
): FetchOutcome => ({
  url: Redact.url(call.target.request.url),
  ...asked(call.target.request),
  finalUrl: reply === undefined ? null : Redact.url(call.current.url),
  ok: error === undefined,
  status: reply === undefined ? null : reply.status,
  attempts: call.attempts,
  bytes: reply === undefined ? 0 : reply.bytes,
  sha256: reply === undefined ? null : reply.sha256,
  contentType: reply === undefined ? null : headerOf(reply.headers, "content-type") ?? null,
  startedAt: new Date(call.startedAt < 0 ? now.wallMillis : call.startedAt).toISOString(),
  durationMs: call.startedAt < 0 ? 0 : Math.round((now.nowMillis - call.startedAtMillis) * 1000) / 1000,
  savedTo: reply === undefined ? null : reply.savedTo,
  error: error === undefined ? null : failure(error)
})

/** The outcome of an invalid request, which never becomes a call. */
export const invalid = (request: FetchRequest, error: FetchError, wallMillis: number): FetchOutcome => ({
  url: Redact.url(request.url),
  ...asked(request),
  finalUrl: null,
  ok: false,
  status: null,
  attempts: 0,
  bytes: 0,
  sha256: null,
  contentType: null,
  startedAt: new Date(wallMillis).toISOString(),
  durationMs: 0,
  savedTo: null,
  error: failure(error)
})
