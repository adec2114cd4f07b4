import * as Cron from "effect/Cron"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Kind } from "./Job.ts"
import type { JobPayloadInvalid } from "./JobError.ts"
import { type EnqueueOptions, prepare } from "./JobQueue.ts"
import type { CronEntry } from "./JobStore.ts"

/** A cron expression, or its time zone, cannot be understood. */
export class JobCronInvalid extends Schema.TaggedError<JobCronInvalid>()("JobCronInvalid", {
  name: Schema.String,
  expression: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `Cron "${this.name}" (${this.expression}) is invalid: ${this.detail}`
  }
}

/** How a cron job differs from its kind. */
export interface CronOptions extends Pick<EnqueueOptions, "priority" | "maxAttempts"> {
  /** An IANA time zone. @default "UTC" */
  readonly timeZone?: string
}

/**
 * A job on a timetable: on each tick of `expression` one job is enqueued, once over all processes. Ticks missed while
 * nothing ran are made up for by a single job. The name is what processes agree on.
 *
 * @example
 * const nightly = JobCron.make("reports.nightly", "0 3 * * *", Report, { day: "yesterday" }, { timeZone: "Europe/Paris" })
 */
export const make = <N extends string, P, S, F>(
  name: string,
  expression: string,
  kind: Kind<N, P, S, F>,
  payload: P,
  options?: CronOptions
): Result.Result<CronEntry, JobCronInvalid | JobPayloadInvalid> => {
  const timeZone = options?.timeZone ?? "UTC"
  const parsed = Result.mapError(
    Cron.parse(expression, timeZone),
    (error) => new JobCronInvalid({ name, expression, detail: error.message })
  )
  return Result.flatMap(parsed, (cron) =>
    Result.map(prepare(kind, payload, options), (job) => ({
      name,
      signature: `${expression} ${timeZone}`,
      job,
      next: (afterMillis) => Cron.next(cron, afterMillis).getTime()
    })))
}
