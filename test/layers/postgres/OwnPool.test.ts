/** Sluice on a pool that the program has already: same connections, same transactions, whatever that pool does to names. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Result, Schema, String } from "effect"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import type * as Database from "../../../src/layers/postgres/Database.ts"
import * as OwnPool from "../../../src/layers/postgres/OwnPool.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** The app's own client, as its author would make it. */
const appClient = (config: PgClient.PgPoolConfig = {}) =>
  Layer.unwrap(
    Effect.map(
      TestDatabase.TestDatabase,
      ({ url }) => PgClient.layer({ url: Redacted.make(url), applicationName: "the app", ...config })
    )
  )

/** The app's pool, and Sluice's lanes on it. */
const app = (config?: PgClient.PgPoolConfig) =>
  Layer.mergeAll(PostgresJobQueue.layerWith({ listen: true }), PostgresFrontier.layer).pipe(
    Layer.provide(OwnPool.layer()),
    Layer.provideMerge(appClient(config)),
    Layer.provideMerge(Layer.fresh(TestDatabase.layerUrl))
  )

const Welcome = Job.make("mail.welcome", { payload: Schema.Struct({ user: Schema.Int }), success: Schema.String })

const run = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const queue = yield* JobQueue
  yield* sql`create table users (id int primary key, full_name text not null)`
  const signUp = (id: number, then: Effect.Effect<void, string>) =>
    sql.withTransaction(Effect.gen(function*() {
      yield* sql`insert into users (id, full_name) values (${id}, 'ada')`
      const job = yield* queue.enqueue(Welcome, { user: id })
      yield* then
      return job
    }))
  const undone = yield* Effect.exit(signUp(1, Effect.fail("no")))
  assert.strictEqual(undone._tag, "Failure")
  assert.lengthOf(yield* sql`select 1 from users`, 0)
  assert.lengthOf(yield* sql`select 1 from sluice.job`, 0, "the job was part of the transaction")
  const id = yield* signUp(2, Effect.void)
  const handler = JobHandler.transactional(Welcome, ({ user }) =>
    // The app's own client inside of the job's transaction.
    Effect.as(sql`update users set full_name = 'welcomed' where id = ${user}`, `user ${user}`))
  const ended = yield* Effect.provide(queue.ended(id), Worker.layer([handler], { poll: "1 hour" }))
  // Columns of two words, which a pool may have renamed.
  assert.deepInclude(ended, { state: "succeeded", result: "user 2", attempt: 1, maxAttempts: 10 })
  assert.instanceOf(ended.startedAt, Date)
  return yield* sql<Record<string, unknown>>`select full_name from users`
})

describe("OwnPool", () => {
  it.live("what is enqueued in a transaction of the app's pool is part of it, and handlers work in it", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual([...(yield* run)], [{ full_name: "welcomed" }])
    }).pipe(Effect.provide(app())))

  it.live("a pool that changes names: the app's rows are as the app has them, and Sluice reads its own", () =>
    Effect.gen(function*() {
      const transforms = { transformResultNames: String.snakeToCamel, transformQueryNames: String.camelToSnake }
      const rows = yield* Effect.provide(run, app(transforms))
      assert.deepStrictEqual([...rows], [{ fullName: "welcomed" }])
    }))

  it.live("one connection is enough for all of it, transactions included", () =>
    Effect.gen(function*() {
      assert.lengthOf(yield* run, 1)
    }).pipe(Effect.provide(app({ maxConnections: 1 }))))

  it.live("producers open nothing beside the pool", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      yield* queue.enqueue(Welcome, { user: 1 })
      const names = yield* sql<{ readonly name: string }>`
        select distinct application_name as name from pg_stat_activity where datname = current_database()`
      assert.deepStrictEqual([...names], [{ name: "the app" }])
    }).pipe(Effect.provide(app())))

  it.live("a pool that reads int8 as a number is refused, and told why", () =>
    Effect.gen(function*() {
      const types = PgTypes.makeRegistry()
      types.register<number>(PgTypes.OID.int8, {
        encode: (value) => Result.succeed(new Uint8Array(8).fill(value)),
        decode: (bytes) => Result.succeed(bytes[7] ?? 0)
      })
      const refused = yield* Effect.flip(Effect.provide(Effect.void, app({ types })))
      assert.include(refused.message, "int8")
      assert.include(refused.message, "Database.layer")
    }))

  it.live("tables that are missing are missed at once; `migrate` makes those of the lane", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`drop schema sluice cascade`
      const on = (schema: Database.SchemaPolicy) =>
        Effect.provide(
          Effect.void,
          Layer.provide(PostgresJobQueue.layerWith({ listen: false }), OwnPool.layer({ schema }))
        )
      const missing = yield* Effect.flip(on("check"))
      assert.include(missing.message, "sluice migrate --only jobs")
      assert.notInclude(missing.message, "password")
      yield* on("migrate")
      const [row] = yield* sql<{ readonly orders: string | null }>`select to_regclass('sluice.orders')::text as orders`
      assert.isNull(row?.orders)
    }).pipe(Effect.provide(Layer.provide(appClient(), TestDatabase.layer))))

  it.live("the settings of sessions that Sluice asks for are there for the app's pool", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const [row] = yield* sql<{ readonly statement: string; readonly pause: string }>`
        select current_setting('statement_timeout') as statement, current_setting('idle_in_transaction_session_timeout') as pause`
      assert.deepStrictEqual(row, { statement: "7s", pause: "7s" })
    }).pipe(
      Effect.provide(
        Layer.provide(appClient({ startupParameters: OwnPool.sessionSettings("7 seconds") }), TestDatabase.layer)
      )
    ))
})
