/** A job as its tables hold it, and as operators see it. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { JobFailure, type JobInfo, type JobState } from "../../services/jobs/Job.ts"
import { idOf } from "./JobSql.ts"

export interface JobRow {
  readonly id: bigint
  readonly state: number
  readonly attempt: number
  readonly max_attempts: number
  readonly priority: number
  readonly worker: number | null
  readonly queue: string
  readonly kind: string
  readonly run_at: Date
  readonly enqueued_at: Date
  readonly started_at: Date | null
  readonly finished_at: Date | null
  readonly key: string | null
  readonly payload: unknown
  readonly result: unknown
  readonly error: unknown
}

/** Each state at the place of its number in the tables. */
export const states: ReadonlyArray<JobState> = [
  "ready",
  "running",
  "scheduled",
  "blocked",
  "succeeded",
  "dead",
  "cancelled"
]
const decodeFailure = Schema.decodeUnknownOption(JobFailure)

export const infoOf = (row: JobRow): JobInfo => ({
  id: idOf(row.id),
  queue: row.queue,
  kind: row.kind,
  state: states[row.state] ?? "ready",
  priority: row.priority,
  attempt: row.attempt,
  maxAttempts: row.max_attempts,
  key: row.key,
  payload: row.payload,
  result: row.result,
  failure: Option.getOrNull(decodeFailure(row.error)),
  worker: row.worker,
  enqueuedAt: row.enqueued_at,
  runAt: row.run_at,
  startedAt: row.started_at,
  finishedAt: row.finished_at
})

const common = "id, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, key, payload"

/** The three tables of jobs, each as rows of one form; a `where` is to follow. */
export const live =
  `select ${common}, state, null::timestamptz as finished_at, null::json as result, error from sluice.job`
export const dead =
  `select ${common}, 5::smallint as state, finished_at, null::json as result, error from sluice.job_dead`
export const past = `select ${common}, state, finished_at, result, error from sluice.job_history`
