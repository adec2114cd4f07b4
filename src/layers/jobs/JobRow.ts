/** A job as `sluice.job_all` has it, and as operators see it. */
import { Option, Schema } from "effect"
import { JobAttemptFailure, type JobInfo, type JobState, lastFailure, type Progress } from "../../services/jobs/Job.ts"
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
  readonly tenant: string | null
  readonly payload: unknown
  readonly result: unknown
  readonly failures: unknown
  readonly parent: bigint | null
  readonly progress: unknown
}

const StoredProgress = Schema.Struct({
  attempt: Schema.Int,
  at: Schema.Finite,
  fraction: Schema.NullOr(Schema.Finite),
  detail: Schema.Unknown
})
const decodeProgress = Schema.decodeUnknownOption(StoredProgress)

const progressOf = (stored: unknown): Progress | null =>
  Option.getOrNull(Option.map(decodeProgress(stored), (told) => ({ ...told, at: new Date(told.at) })))

const decodeFailure = Schema.decodeUnknownOption(Schema.toCodecJson(JobAttemptFailure))
const decodeFailures = Schema.decodeUnknownOption(Schema.toCodecJson(Schema.Array(JobAttemptFailure)))

/** A stored failure; null for none, or one of another shape. */
export const failureOf = (stored: unknown): JobAttemptFailure | null =>
  stored === null ? null : Option.getOrNull(decodeFailure(stored))

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
    tenant: row.tenant,
    parent: row.parent === null ? null : idOf(row.parent),
    payload: row.payload,
    progress: row.progress === null ? null : progressOf(row.progress),
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
