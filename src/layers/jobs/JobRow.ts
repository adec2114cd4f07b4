/** A job as `sluice.job_all` has it, and as operators see it. */
import { Option, Schema } from "effect"
import { JobAttemptFailure, type JobInfo, type JobState, lastFailure } from "../../services/jobs/Job.ts"
import { idOf } from "./JobSql.ts"

export interface JobRow {
  readonly id: bigint
  readonly state: JobState
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
  readonly failures: unknown
}

const decodeFailures = Schema.decodeUnknownOption(Schema.toCodecJson(Schema.Array(JobAttemptFailure)))

/** Most jobs never fail: of them nothing is decoded. */
const failuresOf = (stored: unknown): ReadonlyArray<JobAttemptFailure> =>
  stored === null ? [] : Option.getOrElse(decodeFailures(stored), () => [])

export const infoOf = (row: JobRow): JobInfo => {
  const failures = failuresOf(row.failures)
  return {
    id: idOf(row.id),
    queue: row.queue,
    kind: row.kind,
    state: row.state,
    priority: row.priority,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    key: row.key,
    payload: row.payload,
    result: row.result,
    failure: lastFailure(row.state, failures),
    failures,
    worker: row.worker,
    enqueuedAt: row.enqueued_at,
    runAt: row.run_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at
  }
}
