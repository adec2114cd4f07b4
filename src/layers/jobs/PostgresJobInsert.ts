import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import type { NewJob } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import { idOf } from "./JobSql.ts"

/** Arrays of one statement are cut here: a million payloads would be one message of a hundred megabytes. */
const chunkSize = 10_000

const parameters = (jobs: ReadonlyArray<NewJob>): ReadonlyArray<unknown> => [
  Columns.texts(jobs.map((job) => job.queue)),
  Columns.texts(jobs.map((job) => job.kind)),
  Columns.texts(jobs.map((job) => job.payload)),
  Columns.ints(jobs.map((job) => job.priority)),
  Columns.ints(jobs.map((job) => job.maxAttempts)),
  Columns.floats(jobs.map((job) => job.delayMillis)),
  Columns.floats(jobs.map((job) => job.runAtMillis)),
  Columns.texts(jobs.map((job) => job.unique)),
  Columns.texts(jobs.map((job) => job.key)),
  Columns.ints(jobs.map((job) => job.keyConcurrency))
]

const chunk = Effect.fnUntraced(function*(sql: PgClient.PgClient, jobs: ReadonlyArray<NewJob>) {
  const [row] = yield* sql.unsafe<{ readonly ids: ReadonlyArray<bigint | null> }>(
    "select ids from sluice.job_insert($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    parameters(jobs)
  )
  const ids = (row?.ids ?? []).filter((id) => id !== null)
  return ids.length === jobs.length
    ? ids.map(idOf)
    : yield* new JobQueueError({ operation: "insert", reason: "Conflict", detail: "unique jobs came and went" })
})

/** Inserts in the current transaction, or in one of its own: all or none. */
export const insert = (
  sql: PgClient.PgClient,
  jobs: ReadonlyArray<NewJob>
): Effect.Effect<ReadonlyArray<JobId>, SqlError | JobQueueError> => {
  if (jobs.length === 0) return Effect.succeed([])
  if (jobs.length <= chunkSize) return chunk(sql, jobs)
  const chunks = Array.from(
    { length: Math.ceil(jobs.length / chunkSize) },
    (_, index) => jobs.slice(index * chunkSize, (index + 1) * chunkSize)
  )
  return sql.withTransaction(Effect.map(Effect.forEach(chunks, (some) => chunk(sql, some)), (ids) => ids.flat()))
}
