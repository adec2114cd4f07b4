/**
 * Runs in Postgres: any length, any number of processes, nothing recorded lost or fetched again.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Config, Duration, Effect, Layer, Option, Stream } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Frontier from "../../services/fetch/Frontier.ts"
import * as FrontierStatements from "./FrontierStatements.ts"
import { Outage } from "./Outage.ts"
import { outcomeOf, type OutcomeRow, outcomeSelect } from "./OutcomeRows.ts"
import { openRun } from "./PostgresRun.ts"

/** Outcomes that are read at once. */
const pageSize = 1000

/** Rows that are made pending again in one transaction. */
const reopenBatch = 10_000

/** Stale hosts that are dropped when a run is opened. */
const sweepMax = 10_000

/** How long one of those transactions may take. */
const reopenWithin = Duration.seconds(60)

/** Runs that are listed. */
const runsMax = 10_000

const failWith = (operation: string) => (cause: SqlError) => new Frontier.FrontierError({ operation, cause })

interface RunRow {
  readonly id: number
  readonly name: string
  readonly created_at: Date
  readonly updated_at: Date
  readonly pending: number
  readonly leased: number
  readonly done: number
  readonly failed: number
  readonly deferred: number
}

const runSelect = `select r.id, r.name, r.created_at, greatest(r.updated_at, m.seen_at) as updated_at,
    (r.added + m.added - r.done - r.failed - m.taken + m.deferred)::float8 as pending,
    (m.taken - m.done - m.failed - m.deferred)::float8 as leased,
    (r.done + m.done)::float8 as done, (r.failed + m.failed)::float8 as failed, (r.deferred + m.deferred)::float8 as deferred
  from sluice.fetch_run r cross join lateral (
    select coalesce(sum(added), 0) as added, coalesce(sum(done), 0) as done, coalesce(sum(failed), 0) as failed,
      coalesce(sum(deferred), 0) as deferred, coalesce(sum(taken), 0) as taken, max(seen_at) as seen_at
    from sluice.fetch_member where run_id = r.id
  ) m`

const summaryOf = (row: RunRow): Frontier.RunSummary => ({
  name: row.name,
  createdAt: new Date(row.created_at).toISOString(),
  updatedAt: new Date(row.updated_at).toISOString(),
  counts: {
    pending: row.pending,
    leased: row.leased,
    done: row.done,
    failed: row.failed,
    deferred: row.deferred
  }
})

