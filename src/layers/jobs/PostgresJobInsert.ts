import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import type { NewJob } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import { aging, idOf } from "./JobSql.ts"

/** Arrays of one statement are cut here: a million payloads would be one message of a hundred megabytes. */
const chunkSize = 10_000
/** A unique job may end between the refused insert and the look at it: then it is inserted again. */
const uniqueRounds = 5

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

const statement = `
  with given as materialized (
    select nextval(pg_get_serial_sequence('sluice.job', 'id')) as id, u.*,
      greatest(now(), coalesce(to_timestamp(u.at / 1000), now() + make_interval(secs => u.delay / 1000))) as run_at
    from unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int4[], $6::float8[], $7::float8[], $8::text[],
      $9::text[], $10::int4[])
      with ordinality as u(queue, kind, payload, priority, max_attempts, delay, at, dedupe, key, key_limit, n)
  ), inserted as (
    insert into sluice.job (id, state, queue, kind, payload, priority, max_attempts, run_at, rank, dedupe, key, key_limit)
    select id, case when run_at > now() then 2 when key is not null then 3 else 0 end, queue, kind, payload::json, priority,
      max_attempts, run_at, run_at - priority * ${aging}, dedupe, key, key_limit
    from given order by n
    on conflict (kind, dedupe) where dedupe is not null do nothing
    returning id, queue, state
  ), delta as (
    insert into sluice.job_delta (queue, ready, scheduled, blocked)
    select queue, count(*) filter (where state = 0), count(*) filter (where state = 2), count(*) filter (where state = 3)
    from inserted group by queue
  ), wake as materialized (
    select sluice.job_wake(array_agg(distinct queue)) from inserted where state = 0 having count(*) > 0
  )`

// The outer joins make the CTEs run: an unreferenced SELECT would not.
const answerAll = `${statement}
  select id from given where (select count(*) from wake) >= 0 order by n`
const answerUnique = `${statement}
  select given.n::int4 as n, inserted.id from given left join inserted using (id)
  where (select count(*) from wake) >= 0 order by n`

const plain = (sql: PgClient.PgClient, jobs: ReadonlyArray<NewJob>): Effect.Effect<ReadonlyArray<JobId>, SqlError> =>
  Effect.map(
    sql.unsafe<{ readonly id: bigint }>(answerAll, parameters(jobs)),
    (rows) => rows.map((row) => idOf(row.id))
  )

/** Jobs with a unique text or a key: looks the live one up when a job is refused, lets keys through. */
const special = Effect.fnUntraced(function*(sql: PgClient.PgClient, jobs: ReadonlyArray<NewJob>) {
  const ids = Array.from<JobId | undefined>({ length: jobs.length })
  let open = jobs.map((job, index) => ({ job, index }))
  for (let round = 0; open.length > 0 && round < uniqueRounds; round++) {
    const current = open
    const rows = yield* sql.unsafe<{ readonly n: number; readonly id: bigint | null }>(
      answerUnique,
      parameters(current.map((entry) => entry.job))
    )
    for (const row of rows) {
      const entry = current[row.n - 1]
      if (entry !== undefined && row.id !== null) ids[entry.index] = idOf(row.id)
    }
    const refused = current.filter((entry) => ids[entry.index] === undefined)
    if (refused.length > 0) {
      const live = yield* sql.unsafe<{ readonly n: number; readonly id: bigint }>(
        "select n, id from sluice.job_live($1, $2)",
        [Columns.texts(refused.map((entry) => entry.job.kind)), Columns.texts(refused.map((entry) => entry.job.unique))]
      )
      for (const row of live) {
        const entry = refused[row.n - 1]
        if (entry !== undefined) ids[entry.index] = idOf(row.id)
      }
    }
    open = current.filter((entry) => ids[entry.index] === undefined)
  }
  const keyed = jobs.filter((job) => job.key !== null)
  if (keyed.length > 0) {
    yield* sql.unsafe(
      `select sluice.job_wake(sluice.job_fill($1::text[], $2::text[]))`,
      [Columns.texts(keyed.map((job) => job.kind)), Columns.texts(keyed.map((job) => job.key))]
    )
  }
  return open.length === 0
    ? ids.filter((id) => id !== undefined)
    : yield* new JobQueueError({ operation: "insert", reason: "Conflict", detail: "unique jobs came and went" })
})

const isSpecial = (job: NewJob) => job.unique !== null || job.key !== null

/** Inserts in the current transaction, or in one of its own: all or none. */
export const insert = (
  sql: PgClient.PgClient,
  jobs: ReadonlyArray<NewJob>
): Effect.Effect<ReadonlyArray<JobId>, SqlError | JobQueueError> => {
  const isPlain = !jobs.some(isSpecial)
  if (isPlain && jobs.length <= chunkSize) return plain(sql, jobs)
  const one = isPlain ? plain : special
  const chunks = Array.from(
    { length: Math.ceil(jobs.length / chunkSize) },
    (_, index) => jobs.slice(index * chunkSize, (index + 1) * chunkSize)
  )
  return sql.withTransaction(Effect.map(Effect.forEach(chunks, (chunk) => one(sql, chunk)), (ids) => ids.flat()))
}
