/** What operators change of jobs that nobody runs. */
import { Duration, Schema } from "effect"
import { JobId, type JobInfo, type JobState } from "./Job.ts"
import { JobOptionInvalid } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"

/** When a job shall run: so long from the change, by the store's clock, or at an instant. */
export type When = { readonly delay: Duration.Input } | { readonly runAt: Date }

/** What is to be changed. */
export type JobChange =
  | { readonly _tag: "RunNow" }
  | { readonly _tag: "Priority"; readonly priority: number }
  | { readonly _tag: "Reschedule"; readonly to: When }
  | { readonly _tag: "Delete" }

/** Scheduled jobs, those that wait for their retry among them, are due at once. */
export const runNow: JobChange = { _tag: "RunNow" }

/** Waiting jobs get another priority, -1000 to 1000, and with it another place. */
export const priority = (priority: number): JobChange => ({ _tag: "Priority", priority })

/** Waiting jobs run at another time, earlier or later. */
export const reschedule = (to: When): JobChange => ({ _tag: "Reschedule", to })

/** Waiting jobs, and dead letters that are asked for by their state or their ids, are gone without a trace. */
export const remove: JobChange = { _tag: "Delete" }

/** Where a job may be that is changed. */
export const changeable = ["ready", "scheduled", "blocked", "dead"] as const satisfies ReadonlyArray<JobState>

/** Which jobs an operator changes. Ids, a queue or a kind are to be said. */
export interface ChangeFilter {
  readonly queue?: string
  readonly kind?: string
  readonly state?: typeof changeable[number]
  /** At most 1000. */
  readonly ids?: ReadonlyArray<JobId>
  /** The oldest so many. @default 1000, at most 10000 */
  readonly limit?: number
}

/** What a change would take at this moment. */
export interface ChangePreview {
  readonly matched: number
  /** The first ten. */
  readonly sample: ReadonlyArray<JobInfo>
}

/** What a change did. */
export interface Changed {
  readonly ids: ReadonlyArray<JobId>
  /** Jobs that were meant, and that a claim or a transaction had locked at this moment. */
  readonly busy: number
  /** Those asked for by their id that were not changed, and where they are; undefined: there is no such job. */
  readonly unchanged: ReadonlyArray<{ readonly id: JobId; readonly state: JobState | undefined }>
}

const filterRules = {
  queue: JobOption.name,
  kind: JobOption.name,
  state: JobOption.literal(changeable),
  ids: JobOption.ids(1_000, Schema.is(JobId)),
  limit: JobOption.changeLimit
} as const

/** The time as a store takes it: `runAtMillis` (epoch milliseconds) wins over `delayMillis`. */
export const timeOf = (to: When): { readonly delayMillis: number; readonly runAtMillis: number | null } =>
  "runAt" in to
    ? { delayMillis: 0, runAtMillis: to.runAt.getTime() }
    : { delayMillis: Duration.toMillis(Duration.fromInputUnsafe(to.delay)), runAtMillis: null }

const invalidChange = (where: string, change: JobChange): JobOptionInvalid | undefined => {
  switch (change._tag) {
    case "Priority":
      return JobOption.wrong(where, "priority", JobOption.priority, change.priority)
    case "Reschedule":
      return "runAt" in change.to
        ? JobOption.wrong(where, "runAt", JobOption.instant, change.to.runAt)
        : JobOption.wrong(where, "delay", JobOption.delay, change.to.delay)
    default:
      return undefined
  }
}

/** What is wrong with a change, if anything. */
export const invalid = (where: string, filter: ChangeFilter, change: JobChange): JobOptionInvalid | undefined =>
  JobOption.invalid(where, filter, filterRules) ??
    (filter.ids === undefined && filter.queue === undefined && filter.kind === undefined
      ? new JobOptionInvalid({ where, option: "filter", given: "empty", expected: "ids, a queue or a kind" })
      : invalidChange(where, change))
