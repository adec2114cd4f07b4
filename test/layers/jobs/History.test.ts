/** The history's partitions: made by UTC days, emptied and dropped in time, and never at the cost of those who write history. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, References, Schema } from "effect"
import * as PostgresHousekeeping from "../../../src/layers/jobs/PostgresHousekeeping.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { Outage } from "../../../src/services/postgres/Outage.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const layer = PostgresJobQueue.layer.pipe(Layer.provideMerge(TestDatabase.layer))
const test = (title: string, body: () => Effect.Effect<void, unknown, Layer.Success<typeof layer>>) =>
  it.live(title, () => Effect.provide(body(), layer), 60_000)

const Noop = Job.make("history.noop", { payload: Schema.Int })
const keepDays = 7

/** A partition of an old day, with rows in it or without. */
const addDay = (sql: PgClient.PgClient, day: string, rows: number) =>
  Effect.gen(function*() {
    const name = `job_history_${day.replaceAll("-", "")}`
    yield* sql.unsafe(`create table sluice.${name} partition of sluice.job_history
      for values from ('${day} 00:00:00+00') to ('${day} 24:00:00+00')`)
    yield* addRows(sql, `'${day} 12:00:00+00'::timestamptz`, rows)
  })

const addRows = (sql: PgClient.PgClient, finishedAt: string, rows: number) =>
  sql.unsafe(
    `insert into sluice.job_history (id, state, attempt, max_attempts, priority, queue, kind, run_at, enqueued_at, finished_at)
    select n, 'succeeded', 1, 1, 0, 'old', 'old', now(), now(), ${finishedAt} from generate_series(1, ${rows}) n`
  )

const daysOf = (sql: PgClient.PgClient) =>
  Effect.map(
    sql<{ readonly name: string }>`select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'sluice.job_history'::regclass and c.relname <> 'job_history_other' order by 1`,
    (rows) => rows.map(({ name }) => name)
  )

const round = (sql: PgClient.PgClient) => PostgresHousekeeping.partitions(sql, keepDays, new Outage("history"))

/** Holds what pg_dump holds: a lock on every table, for reading. */
const dumping = <A, E, R>(whileHeld: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const held = yield* Deferred.make<void>()
    const over = yield* Deferred.make<void>()
    const dump = yield* Effect.flatMap(PgClient.PgClient, (sql) =>
      sql.withTransaction(Effect.gen(function*() {
        const tables = yield* sql<{ readonly name: string }>`
          select quote_ident(relname) as name from pg_class where relnamespace = 'sluice'::regnamespace and relkind in ('r', 'p')`
        for (const { name } of tables) yield* sql.unsafe(`lock table sluice.${name} in access share mode`)
        yield* Deferred.succeed(held, undefined)
        yield* Deferred.await(over)
      }))).pipe(Effect.provide(TestDatabase.secondPool()), Effect.forkChild)
    yield* Effect.raceFirst(Deferred.await(held), Fiber.join(dump))
    const result = yield* whileHeld
    yield* Deferred.succeed(over, undefined)
    yield* Fiber.join(dump)
    return result
  })

