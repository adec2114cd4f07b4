import { Cron, Effect, Result, Schema } from "effect"
import * as Foreign from "./Foreign.ts"
import type { Kind } from "./Job.ts"
import type { JobOptionInvalid, JobPayloadInvalid } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"
import { type EnqueueOptions, invalidOptions, prepare } from "./JobQueue.ts"
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
): Result.Result<CronEntry, JobCronInvalid | JobPayloadInvalid | JobOptionInvalid> => {
  const timeZone = options?.timeZone ?? "UTC"
  const wrong = JobOption.wrong("JobCron.make", "name", JobOption.name, name) ?? invalidOptions(kind, options)
  if (wrong !== undefined) return Result.fail(wrong)
  const invalid = (detail: string) => new JobCronInvalid({ name, expression, detail })
  const parsed = Result.mapError(Cron.parse(expression, timeZone), (error) => invalid(error.message))
  // 30 February can be written, and never comes.
  const possible = Result.flatMap(parsed, (cron) =>
    Result.try({
      try: () => (Cron.next(cron, 0), cron),
      catch: () => invalid("no day of any year matches it")
    }))
  return Result.flatMap(possible, (cron) =>
    Result.map(prepare(kind, payload, options), (job) => ({
      name,
      signature: `${expression} ${timeZone}`,
      job,
      next: (afterMillis) => Cron.next(cron, afterMillis).getTime()
    })))
}

/** Entries that were told of, each once: a tick is looked for at each heartbeat. */
const told = new WeakSet<CronEntry>()

/** Tells once of an entry that does not tick. */
export const skipped = (entry: CronEntry, why: unknown): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (told.has(entry)) return Effect.void
    told.add(entry)
    return Effect.logError(`jobs: cron "${entry.name}" does not tick: ${Foreign.textOf(why)}`)
  })

/** The next tick of an entry; undefined, and told of once, when its timetable throws or says no later instant. */
export const nextTick = (entry: CronEntry, afterMillis: number): Effect.Effect<number | undefined> => {
  const next = Result.try(() => entry.next(afterMillis))
  if (Result.isFailure(next)) return Effect.as(skipped(entry, next.failure), undefined)
  return next.success > afterMillis && JobOption.instant.holds(new Date(next.success))
    ? Effect.succeed(next.success)
    : Effect.as(skipped(entry, `its next tick is ${next.success}`), undefined)
}
