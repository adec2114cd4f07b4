/**
 * What a worker needs to live and to settle, handlers cannot take from it; and who is silent is found within his lease,
 * or the lease is refused.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../src/services/jobs/JobStore.ts"
import { assertInvariant } from "../../support/jobInvariant.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const Waits = Job.make("waits", { payload: Schema.Int })
const Quick = Job.make("quick", { payload: Schema.Int })
const lockKey = 4711
const leaseMillis = 600

/** A worker whose handlers wait in every connection of its pool, for a lock that the test has. */
const stuckWorker = Layer.unwrap(Effect.map(PgClient.PgClient, (sql) =>
  Worker.layer([
    JobHandler.plain(Waits, () => Effect.asVoid(sql`select pg_advisory_lock_shared(${lockKey})`)),
    JobHandler.plain(Quick, () => Effect.void)
  ], { concurrency: 8, lease: leaseMillis, beat: "50 millis", poll: "100 millis" })))

for (const listen of [true, false]) {
  it.live(`a worker whose handlers take the whole pool beats and settles (listen: ${listen})`, () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      const store = yield* JobStore
      const witness = yield* store.join({ queues: [], label: "witness", leaseMillis: 60_000, beatMillis: 50 })
      const holder = yield* sql.reserve
      yield* holder.executeRaw(`select pg_advisory_lock(${lockKey})`, [])
      const ids = yield* queue.enqueueMany(Waits, [1, 2, 3, 4])
      const waiting = sql<{ readonly n: number }>`select count(*)::int4 as n from pg_locks
        where locktype = 'advisory' and objid = ${lockKey} and not granted`
      const now = Effect.map(
        sql<{ readonly at: number }>`select extract(epoch from clock_timestamp())::float8 * 1000 as at`,
        ([row]) => row?.at ?? 0
      )
      yield* Effect.provide(
        Effect.gen(function*() {
          yield* Effect.repeat(waiting, { until: ([row]) => row?.n === 2 })
          const since = yield* now
          assert.strictEqual((yield* Effect.flatMap(queue.enqueue(Quick, 1), queue.ended)).state, "succeeded")
          // For three leases somebody looks whether it lives.
          yield* Effect.repeat(
            Effect.map(witness.beat, ({ deadWorkers }) => assert.strictEqual(deadWorkers, 0)),
            { while: () => Effect.map(now, (at) => at < since + 3 * leaseMillis) }
          )
          yield* holder.executeRaw(`select pg_advisory_unlock(${lockKey})`, [])
          const infos = yield* Effect.forEach(ids, queue.ended)
          assert.deepStrictEqual(infos.map(({ attempt, state }) => [state, attempt]), ids.map(() => ["succeeded", 1]))
        }),
        Layer.fresh(stuckWorker).pipe(
          Layer.provide(Layer.fresh(PostgresJobQueue.layerWith({ listen }))),
          Layer.provide(TestDatabase.secondPool({ poolMax: 2 }))
        )
      )
      yield* assertInvariant
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.provideMerge(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer))
    ))
}

describe("a lease and its beats, in milliseconds", () => {
  const table: ReadonlyArray<readonly [lease: number, beat: number | undefined, isTaken: boolean]> = [
    [1_000, 500, false],
    [2_000, 1_000, false],
    [4_000, 2_000, false],
    [4_000, 3_000, false],
    [4_000, 5_000, false],
    [1_100, 500, false],
    [300, 100, true],
    [299, 100, false],
    [600, 50, true],
    [900, 300, true],
    [1_000, undefined, true],
    [200, undefined, true],
    [100, undefined, true]
  ]
  for (const [lease, beat, isTaken] of table) {
    it.live(`${lease} / ${beat ?? "default"}: ${isTaken ? "finds the dead" : "is refused"}`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const worker = Worker.layer([JobHandler.plain(Quick, () => Effect.void)], {
          lease,
          poll: "20 millis",
          ...(beat === undefined ? {} : { beat })
        })
        if (!isTaken) {
          const error = yield* Effect.flip(Effect.scoped(Layer.build(worker)))
          assert.strictEqual(error.reason, "Rejected")
          assert.include(error.message, `a lease of ${lease} ms is too short for a beat every ${beat} ms`)
          // The schema refuses what comes around that.
          const around = store.join({ queues: ["quick"], label: "around", leaseMillis: lease, beatMillis: beat ?? 1 })
          assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(around))))
          return
        }
        const silent = yield* store.join({ queues: ["quick"], label: "silent", leaseMillis: lease, beatMillis: 10 })
        const sql = yield* PgClient.PgClient
        const [joined] = yield* sql<{ readonly at: Date }>`
          select beat_at as at from sluice.job_worker where id = ${silent.worker}`
        const id = yield* queue.enqueue(Quick, 1)
        assert.strictEqual((yield* store.claim(silent.worker, 1, [{ queue: "quick", limit: 1 }])).length, 1)
        const info = yield* Effect.provide(queue.ended(id), worker)
        assert.strictEqual(info.attempt, 2)
        const waited = (info.startedAt?.getTime() ?? 0) - (joined?.at.getTime() ?? Infinity)
        assert.isAtLeast(waited, lease * 0.9)
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.provideMerge(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer))
      ))
  }
})

it.live("every session asks the server to end what a lost process leaves behind", () =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const [settings] = yield* sql`select current_setting('statement_timeout') as statement,
      current_setting('idle_in_transaction_session_timeout') as idle, current_setting('client_connection_check_interval') as look`
    assert.deepStrictEqual({ ...settings }, { statement: "7s", idle: "7s", look: "2s" })
  }).pipe(
    Effect.provide(Layer.provideMerge(TestDatabase.secondPool({ statementTimeout: "7 seconds" }), TestDatabase.layer))
  ))