describe("the history", () => {
  test("is kept while pg_dump reads it: housekeeping gives way, settles and reads go on, and afterwards all is done", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      yield* addDay(sql, "2020-01-01", 100)
      yield* addDay(sql, "2020-01-02", 0)
      yield* addRows(sql, "'2019-05-05'", 10)
      const [tomorrow] = (yield* daysOf(sql)).slice(-2)
      yield* sql.unsafe(`drop table sluice.${tomorrow}`)
      yield* dumping(
        Effect.gen(function*() {
          const keeping = yield* Effect.forkChild(
            // The worker's own housekeeping may be at it.
            Effect.repeat(round(sql), { until: (isDone) => !isDone })
          )
          // Who waited behind the reader would wait for ever: it reads until all of them have ended.
          for (let n = 0; n < 20; n++) yield* Effect.flatMap(queue.enqueue(Noop, n), queue.ended)
          yield* Fiber.join(keeping)
        }).pipe(Effect.provide(Worker.layer([JobHandler.plain(Noop, () => Effect.void)], { poll: "100 millis" })))
      )
      assert.include(yield* daysOf(sql), "job_history_20200101")
      assert.isTrue(yield* round(sql))
      const days = yield* daysOf(sql)
      assert.notInclude(days, "job_history_20200101")
      assert.notInclude(days, "job_history_20200102")
      assert.include(days, tomorrow)
      assert.deepStrictEqual(yield* sql`select 1 from sluice.job_history_other`, [])
    }))

  test("keeps a day with a reader of its own, and takes the others away", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* addDay(sql, "2020-01-01", 100)
      yield* addDay(sql, "2020-01-02", 100)
      yield* sql.withTransaction(Effect.andThen(
        sql`lock table sluice.job_history_20200101 in access share mode`,
        Effect.gen(function*() {
          assert.isFalse(yield* round(yield* PgClient.PgClient))
        }).pipe(Effect.provide(TestDatabase.secondPool()))
      ))
      assert.isTrue(yield* round(sql))
      assert.isFalse((yield* daysOf(sql)).some((name) => name.startsWith("job_history_2020")))
    }))

  for (const zone of ["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata", "America/New_York"]) {
    test(`is by UTC days, whatever the time zone of the database says (${zone})`, () =>
      Effect.gen(function*() {
        const before = yield* daysOf(yield* PgClient.PgClient)
        const sql = yield* PgClient.PgClient
        yield* sql.unsafe(
          `do $$ begin execute format('alter database %I set timezone = ''${zone}''', current_database());
          execute format('alter database %I set datestyle = ''SQL, DMY''', current_database()); end $$`
        )
        yield* Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const [setting] = yield* sql<{ readonly zone: string }>`select current_setting('timezone') as zone`
          assert.strictEqual(setting?.zone, zone)
          assert.isTrue(yield* round(sql))
          assert.deepStrictEqual(yield* daysOf(sql), before)
          const [last = ""] = before.slice(-1)
          yield* sql.unsafe(`drop table sluice.${last}`)
          assert.isTrue(yield* round(sql))
          assert.deepStrictEqual(yield* daysOf(sql), before)
          // From the first moment of the first day to the last of the last, and no further.
          const iso = (name: string) => name.replace(/^job_history_(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3")
          yield* addRows(sql, `'${iso(before[0] ?? "")} 00:00:00+00'::timestamptz`, 1)
          yield* addRows(sql, `'${iso(last)} 23:59:59.999999+00'::timestamptz`, 1)
          assert.deepStrictEqual(yield* sql`select 1 from sluice.job_history_other`, [])
        }).pipe(Effect.provide(TestDatabase.secondPool()))
      }))
  }

  test("rows that no partition was there for go when their time is over; their day keeps them until then", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const [today = ""] = yield* daysOf(sql)
      yield* sql.unsafe(`drop table sluice.${today}`)
      yield* addRows(sql, "now()", 3)
      yield* addRows(sql, "now() - interval '6 days'", 4)
      yield* addRows(sql, "now() - interval '9 days'", 25_000)
      assert.isTrue(yield* round(sql))
      const [left] = yield* sql<{ readonly n: number }>`select count(*)::int4 as n from sluice.job_history_other`
      assert.strictEqual(left?.n, 7)
      assert.notInclude(yield* daysOf(sql), today)
      assert.strictEqual((yield* daysOf(sql)).length, 2)
    }))

  test("what keeps it from being kept is told of once, and its end too", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const told: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) =>
        void told.push(`${logLevel} ${String(message).slice(0, 60)}`)
      )
      yield* addDay(sql, "2020-01-01", 1)
      const outage = new Outage("the history's partitions are not kept")
      const look = PostgresHousekeeping.partitions(sql, keepDays, outage)
      yield* Effect.gen(function*() {
        assert.deepStrictEqual(yield* dumping(Effect.all([look, look, look])), [false, false, false])
        assert.isTrue(yield* look)
        assert.isTrue(yield* look)
      }).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(References.MinimumLogLevel, "Info"))
      assert.deepStrictEqual(told.map((line) => line.split(" ")[0]), ["Warn", "Info"])
      assert.include(told[0] ?? "", "the history's partitions are not kept")
    }))
})
