/** Whoever enqueues a job with a key holds that key until his transaction ends: what that may hold up is this key, and nothing else. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Queue, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobWorker } from "../../../src/services/jobs/JobWorker.ts"
import { eventually } from "../../support/eventually.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const layer = PostgresJobQueue.layer.pipe(Layer.provideMerge(TestDatabase.layer))

const Keyed = Job.make("held.keyed", { payload: Schema.Int, key: (n) => n < 100 ? "k" : `k${n}` })
const Other = Job.make("held.other", { payload: Schema.Int })

/** A transaction that has enqueued a job with the key `k` (and with others), and stays open as long as the effect runs. */
const holding = <A, E, R>(jobs: ReadonlyArray<number>, whileHeld: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const sql = yield* PgClient.PgClient
    const held = yield* Deferred.make<void>()
    const over = yield* Deferred.make<void>()
    const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
      yield* queue.enqueueMany(Keyed, jobs)
      yield* Deferred.succeed(held, undefined)
      yield* Deferred.await(over)
    })))
    yield* Effect.raceFirst(Deferred.await(held), Fiber.join(holder))
    yield* whileHeld
    yield* Deferred.succeed(over, undefined)
    yield* Fiber.join(holder)
  })

describe("a key that a long transaction holds", () => {
  for (const mode of ["plain", "transactional", "batch"] as const) {
    it.live(`holds up its own jobs only, and in their order (${mode})`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const ran = yield* Queue.unbounded<number>()
        const order: Array<number> = []
        const run = (n: number) => Effect.andThen(Effect.sync(() => order.push(n)), Queue.offer(ran, n))
        const handlers = {
          plain: () => JobHandler.plain(Keyed, run),
          transactional: () => JobHandler.transactional(Keyed, run),
          batch: () =>
            JobHandler.batch(Keyed, (items) => Effect.asVoid(Effect.forEach(items, ({ payload }) => run(payload))))
        }
        yield* Effect.gen(function*() {
          const worker = yield* JobWorker
          // Waiting a moment for each of forty keys would be two seconds.
          const many = Array.from({ length: 40 }, (_, n) => 100 + n)
          const first = yield* queue.enqueue(Keyed, 1)
          const due = yield* queue.enqueue(Keyed, 2, { delay: "1 hour" })
          const gated = yield* queue.enqueueMany(Keyed, many)
          yield* holding(
            [3, ...many],
            Effect.gen(function*() {
              // They end, although what is behind them cannot be let through.
              for (const id of [first, ...gated]) assert.strictEqual((yield* queue.ended(id)).state, "succeeded")
              // Settles, claims and heartbeats go on: of another kind, of another key, and with this very key becoming due.
              for (let n = 0; n < 10; n++) yield* Effect.flatMap(queue.enqueue(Other, n), queue.ended)
              yield* Effect.flatMap(queue.enqueue(Keyed, 1000), queue.ended)
              yield* queue.enqueue(Keyed, 4)
              // Its hour passes: it is due, and behind the others of its key.
              const sql = yield* PgClient.PgClient
              yield* sql`update sluice.job j set run_at = now(), rank = sluice.job_rank(now(), j.priority) where id = ${
                BigInt(due)
              }`
              // Two heartbeats have seen it, and the tending that each of them calls for.
              for (let beat = 0; beat < 2; beat++) {
                const beatAt = sql<{ readonly at: Date }>`select beat_at as at from sluice.job_worker`
                const [before] = yield* beatAt
                yield* eventually(beatAt, ([row]) => row?.at.getTime() !== before?.at.getTime())
              }
              yield* Effect.flatMap(queue.enqueue(Other, 10), queue.ended)
              assert.strictEqual((yield* worker.status).lost, 0)
              assert.deepStrictEqual(order.filter((n) => n < 100), [1])
            })
          )
          while (order.filter((n) => n < 100).length < 4 || order.length < 85) yield* Queue.take(ran)
          yield* worker.idle
        }).pipe(
          Effect.provide(
            Worker.layer([handlers[mode](), JobHandler.plain(Other, () => Effect.void)], {
              beat: "100 millis",
              lease: "2 seconds"
            })
          )
        )
        assert.deepStrictEqual(order.filter((n) => n < 100), [1, 3, 4, 2])
        assert.strictEqual(new Set(order).size, 45)
        assert.deepStrictEqual(
          yield* Effect.flatMap(PgClient.PgClient, (sql) => sql`select 1 from sluice.job_key_due`),
          []
        )
      }).pipe(Effect.provide(layer)), 60_000)
  }
})
