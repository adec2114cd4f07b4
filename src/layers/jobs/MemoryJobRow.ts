/** A job of the in-memory queue, and as operators see it. */
import {
  type JobAttemptFailure,
  type JobFailure,
  type JobId,
  type JobInfo,
  type JobState,
  lastFailure,
  type Progress
} from "../../services/jobs/Job.ts"
import type { NewJob, StuckJob } from "../../services/jobs/JobStore.ts"

/** One step of priority is so much head start; `sluice.job_rank` has the same number. */
const agingMillis = 60_000

export interface Row extends NewJob {
  readonly id: JobId
  readonly seq: number
  payload: string
  priority: number
  maxAttempts: number
  unique: string | null
  /** The job that waits for this one, and how many this one waits, or waited, for. */
  readonly parent: JobId | null
  readonly children: number | null
  state: JobState
  attempt: number
  /** The number of its worker's claim that took it last; null: it was never claimed. */
  fence: number | null
  /** Its place among the turns of tenants; null: it goes by its run time. */
  turn: number | null
  rank: number
  runAt: number
  worker: number | null
  /** Why its attempts failed, the newest last. */
  failures: ReadonlyArray<JobAttemptFailure>
  result: unknown
  progress: Progress | null
  cancelRequested: boolean
  /** A transaction is settling it: nobody else may touch it until that ends. */
  locked: boolean
  readonly enqueuedAt: number
  startedAt: number | null
  finishedAt: number | null
}

/** A place in the claim order: when a job may run, less its priority's head start. */
export const rankOf = (runAt: number, priority: number): number => runAt - priority * agingMillis
export const byRank = (a: Row, b: Row): number => a.rank - b.rank || a.seq - b.seq
export const keyOf = (row: Pick<NewJob, "kind" | "key">): string => `${row.kind}\u0000${row.key}`
export const uniqueOf = (row: Pick<NewJob, "kind" | "unique">): string => `${row.kind}\u0000${row.unique}`

/** Where a job stands in a flow. */
export type Kin = Pick<Row, "parent" | "children">

export const rowOf = (id: JobId, job: NewJob & Partial<Kin>, now: number): Row => {
  const runAt = Math.max(now, job.runAtMillis ?? now + job.delayMillis)
  return {
    ...job,
    id,
    seq: Number(id),
    parent: job.parent ?? null,
    children: job.children ?? null,
    state: (job.children ?? null) !== null
      ? "waiting"
      : runAt > now
      ? "scheduled"
      : job.key === null
      ? "ready"
      : "blocked",
    attempt: 0,
    fence: null,
    turn: null,
    rank: rankOf(runAt, job.priority),
    runAt,
    worker: null,
    failures: [],
    result: null,
    progress: null,
    cancelRequested: false,
    locked: false,
    enqueuedAt: now,
    startedAt: null,
    finishedAt: null
  }
}

/** So many failures of a job are kept, and so many bytes of them; `sluice.job_failed` has the same numbers. */
const failuresMax = 10
const failureBytesMax = 16_384
const utf8 = new TextEncoder()

/** The failures of a job and one more; the newest always stays. */
export const failed = (row: Row, failure: JobFailure, now: number): ReadonlyArray<JobAttemptFailure> => {
  const told = [...row.failures, { attempt: row.attempt, at: new Date(now), ...failure }].slice(-failuresMax)
  const bytes = told.map((each) => utf8.encode(JSON.stringify(each)).length)
  let total = bytes.reduce((sum, length) => sum + length, 0)
  let from = 0
  for (; from < told.length - 1 && total > failureBytesMax; from++) total -= bytes[from] ?? 0
  return told.slice(from)
}

const date = (millis: number | null) => millis === null ? null : new Date(millis)

export const infoOf = (row: Row): JobInfo => ({
  id: row.id,
  queue: row.queue,
  kind: row.kind,
  state: row.state,
  priority: row.priority,
  attempt: row.attempt,
  maxAttempts: row.maxAttempts,
  key: row.key,
  tenant: row.tenant ?? null,
  parent: row.parent,
  payload: JSON.parse(row.payload) as unknown,
  progress: row.state === "succeeded" || row.state === "dead" || row.state === "cancelled" ? null : row.progress,
  result: row.result,
  failure: lastFailure(row.state, row.failures),
  failures: row.failures,
  worker: row.worker,
  enqueuedAt: new Date(row.enqueuedAt),
  runAt: new Date(row.runAt),
  startedAt: date(row.startedAt),
  finishedAt: date(row.finishedAt)
})

export const stuckOf = (row: Row, worker: number, lostAt: number | null): StuckJob => ({
  id: row.id,
  queue: row.queue,
  kind: row.kind,
  attempt: row.attempt,
  worker,
  startedAt: date(row.startedAt),
  lostAt: date(lostAt),
  holder: null,
  doing: row.locked ? "a transaction is settling it" : null
})
