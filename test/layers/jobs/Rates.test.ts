/** Rates of queues: no setting, and no other worker, keeps a claim from its other queues. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../src/services/jobs/JobStore.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const layer = PostgresJobQueue.layerWith({ listen: false }).pipe(Layer.provideMerge(TestDatabase.layer))
const test = (title: string, body: () => Effect.Effect<void, unknown, Layer.Success<typeof layer>>) =>
  it.live(title, () => Effect.provide(body(), layer), 60_000)

const kinds = [Job.make("rate.a", { payload: Schema.Int }), Job.make("rate.b", { payload: Schema.Int })] as const
const joining = { queues: ["rate.a", "rate.b"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }

describe("rates", () => {
  test("two rated queues, named in another order by two workers, never make them wait for each other", () =>
    Effect.gen(function*() {
      const store = yield* JobStore
      const queue = yield* JobQueue
      const admin = yield* JobAdmin
      const jobs = 150
      for (const kind of kinds) {
        yield* admin.setRate(kind.queue, 1_000_000)
        yield* queue.enqueueMany(kind, Array.from({ length: jobs }, (_, n) => n))
      }
      const requests = kinds.map((kind) => ({ queue: kind.queue, limit: 5 }))
      const workers = yield* Effect.forEach([1, 2, 3, 4], () => store.join(joining))
      const ids = new Set<string>()
      const drain = (worker: number, order: typeof requests) =>
        Effect.gen(function*() {
          // A claim that finds a queue's rate in use by another takes none of it, and comes again.
          for (let nth = 1; ids.size < jobs * kinds.length; nth++) {
            for (const job of yield* store.claim(worker, nth, order)) ids.add(job.id)
          }
        })
      yield* Effect.forEach(
        workers,
        ({ worker }, n) => drain(worker, n % 2 === 0 ? requests : [...requests].reverse()),
        {
          concurrency: "unbounded"
        }
      )
      assert.strictEqual(ids.size, jobs * kinds.length)
    }).pipe(Effect.scoped))

  test("whoever holds a queue's settings holds up that queue only", () =>
    Effect.gen(function*() {
      const store = yield* JobStore
      const queue = yield* JobQueue
      const admin = yield* JobAdmin
      const sql = yield* PgClient.PgClient
      for (const kind of kinds) yield* queue.enqueue(kind, 1)
      yield* admin.setRate("rate.a", 10)
      const { worker } = yield* store.join(joining)
      const held = yield* Deferred.make<void>()
      const over = yield* Deferred.make<void>()
      const both = kinds.map((kind) => ({ queue: kind.queue, limit: 5 }))
      yield* Effect.all([
        sql.withTransaction(Effect.gen(function*() {
          yield* admin.setRate("rate.a", 20)
          yield* Deferred.succeed(held, undefined)
          yield* Deferred.await(over)
        })),
        Effect.gen(function*() {
          yield* Deferred.await(held)
          assert.deepStrictEqual((yield* store.claim(worker, 1, both)).map((job) => job.queue), ["rate.b"])
          yield* Deferred.succeed(over, undefined)
        })
      ], { concurrency: 2 })
      assert.deepStrictEqual((yield* store.claim(worker, 2, both)).map((job) => job.queue), ["rate.a"])
    }).pipe(Effect.scoped))

  test("the table itself takes no rate that a claim could fail of", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const store = yield* JobStore
      const queue = yield* JobQueue
      yield* queue.enqueue(kinds[0], 1)
      const { worker } = yield* store.join(joining)
      yield* sql`insert into sluice.job_queue (queue) values ('rate.a')`
      for (const rate of ["NaN", "Infinity", "-Infinity", "-1", "0", "1e10"]) {
        const exit = yield* Effect.exit(sql.unsafe(`update sluice.job_queue set rate = '${rate}'::float8`))
        assert.isTrue(Exit.isFailure(exit), rate)
      }
      for (const [at, rate] of ["1e9", "0.00001"].entries()) {
        yield* sql.unsafe(
          `update sluice.job_queue set rate = ${rate}, tokens = 0, tokens_at = now() - interval '100 years'`
        )
        const claimed = yield* store.claim(worker, at + 1, [{ queue: "rate.a", limit: 2_147_483_647 }])
        assert.strictEqual(claimed.length, 1, rate)
        yield* store.settle(worker, claimed.map((job) => ({ job, verdict: { _tag: "Released", delayMillis: 0 } })))
      }
    }).pipe(Effect.scoped))
})
