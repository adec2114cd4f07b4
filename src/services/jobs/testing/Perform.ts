import { Clock, Duration, Effect, Exit, Option, Result, Schema } from "effect"
import * as FailureText from "../FailureText.ts"
import * as Foreign from "../Foreign.ts"
import { type JobFailure, JobId } from "../Job.ts"
import type { JobOptionInvalid, JobPayloadInvalid } from "../JobError.ts"
import type { HandlerOf } from "../JobHandler.ts"
import * as JobQueue from "../JobQueue.ts"
import type { ClaimedJob, Verdict } from "../JobStore.ts"
import * as JobVerdict from "../JobVerdict.ts"
import { fastForward, testClock } from "./FastForward.ts"
import type { JobTestError } from "./JobTestError.ts"

/** What becomes of a job whose handler ended like this. */
export type Performed<S> =
  /** `result` is undefined when a batch handler answered none. */
  | { readonly _tag: "Succeeded"; readonly result: S | undefined }
  /** It failed, and would run again after `delay`. */
  | { readonly _tag: "Retry"; readonly delay: Duration.Duration; readonly failure: JobFailure }
  /** It failed, and would not run again. */
  | { readonly _tag: "Dead"; readonly failure: JobFailure }
  | { readonly _tag: "Snoozed"; readonly delay: Duration.Duration }

/** What the handler is told about its job. */
export interface PerformOptions {
  /** @default 1 */
  readonly attempt?: number
  /** @default as the kind says */
  readonly maxAttempts?: number
  /** @default "1" */
  readonly id?: JobId
}

const performed = <S>(verdict: Verdict, result: S | undefined): Performed<S> => {
  switch (verdict._tag) {
    case "Succeeded":
      return { _tag: "Succeeded", result }
    case "Retry":
      return { _tag: "Retry", delay: Duration.millis(verdict.delayMillis), failure: verdict.failure }
    case "Dead":
      return verdict
    case "Released":
      return { _tag: "Snoozed", delay: Duration.millis(verdict.delayMillis) }
    default:
      return { _tag: "Dead", failure: { reason: "Cancelled", message: "cancelled" } }
  }
}

/** A handler without a timeout is not waited for longer. */
const longest = Duration.days(1)

/** Runs it for so long, in virtual time where there is a `TestClock`. */
const limited = <A, E, R>(self: Effect.Effect<A, E, R>, timeout: Duration.Duration) => {
  const once = Effect.timeoutOption(self, timeout)
  return Effect.matchEffect(testClock, {
    onFailure: () => once,
    onSuccess: () => fastForward(once, { within: Duration.min(Duration.sum(timeout, Duration.seconds(1)), longest) })
  })
}

/**
 * Runs a handler with one payload, as a worker would, and answers what would become of the job: the payload goes through
 * the kind's schema and back, the kind's timeout and retry schedule hold, and a result or an error that does not fit its
 * schema is told as a worker tells it. Nothing is stored, and there is no transaction but the test's own. Sleeps of the
 * handler take no real time where there is a `TestClock`.
 *
 * @example
 * const verdict = yield* JobTest.perform(welcome, { user: 1 }, { attempt: 5 })
 * assert.strictEqual(verdict._tag, "Dead")
 */
export const perform = Effect.fnUntraced(function*<P, S, F, R>(
  handler: HandlerOf<P, S, F, R>,
  payload: P,
  options: PerformOptions = {}
): Effect.fn.Return<Performed<S>, JobPayloadInvalid | JobOptionInvalid | JobTestError, R> {
  const { kind } = handler
  const stored = JobQueue.prepare(kind, payload, undefined)
  if (Result.isFailure(stored)) return yield* Effect.fail(stored.failure)
  const job: ClaimedJob = {
    id: options.id ?? JobId.make("1"),
    fence: 1,
    queue: kind.queue,
    kind: kind.name,
    attempt: options.attempt ?? 1,
    maxAttempts: options.maxAttempts ?? kind.maxAttempts,
    payload: JSON.parse(stored.success.payload) as unknown,
    enqueuedAt: new Date(yield* Clock.currentTimeMillis),
    key: stored.success.key
  }
  const decoded = handler.decode(job.payload)
  if (Result.isFailure(decoded)) {
    return { _tag: "Dead", failure: { reason: "PayloadInvalid", message: FailureText.clean(decoded.failure) } }
  }
  const run = Effect.suspend(() => handler.run([{ payload: decoded.success, attempt: job }]))
  const ended = yield* limited(Effect.exit(Foreign.confined(run)), kind.timeout)
  if (Option.isNone(ended)) {
    return performed<S>(yield* JobVerdict.failed(handler, job, JobVerdict.timedOut(handler)), undefined)
  }
  const exit = ended.value
  if (Exit.isFailure(exit)) return performed<S>(yield* JobVerdict.ofCause(handler, job, exit.cause), undefined)
  const value = exit.value?.[0]
  return performed(JobVerdict.succeeded(handler, value), Schema.is(kind.success)(value) ? value : undefined)
})
