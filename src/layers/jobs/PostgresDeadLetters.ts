/** Dead letters: what a redrive would take, and the redrive. Both choose by the same statement. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import type { RedriveFilter, RedrivePreview } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import { dead, infoOf, type JobRow } from "./JobRow.ts"
import { aging, idOf, planned } from "./JobSql.ts"

/** Dead letters that their unique texts hold back are passed over, so many at most. */
const heldMax = 10_000
const sampleSize = 10

/** Those that are meant (`judged`), and of them the oldest that may run again (`chosen`), with the parameters bound so far. */
const chosenOf = (filter: RedriveFilter) => {
  const parameters: Array<unknown> = []
  const bind = (value: unknown) => `$${parameters.push(value)}`
  const conditions = [
    ...(filter.queue === undefined ? [] : [`d.queue = ${bind(filter.queue)}::text`]),
    ...(filter.kind === undefined ? [] : [`d.kind = ${bind(filter.kind)}::text`]),
    ...(filter.reason === undefined ? [] : [`d.reason = ${bind(filter.reason)}::text`]),
    ...(filter.ids === undefined ? [] : [`d.id = any (${bind(Columns.bigints(filter.ids.map(BigInt)))})`])
  ]
  const where = conditions.length === 0 ? "" : `where ${conditions.join(" and ")}`
  const limit = filter.limit ?? 1000
  const ctes = `
    meant as materialized (
      select d.id, d.kind, d.dedupe from sluice.job_dead d ${where} order by d.id limit ${bind(limit + heldMax)}::int4
    ), judged as materialized (
      select m.id, m.dedupe is not null and (row_number() over (partition by m.kind, m.dedupe order by m.id) > 1
        or exists (select from sluice.job j where j.kind = m.kind and j.dedupe = m.dedupe and j.dedupe is not null)) as held
      from meant m
    ), chosen as materialized (
      select id, row_number() over (order by id) - 1 as n from judged where not held order by id limit ${
    bind(limit)
  }::int4
    )`
  return { ctes, parameters, bind }
}

/** The statement of a preview and its parameters. */
export const previewOf = (filter: RedriveFilter): readonly [string, ReadonlyArray<unknown>] => {
  const { ctes, parameters } = chosenOf(filter)
  return [
    `with ${ctes} select (select count(*) from chosen)::int4 as matched,
      (select count(*) from judged where held)::int4 as held,
      array(select id from chosen order by id limit ${sampleSize}) as first`,
    parameters
  ]
}

interface Previewed {
  readonly matched: number
  readonly held: number
  readonly first: ReadonlyArray<bigint>
}

/** What a redrive with this filter would take now. */
export const preview = (sql: PgClient.PgClient, filter: RedriveFilter): Effect.Effect<RedrivePreview, SqlError> =>
  planned(
    sql,
    Effect.gen(function*() {
      const [row] = yield* sql.unsafe<Previewed>(...previewOf(filter))
      const ids = Columns.bigints(row?.first ?? [])
      const sample = yield* sql.unsafe<JobRow>(`${dead} where id = any ($1) order by id`, [ids])
      return { matched: row?.matched ?? 0, held: row?.held ?? 0, sample: sample.map(infoOf) }
    })
  )

const redriveStatement = (ctes: string, rate: string) => `
  with ${ctes}, locked as materialized (
    select d.*, c.n from chosen c join sluice.job_dead d using (id) for update of d skip locked
  ), timed as (select *, now() + make_interval(secs => coalesce(n / ${rate}::float8, 0)) as at from locked),
  inserted as (
    insert into sluice.job (id, state, max_attempts, priority, key_limit, queue, kind, rank, run_at, enqueued_at, key, dedupe,
      payload, error)
    select id, case when at > now() then 2 when key is not null then 3 else 0 end, max_attempts, priority, key_limit, queue,
      kind, at - priority * ${aging}, at, enqueued_at, key, dedupe, payload, error from timed
    -- Somebody else's job has become live since: it stays dead.
    on conflict (kind, dedupe) where dedupe is not null do nothing
    returning id, queue, kind, key, state
  ), taken as (delete from sluice.job_dead d using inserted i where d.id = i.id),
  delta as (
    insert into sluice.job_delta (queue, ready, scheduled, blocked, dead)
    select queue, count(*) filter (where state = 0), count(*) filter (where state = 2), count(*) filter (where state = 3),
      -count(*) from inserted group by queue
  ), wake as materialized (
    select sluice.job_wake(array_agg(distinct queue)) from inserted where state = 0 having count(*) > 0
  )
  select id, kind, key from inserted where (select count(*) from wake) >= 0 order by id`

interface Redriven {
  readonly id: bigint
  readonly kind: string
  readonly key: string | null
}

/** Makes dead letters live again, oldest first; answers which. */
export const redrive = (
  sql: PgClient.PgClient,
  filter: RedriveFilter,
  ratePerSecond: number | undefined
): Effect.Effect<ReadonlyArray<JobId>, SqlError> =>
  planned(
    sql,
    Effect.gen(function*() {
      const { bind, ctes, parameters } = chosenOf(filter)
      const statement = redriveStatement(ctes, bind(ratePerSecond ?? null))
      const rows = yield* sql.unsafe<Redriven>(statement, parameters)
      const keyed = rows.filter((row) => row.key !== null)
      if (keyed.length > 0) {
        yield* sql.unsafe("select sluice.job_wake(sluice.job_fill($1::text[], $2::text[]))", [
          Columns.texts(keyed.map((row) => row.kind)),
          Columns.texts(keyed.map((row) => row.key))
        ])
      }
      return rows.map((row) => idOf(row.id))
    })
  )
