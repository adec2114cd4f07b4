/** How far a running job is: its handler says so now and then, and whoever wants to know reads it. */
import { Context, Effect, Option, Result, Schema, Stream } from "effect"
import type { Attempt, JobId, JobInfo } from "./Job.ts"
import { JobNotFound, type JobOptionInvalid, type JobQueueError } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"
import { JobQueue } from "./JobQueue.ts"
import type { Report } from "./Report.ts"

export type { Report } from "./Report.ts"

const detailMaxBytes = 4_096

const jsonOf = Schema.encodeUnknownResult(Schema.fromJsonString(Schema.Json))

const rules = {
  fraction: {
    expected: "a number from 0 to 1",
    holds: (value: unknown) => typeof value === "number" && value >= 0 && value <= 1
  },
  detail: {
    expected: `JSON of at most ${detailMaxBytes} bytes`,
    holds: (value: unknown) => {
      const text = Result.getOrUndefined(jsonOf(value))
      return text !== undefined && new TextEncoder().encode(text).length <= detailMaxBytes
    }
  }
} as const

/** Takes the reports of the jobs of one worker; outside of one, as in a test of a handler alone, nobody does. */
export const Reporter = Context.Reference<(id: JobId, report: Report) => void>(
  "sluice/services/jobs/JobProgress/Reporter",
  { defaultValue: () => () => {} }
)

/**
 * Says how far a job is, from within its handler. It costs next to nothing: a worker writes the latest report of each of its jobs at most
 * once in a second, outside of the handler's transaction. A report of a worker that has lost the job is refused. It stays with the job
 * while that lives, over its attempts, and is gone when it has ended: its result or failure tells then. Fails with `JobOptionInvalid`.
 *
 * @example JobHandler.plain(Import, (rows, attempt) => Effect.forEach(rows, (row, n) =>
 *   Effect.andThen(insert(row), JobProgress.report(attempt, { fraction: n / rows.length }))))
 */
export const report = (attempt: Pick<Attempt, "id">, progress: Report): Effect.Effect<void, JobOptionInvalid> =>
  Effect.flatMap(Reporter, (take) => {
    const wrong = JobOption.invalid("JobProgress.report", progress, rules)
    return wrong === undefined ? Effect.sync(() => take(attempt.id, progress)) : Effect.fail(wrong)
  })

/** How often a watched job is looked at. */
const lookMillis = 250

const isFinal = ({ state }: JobInfo) => state === "succeeded" || state === "dead" || state === "cancelled"

/** What is worth telling of a job that is watched. */
const shown = ({ attempt, priority, progress, runAt, state }: JobInfo): string =>
  JSON.stringify([state, attempt, priority, progress, runAt])

interface Seen {
  readonly info: JobInfo
  readonly text: string
}

/**
 * A job as it is, and again whenever it has changed (state, attempt, priority, run time, progress), to its end. It looks every quarter of a
 * second. Of a kind that keeps no history the end of a success is told without result and times, as `JobQueue.ended` does.
 */
export const watch = (id: JobId): Stream.Stream<JobInfo, JobNotFound | JobQueueError, JobQueue> =>
  Stream.unwrap(Effect.map(JobQueue, (queue) => {
    const look = (seen: Seen | undefined): Effect.Effect<JobInfo, JobNotFound | JobQueueError> =>
      Effect.flatMap(queue.find(id), (found) =>
        Option.isSome(found)
          ? Effect.succeed(found.value)
          : seen === undefined
          ? Effect.fail(new JobNotFound({ id }))
          : Effect.succeed({ ...seen.info, state: "succeeded", failure: null }))
    return Stream.paginate<Seen | undefined, JobInfo, JobNotFound | JobQueueError>(
      undefined,
      (seen) =>
        Effect.map(Effect.delay(look(seen), seen === undefined ? 0 : lookMillis), (info) => {
          const text = shown(info)
          const news = text === seen?.text ? [] : [info]
          return [news, isFinal(info) ? Option.none() : Option.some({ info, text })] as const
        })
    )
  }))
