import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import type { NewJob, Offered } from "../../services/jobs/JobStore.ts"
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

interface InsertedRow {
  readonly ids: ReadonlyArray<bigint | null>
  readonly kept: ReadonlyArray<number> | null
  readonly replaced: ReadonlyArray<number> | null
}

const cameAndWent = new JobQueueError({ operation: "insert", reason: "Conflict", detail: "unique jobs came and went" })

const isKept = (job: NewJob): boolean => job.whenUnique === undefined || job.whenUnique === "keep"

const isPlain = (job: NewJob): boolean => isKept(job) && (job.tenant ?? null) === null

/** What all but few enqueueings are has no modes and no tenants. */
const statement = (sql: PgClient.PgClient, jobs: ReadonlyArray<NewJob>) =>
  jobs.every(isPlain)
    ? sql.unsafe<InsertedRow>(
      "select * from sluice.job_insert($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
      parameters(jobs)
    )
    : sql.unsafe<InsertedRow>("select * from sluice.job_insert($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", [
      ...parameters(jobs),
      Columns.texts(jobs.map((job) => job.whenUnique ?? "keep")),
      jobs.some((job) => (job.tenant ?? null) !== null) ? Columns.texts(jobs.map((job) => job.tenant ?? null)) : null
    ])

const chunk = Effect.fnUntraced(function*(sql: PgClient.PgClient, jobs: ReadonlyArray<NewJob>) {
  const [row] = yield* statement(sql, jobs)
  const ids = (row?.ids ?? []).filter((id) => id !== null)
  return ids.length === jobs.length ? ids.map(idOf) : yield* cameAndWent
})

/** Inserts one job, or says what became of the live one with its unique text. */
export const offer = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  job: NewJob
): Effect.fn.Return<Offered, SqlError | JobQueueError> {
  const [row] = yield* statement(sql, [job])
  const id = row?.ids[0]
  if (row === undefined || id === undefined || id === null) return yield* cameAndWent
  return { id: idOf(id), outcome: row.kept !== null ? "kept" : row.replaced !== null ? "replaced" : "inserted" }
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