const make = Effect.fnUntraced(function*(patience: Duration.Duration) {
  const sql = yield* PgClient.PgClient
  const statements = FrontierStatements.make(sql)

  const findRow = (name: string): Effect.Effect<RunRow, Frontier.FrontierError | Frontier.RunNotFound> =>
    sql.unsafe<RunRow>(`${runSelect} where r.name = $1`, [name]).pipe(
      Effect.mapError(failWith("find")),
      Effect.flatMap(([row]) =>
        row === undefined ? Effect.fail(new Frontier.RunNotFound({ name })) : Effect.succeed(row)
      )
    )

  /** Makes recorded URLs pending again, in bounded transactions. */
  const reopen = Effect.fnUntraced(function*(outage: Outage, run: number, filter: Frontier.OutcomeFilter | "due") {
    let count = reopenBatch
    while (count === reopenBatch) {
      count = yield* outage.through("reopen", () => statements.reopen(run, filter, reopenBatch), reopenWithin)
    }
  })

  const open = Effect.fn("PostgresFrontier.open")(
    function*(name: string, options?: Frontier.OpenOptions) {
      const outage = new Outage({ name, patience: Duration.fromInputUnsafe(options?.patience ?? patience) })
      const id = yield* outage.through("open", () => statements.openRun(name))
      // Insert or update: there is a row.
      if (id === undefined) return yield* Effect.die(`run ${name} has no row`)
      yield* outage.through("open", () => statements.sweepHosts(sweepMax))
      if (options?.retryFailed !== undefined) yield* reopen(outage, id, options.retryFailed)
      const row = outage.through("counts", () => sql.unsafe<RunRow>(`${runSelect} where r.id = $1`, [id]))
      const counts = row.pipe(
        Effect.flatMap(([row]) =>
          row === undefined
            ? Effect.fail(
              new Frontier.FrontierError({ operation: "counts", cause: new Frontier.RunNotFound({ name }) })
            )
            : Effect.succeed(summaryOf(row).counts)
        )
      )
      return yield* openRun({ sql, statements, outage, id, name, counts, reopenDue: reopen(outage, id, "due") })
    },
    // Whoever had an empty run open drops it when it leaves, perhaps between our finding it and our joining it.
    Effect.retry({
      times: 3,
      while: ({ cause }) => isSqlError(cause) && cause.reason._tag === "ConstraintError"
    })
  )

  const page = (run: number, filter: Frontier.OutcomeFilter) => (after: number) =>
    sql.unsafe<OutcomeRow>(
      `select ${outcomeSelect} from sluice.fetch_outcome o
        join sluice.fetch_url u on u.lane_id = o.lane_id and u.seq = o.seq
      where o.run_id = $1 and o.seq > $2::int8 and (not $3 or o.state <> 0) and ($4::text is null or (o.tag = $4 and o.state <> 0))
        and ($5::text is null or o.lane_id = (select id from sluice.fetch_lane where run_id = $1 and host = $5))
      order by o.seq limit $6`,
      [run, after, filter.failed === true, filter.tag ?? null, filter.host ?? null, pageSize]
    ).pipe(Effect.mapError(failWith("outcomes")))

  const outcomes = (name: string, filter: Frontier.OutcomeFilter = {}) =>
    Stream.unwrap(
      Effect.map(findRow(name), ({ id }) => {
        const read = page(id, filter)
        return Stream.paginate(0, (after) =>
          Effect.map(read(after), (rows) => {
            const last = rows.at(-1)
            return [
              rows.map(outcomeOf),
              rows.length < pageSize || last === undefined ? Option.none<number>() : Option.some(last.seq)
            ] as const
          }))
      })
    )

  return Frontier.Frontier.of({
    open,
    outcomes,
    runs: sql.unsafe<RunRow>(`${runSelect} order by r.created_at desc limit ${runsMax}`).pipe(
      Effect.mapBoth({ onFailure: failWith("runs"), onSuccess: (rows) => rows.map(summaryOf) })
    ),
    find: (name) => Effect.map(findRow(name), summaryOf),
    tags: (name) =>
      Effect.flatMap(findRow(name), (row) =>
        // What is done is counted already: only failures are looked at, in their own index.
        sql.unsafe<Frontier.TagCount>(
          `select tag, count(*)::int4 as count from sluice.fetch_outcome where run_id = $1 and state <> 0 group by tag`,
          [row.id]
        ).pipe(
          Effect.mapError(failWith("tags")),
          Effect.map((failures) => {
            const { done } = summaryOf(row).counts
            return [...failures, ...(done === 0 ? [] : [{ tag: null, count: done }])].sort((a, b) => b.count - a.count)
          })
        ))
  })
})

/** How runs bear with their database. */
export interface Options {
  /** How long an open run tries each of its statements while the database cannot be had. @default 2 minutes */
  readonly patience?: Duration.Input | undefined
}

/** Runs in the database that `PgClient` is connected to; its schema must be there. */
export const layerWith = (options: Options): Layer.Layer<Frontier.Frontier, never, PgClient.PgClient> =>
  Layer.effect(Frontier.Frontier, make(Duration.fromInputUnsafe(options.patience ?? "2 minutes")))

/** The same, with the defaults. */
export const layer: Layer.Layer<Frontier.Frontier, never, PgClient.PgClient> = layerWith({})

const patienceConfig = Config.Duration("SLUICE_DATABASE_PATIENCE").pipe(Config.withDefault(Duration.minutes(2)))

/** The same, as patient as `SLUICE_DATABASE_PATIENCE` says. */
export const layerConfig: Layer.Layer<Frontier.Frontier, Config.ConfigError, PgClient.PgClient> = Layer.unwrap(
  Effect.map(patienceConfig, (patience) => layerWith({ patience }))
)
