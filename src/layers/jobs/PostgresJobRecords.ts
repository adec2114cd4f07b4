import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import { JobFailure, type JobId, type JobInfo, type JobState } from "../../services/jobs/Job.ts"
import type { JobEvent } from "../../services/jobs/Job.ts"
import { type JobFilter, JobRecords, type QueueStats, type RedriveFilter } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import { aging, idOf, operation } from "./JobSql.ts"

interface InfoRow {
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

const states = ["ready", "running", "scheduled", "blocked", "succeeded", "dead", "cancelled"] as const
const stateOf = (state: number): JobState => states[state] ?? "ready"
const decodeFailure = Schema.decodeUnknownOption(JobFailure)

const infoOf = (row: InfoRow): JobInfo => ({
  id: idOf(row.id),
  queue: row.queue,
  kind: row.kind,
  state: stateOf(row.state),
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
const live = `select ${common}, state, null::timestamptz as finished_at, null::json as result, error from sluice.job`
const dead = `select ${common}, 5::smallint as state, finished_at, null::json as result, error from sluice.job_dead`
const past = `select ${common}, state, finished_at, result, error from sluice.job_history`

const find = (sql: PgClient.PgClient, id: JobId) =>
  Effect.map(
    sql.unsafe<InfoRow>(
      `${live} where id = $1 union all ${dead} where id = $1 union all (${past} where id = $1 order by finished_at desc limit 1)`,
      [BigInt(id)]
    ),
    ([row]) => row === undefined ? undefined : infoOf(row)
  )

/** Newest first over the three tables; each gives its own first rows, so that the cost is the page's. */
const list = (sql: PgClient.PgClient, filter: JobFilter) => {
  const limit = Math.max(1, Math.min(1000, filter.limit ?? 50))
  const state = filter.state === undefined ? null : states.indexOf(filter.state)
  const where = `where ($1::text is null or queue = $1) and ($2::text is null or kind = $2)
    and ($3::int8 is null or id < $3)`
  const page = `order by id desc limit $4`
  const parts: Array<string> = []
  const isLive = state === null || state < 4
  if (isLive) parts.push(`(${live} ${where} ${state === null ? "" : `and state = ${state}`} ${page})`)
  if (state === null || state === 5) parts.push(`(${dead} ${where} ${page})`)
  if (state === null || state === 4 || state === 6) {
    parts.push(`(${past} ${where} ${state === null ? "" : `and state = ${state}`} ${page})`)
  }
  return Effect.map(
    sql.unsafe<InfoRow>(`select * from (${parts.join(" union all ")}) page order by id desc limit $4`, [
      filter.queue ?? null,
      filter.kind ?? null,
      filter.before === undefined ? null : BigInt(filter.before),
      limit
    ]),
    (rows) => rows.map(infoOf)
  )
}

interface StatsRow {
  readonly queue: string
  readonly paused: boolean
  readonly counts: ReadonlyArray<number>
  readonly oldest: number | null
}

const statsStatement = `
  with counted as (
    select queue, ready, scheduled, blocked, running, succeeded, cancelled, dead, retried from sluice.job_count
    union all
    select queue, ready, scheduled, blocked, running, succeeded, cancelled, dead, retried from sluice.job_delta
  ), summed as (
    select queue, array[sum(ready), sum(scheduled), sum(blocked), sum(running), sum(succeeded), sum(cancelled), sum(dead),
      sum(retried)]::float8[] as counts from counted group by queue
  )
  select queue, coalesce(q.paused, false) as paused, coalesce(s.counts, array_fill(0::float8, array[8])) as counts,
    (select extract(epoch from clock_timestamp() - j.run_at)::float8 * 1000 from sluice.job j
      where j.queue = queue.queue and j.state = 0 order by j.rank, j.id limit 1) as oldest
  from (select queue from summed union select queue from sluice.job_queue) queue
  left join summed s using (queue) left join sluice.job_queue q using (queue) order by queue`

const statsOf = (row: StatsRow): QueueStats => {
  const [ready = 0, scheduled = 0, blocked = 0, running = 0, succeeded = 0, cancelled = 0, dead = 0, retried = 0] =
    row.counts
  return {
    queue: row.queue,
    paused: row.paused,
    ready,
    scheduled,
    blocked,
    running,
    succeeded,
    cancelled,
    dead,
    retried,
    oldestReadyMillis: row.oldest === null ? undefined : Math.max(0, row.oldest)
  }
}

const cancel = (sql: PgClient.PgClient, id: JobId) =>
  Effect.map(
    sql<{ readonly outcome: "cancelled" | "requested" | "finished" | "unknown" }>`
      select outcome from sluice.job_cancel(${BigInt(id)})`,
    ([row]) => row?.outcome ?? "unknown"
  )

const redriveStatement = `
  with chosen as materialized (
    select d.*, row_number() over (order by d.id) - 1 as n from (
      select * from sluice.job_dead d
      where ($1::text is null or d.queue = $1) and ($2::text is null or d.kind = $2)
        and ($3::text is null or d.error->>'reason' = $3) and ($4::int8[] is null or d.id = any ($4))
        and not exists (select 1 from sluice.job j where j.kind = d.kind and j.dedupe = d.dedupe and j.dedupe is not null)
      order by d.id limit $5 for update skip locked
    ) d
  ), taken as (delete from sluice.job_dead d using chosen c where d.id = c.id),
  timed as (select *, now() + make_interval(secs => coalesce(n / $6::float8, 0)) as at from chosen),
  inserted as (
    insert into sluice.job (id, state, max_attempts, priority, key_limit, queue, kind, rank, run_at, enqueued_at, key, dedupe,
      payload, error)
    select id, case when at > now() then 2 when key is not null then 3 else 0 end, max_attempts, priority, key_limit, queue,
      kind, at - priority * ${aging}, at, enqueued_at, key, dedupe, payload, error from timed
    returning id, queue, kind, key, state
  ), delta as (
    insert into sluice.job_delta (queue, ready, scheduled, blocked, dead)
    select queue, count(*) filter (where state = 0), count(*) filter (where state = 2), count(*) filter (where state = 3),
      -count(*) from inserted group by queue
  ), wake as materialized (
    select sluice.job_wake(array_agg(distinct queue)) from inserted where state = 0 having count(*) > 0
  )
  select id, kind, key from inserted where (select count(*) from wake) >= 0 order by id`

const redrive = (sql: PgClient.PgClient, filter: RedriveFilter, ratePerSecond: number | undefined) =>
  sql.withTransaction(Effect.gen(function*() {
    const rows = yield* sql.unsafe<{ readonly id: bigint; readonly kind: string; readonly key: string | null }>(
      redriveStatement,
      [
        filter.queue ?? null,
        filter.kind ?? null,
        filter.reason ?? null,
        filter.ids === undefined ? null : Columns.bigints(filter.ids.map(BigInt)),
        filter.limit ?? 1000,
        ratePerSecond ?? null
      ]
    )
    for (const row of rows) {
      if (row.key === null) continue
      yield* sql`select sluice.job_wake(sluice.job_fill(array[${row.kind}::text], array[${row.key}::text]))`
    }
    return rows.map((row) => idOf(row.id))
  }))

interface EventRow {
  readonly id: bigint
  readonly queue: string
  readonly kind: string
  readonly state: number
  readonly attempt: number
  readonly at: Date
  readonly tx: string
}

const eventsMax = 1000

/** The cursor is `transaction:id`. Only transactions below every running one are told, so that none is ever missed. */
const ended = (sql: PgClient.PgClient, cursor: string | undefined) =>
  Effect.gen(function*() {
    if (cursor === undefined) {
      const [row] = yield* sql<{ readonly top: string }>`select pg_snapshot_xmin(pg_current_snapshot())::text as top`
      return { cursor: `${row?.top ?? "0"}:0`, events: [] }
    }
    const [tx = "0", id = "0"] = cursor.split(":")
    const rows = yield* sql<EventRow>`
      select id, queue, kind, state::int4 as state, attempt, at, tx::text as tx from (
        (select id, queue, kind, state, attempt, finished_at as at, tx from sluice.job_history
          where tx >= ${tx}::int8 and tx < pg_snapshot_xmin(pg_current_snapshot())::text::int8
            and (tx > ${tx}::int8 or id > ${id}::int8) order by tx, id limit ${eventsMax})
        union all
        (select id, queue, kind, 5, attempt, finished_at, tx from sluice.job_dead
          where tx >= ${tx}::int8 and tx < pg_snapshot_xmin(pg_current_snapshot())::text::int8
            and (tx > ${tx}::int8 or id > ${id}::int8) order by tx, id limit ${eventsMax})
      ) e order by e.tx, e.id limit ${eventsMax}`
    const last = rows.at(-1)
    const events = rows.map((row): JobEvent => ({
      id: idOf(row.id),
      queue: row.queue,
      kind: row.kind,
      state: row.state === 4 ? "succeeded" : row.state === 5 ? "dead" : "cancelled",
      attempt: row.attempt,
      at: row.at
    }))
    return { cursor: last === undefined ? cursor : `${last.tx}:${last.id}`, events }
  })

const configure = (
  sql: PgClient.PgClient,
  queue: string,
  settings: { readonly paused?: boolean; readonly ratePerSecond?: number | null }
): Effect.Effect<void, SqlError> =>
  sql.withTransaction(Effect.gen(function*() {
    yield* sql`insert into sluice.job_queue (queue) values (${queue}) on conflict (queue) do nothing`
    if (settings.paused !== undefined) {
      yield* sql`update sluice.job_queue set paused = ${settings.paused} where queue = ${queue}`
    }
    if (settings.ratePerSecond !== undefined) {
      const rate = settings.ratePerSecond
      yield* sql`update sluice.job_queue set rate = ${rate}::float8, tokens = greatest(1, ${rate}::float8),
        tokens_at = clock_timestamp() where queue = ${queue}`
    }
    yield* sql`select sluice.job_wake(array[${queue}::text])`
  }))

/** What operators ask of the database. */
export const make = (sql: PgClient.PgClient): JobRecords["Service"] =>
  JobRecords.of({
    find: (id) => operation("find")(find(sql, id)),
    list: (filter) => operation("list")(list(sql, filter)),
    stats: operation("stats")(Effect.map(sql.unsafe<StatsRow>(statsStatement), (rows) => rows.map(statsOf))),
    cancel: (id) => operation("cancel")(cancel(sql, id)),
    configure: (queue, settings) => operation("configure")(configure(sql, queue, settings)),
    redrive: (filter, rate) => operation("redrive")(redrive(sql, filter, rate)),
    ended: (cursor) => operation("events")(ended(sql, cursor))
  })
