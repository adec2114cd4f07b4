import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { JobEvent, JobId } from "../../services/jobs/Job.ts"
import { JobRecords, type QueueStats, type StuckJob } from "../../services/jobs/JobStore.ts"
import { infoOf, type JobRow } from "./JobRow.ts"
import { idOf, operation } from "./JobSql.ts"
import * as PostgresChanges from "./PostgresChanges.ts"
import * as PostgresDeadLetters from "./PostgresDeadLetters.ts"
import * as PostgresFlows from "./PostgresFlows.ts"
import * as PostgresJobList from "./PostgresJobList.ts"

const find = (sql: PgClient.PgClient, id: JobId) =>
  Effect.map(
    sql<JobRow>`select * from sluice.job_all where id = ${BigInt(id)} order by finished_at desc nulls first limit 1`,
    ([row]) => row === undefined ? undefined : infoOf(row)
  )

/** Whoever waits for the end of a job looks so often. */
const lookMillis = 50

type Counter = Exclude<keyof QueueStats, "queue" | "paused" | "oldestReadyMillis">

interface StatsRow extends Readonly<Record<Counter, bigint>> {
  readonly queue: string
  readonly paused: boolean
  readonly oldest_ready_millis: number | null
}

const statsOf = (row: StatsRow): QueueStats => ({
  queue: row.queue,
  paused: row.paused,
  ready: Number(row.ready),
  scheduled: Number(row.scheduled),
  blocked: Number(row.blocked),
  waiting: Number(row.waiting),
  running: Number(row.running),
  succeeded: Number(row.succeeded),
  cancelled: Number(row.cancelled),
  dead: Number(row.dead),
  retried: Number(row.retried),
  oldestReadyMillis: row.oldest_ready_millis === null ? undefined : Math.max(0, row.oldest_ready_millis)
})

const stats = (sql: PgClient.PgClient) =>
  Effect.map(
    sql<StatsRow>`select * from sluice.job_stats order by queue`,
    (rows) => rows.map(statsOf)
  )

interface StuckRow {
  readonly id: bigint
  readonly queue: string
  readonly kind: string
  readonly attempt: number
  readonly worker: number
  readonly started_at: Date | null
  readonly lost_at: Date | null
  readonly holder: number | null
  readonly doing: string | null
}

const stuckOf = (row: StuckRow): StuckJob => ({
  id: idOf(row.id),
  queue: row.queue,
  kind: row.kind,
  attempt: row.attempt,
  worker: row.worker,
  startedAt: row.started_at,
  lostAt: row.lost_at,
  holder: row.holder,
  doing: row.doing
})

const stuck = (sql: PgClient.PgClient) =>
  Effect.map(sql<StuckRow>`select * from sluice.job_stuck order by id limit 100`, (rows) => rows.map(stuckOf))

type Cancelled = Effect.Success<ReturnType<JobRecords["Service"]["cancel"]>>

const cancel = (sql: PgClient.PgClient, id: JobId) =>
  Effect.map(
    sql<{ readonly outcome: Cancelled }>`select outcome from sluice.job_cancel(${BigInt(id)})`,
    ([row]) => row?.outcome ?? "unknown"
  )

interface EventRow {
  readonly id: bigint
  readonly queue: string
  readonly kind: string
  readonly state: JobEvent["state"]
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
    const rows = yield* sql.unsafe<EventRow>("select * from sluice.job_ended($1, $2, $3)", [
      BigInt(tx),
      BigInt(id),
      eventsMax
    ])
    const last = rows.at(-1)
    const events = rows.map((row): JobEvent => ({
      id: idOf(row.id),
      queue: row.queue,
      kind: row.kind,
      state: row.state,
      attempt: row.attempt,
      at: row.at
    }))
    return { cursor: last === undefined ? cursor : `${last.tx}:${last.id}`, events }
  })

interface Settings {
  readonly paused?: boolean
  readonly ratePerSecond?: number | null
}

const configure = (sql: PgClient.PgClient, queue: string, { paused, ratePerSecond }: Settings) =>
  sql.unsafe("select sluice.job_configure($1, $2, $3, $4)", [
    queue,
    paused ?? null,
    ratePerSecond !== undefined,
    ratePerSecond ?? null
  ])

/** What operators ask of the database. */
export const make = (sql: PgClient.PgClient): JobRecords["Service"] =>
  JobRecords.of({
    find: (id) => operation("find")(find(sql, id)),
    mayHaveEnded: () => Effect.sleep(lookMillis),
    list: (filter) => operation("list")(PostgresJobList.list(sql, filter)),
    stats: operation("stats")(stats(sql)),
    stuck: operation("stuck")(stuck(sql)),
    cancel: (id) => operation("cancel")(cancel(sql, id)),
    configure: (queue, settings) => Effect.asVoid(operation("configure")(configure(sql, queue, settings))),
    preview: (filter) => operation("preview")(PostgresDeadLetters.preview(sql, filter)),
    redrive: (filter, rate) => operation("redrive")(PostgresDeadLetters.redrive(sql, filter, rate)),
    previewChange: (filter, change) => operation("preview")(PostgresChanges.preview(sql, filter, change)),
    change: (filter, change) => operation("change")(PostgresChanges.change(sql, filter, change)),
    children: (parent) => operation("children")(PostgresFlows.children(sql, parent)),
    ended: (cursor) => operation("events")(ended(sql, cursor))
  })
