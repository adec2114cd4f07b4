import { Cause, Duration, Effect, Pull, Result, Schedule } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../postgres/SqlFailure.ts"
import * as FailureText from "./FailureText.ts"
import * as Foreign from "./Foreign.ts"
import type { JobFailure } from "./Job.ts"
import { JobDiscard, JobQueueError, JobSnooze, maxDelayMillis } from "./JobError.ts"
import type { Handler } from "./JobHandler.ts"
import type { ClaimedJob, Verdict } from "./JobStore.ts"

/**
 * The delay before the attempt after `attempt`: the schedule is replayed from its start, since each attempt may run in
 * another process. A schedule that has ended keeps its last delay.
 */
export const retryDelayMillis = Effect.fnUntraced(function*(
  schedule: Schedule.Schedule<unknown, number>,
  attempt: number
): Effect.fn.Return<number> {
  const step = yield* Schedule.toStep(schedule)
  let elapsed = 0
  let delay = Duration.zero
  for (let i = 1; i <= attempt; i++) {
    const next = yield* Pull.catchDone(step(elapsed, i), () => Effect.undefined)
    if (next === undefined) break
    delay = next[1]
    elapsed += Duration.toMillis(delay)
  }
  return Math.ceil(Duration.toMillis(delay))
})

/** The delay when the retry schedule died, gave none within its time, or gave one that no clock has. */
const deadScheduleMillis = 60_000
const scheduleTimeoutMillis = 1_000

const isDelay = (millis: number): boolean => millis >= 0 && millis <= maxDelayMillis

/** A schedule is the user's code: its defect must not become the worker's. */
const delayOf = (kind: Handler<never>["kind"], attempt: number): Effect.Effect<number> =>
  retryDelayMillis(kind.retry, attempt).pipe(
    Effect.timeout(scheduleTimeoutMillis),
    Effect.filterOrFail(isDelay, (millis) => `it said ${millis} ms`),
    Effect.catchCause((cause) =>
      Effect.as(
        Effect.logError(`jobs: the retry schedule of kind "${kind.name}" died: ${Foreign.prettyOf(cause)}`),
        deadScheduleMillis
      )
    )
  )

/** The verdict on an attempt that failed for this reason: again by the schedule, or dead when it was the last. */
export const failed = (
  handler: Pick<Handler<never>, "kind">,
  job: ClaimedJob,
  failure: JobFailure
): Effect.Effect<Verdict> =>
  job.attempt >= job.maxAttempts
    ? Effect.succeed({ _tag: "Dead", failure })
    : Effect.map(delayOf(handler.kind, job.attempt), (delayMillis) => ({ _tag: "Retry", delayMillis, failure }))

/** The verdict on an attempt that succeeded with this value: dead when the value does not fit its schema. */
export const succeeded = (handler: Pick<Handler<never>, "kind" | "encodeSuccess">, value: unknown): Verdict => {
  const encoded = handler.encodeSuccess(value)
  return Result.isSuccess(encoded)
    ? { _tag: "Succeeded", result: encoded.success, history: handler.kind.history }
    : { _tag: "Dead", failure: { reason: "Defect", message: `Result does not fit its schema: ${encoded.failure}` } }
}

/** An attempt that ran into its timeout. */
export const timedOut = (handler: Pick<Handler<never>, "kind">): JobFailure => ({
  reason: "TimedOut",
  message: `Did not end within ${Duration.format(handler.kind.timeout)}`
})

/** What a handler's failure means for its job. */
export const ofCause = (
  handler: Pick<Handler<never>, "kind" | "encodeError">,
  job: ClaimedJob,
  cause: Cause.Cause<unknown>
): Effect.Effect<Verdict> => {
  const fail = cause.reasons.find(Cause.isFailReason)
  if (fail === undefined) {
    return failed(handler, job, FailureText.ofCause("Defect", cause))
  }
  const error = fail.error
  if (error instanceof JobDiscard) {
    return Effect.succeed({ _tag: "Dead", failure: { reason: "Discarded", message: FailureText.clean(error.detail) } })
  }
  if (error instanceof JobSnooze) return Effect.succeed({ _tag: "Released", delayMillis: error.delayMillis })
  const encoded = handler.encodeError(error)
  return failed(handler, job, {
    ...FailureText.ofCause("Failed", cause),
    ...(encoded === undefined ? {} : { error: encoded })
  })
}

/** How a failed transaction is to be taken. */
export type Trouble = "conflict" | "unavailable" | "own"

/**
 * Whose fault it was: `conflict` (deadlock, serialization: run the transaction again), `unavailable` (the database was
 * not there: no attempt is spent), `own` (the handler's).
 */
export const troubleOf = (cause: Cause.Cause<unknown>): Trouble => {
  // A connection that breaks inside a transaction also breaks its ROLLBACK, which then is a defect beside the failure.
  const errors = cause.reasons.map((reason) =>
    Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
  )
  const reasons = errors.map((error) => storeReasonOf(error))
  if (reasons.some((reason) => reason === "Unavailable")) return "unavailable"
  return reasons.some((reason) => reason === "Conflict") ? "conflict" : "own"
}

/** A handler may have wrapped what the database said into an error of its own, as its `cause`; so many times at most. */
const maxWraps = 3

const storeReasonOf = (error: unknown, wraps = 0): SqlFailure.Reason => {
  if (error instanceof JobQueueError) return error.reason
  if (isSqlError(error)) return SqlFailure.reasonOf(error)
  return wraps < maxWraps && error instanceof Error ? storeReasonOf(error.cause, wraps + 1) : "Rejected"
}
