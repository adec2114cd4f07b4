import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobEvent, JobId } from "../../services/jobs/Job.ts"
import { JobRecords, type QueueStats } from "../../services/jobs/JobStore.ts"
import { dead, infoOf, type JobRow, live, past } from "./JobRow.ts"
import { idOf, operation } from "./JobSql.ts"
import * as PostgresDeadLetters from "./PostgresDeadLetters.ts"
import * as PostgresJobList from "./PostgresJobList.ts"

const find = (sql: PgClient.PgClient, id: JobId) =>
  Effect.map(
    sql.unsafe<JobRow>(
      `${live} where id = $1 union all ${dead} where id = $1 union all (${past} where id = $1 order by finished_at desc limit 1)`,
      [BigInt(id)]
    ),
    ([row]) => row === undefined ? undefined : infoOf(row)
  )

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
    list: (filter) => operation("list")(PostgresJobList.list(sql, filter)),
    stats: operation("stats")(Effect.map(sql.unsafe<StatsRow>(statsStatement), (rows) => rows.map(statsOf))),
    cancel: (id) => operation("cancel")(cancel(sql, id)),
    configure: (queue, settings) => operation("configure")(configure(sql, queue, settings)),
    preview: (filter) => operation("preview")(PostgresDeadLetters.preview(sql, filter)),
    redrive: (filter, rate) => operation("redrive")(PostgresDeadLetters.redrive(sql, filter, rate)),
    ended: (cursor) => operation("events")(ended(sql, cursor))
  })
