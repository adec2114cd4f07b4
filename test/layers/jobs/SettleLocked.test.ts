/** What locks of others do to the settles of a worker: they are late, and nothing is lost or run twice. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, Queue, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { assertInvariant } from "../../support/jobInvariant.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const Work = Job.make("work", { payload: Schema.Int, success: Schema.Int, key: (n) => n === 0 ? "k" : undefined })

/** What somebody may hold for longer than a statement may wait. */
const locks: Readonly<Record<string, (sql: PgClient.PgClient) => Effect.Effect<unknown, unknown>>> = {
  "one job": (sql) => sql`select from sluice.job where (payload #>> '{}') = '1' for update`,
  "every job": (sql) => sql`select from sluice.job for update`,
  "the table": (sql) => sql`lock table sluice.job in share mode`,
  "a key, as one who enqueues in a long transaction": (sql) =>
    sql`select pg_advisory_xact_lock(sluice.job_key('work', 'k'))`
}

for (const [what, lock] of Object.entries(locks)) {
  it.live(`${what}, locked for longer than a settle waits`, () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      const refused = yield* Queue.unbounded<string>()
      const logger = Logger.make(({ message }) => {
        const text = String(message)
        if (text.includes("settl")) Queue.offerUnsafe(refused, text)
      })
      const go = yield* Deferred.make<void>()
      const started = yield* Queue.unbounded<number>()
      let ran = 0
      const handler = JobHandler.plain(Work, (n) =>
        Effect.andThen(Queue.offer(started, n), Effect.as(Deferred.await(go), (ran++, n))))
      const ids = yield* queue.enqueueMany(Work, [0, 1, 2, 3])
      const infos = yield* Effect.provide(
        Effect.gen(function*() {
          yield* Queue.takeN(started, 4)
          yield* sql.withTransaction(Effect.gen(function*() {
            yield* lock(sql)
            yield* Deferred.succeed(go, undefined)
            // A key that is held holds up no settle: it is let through later.
            if (what.startsWith("a key")) {
              return yield* Effect.forEach(ids, queue.ended)
            }
            // Refused, and refused again.
            yield* Queue.take(refused)
            yield* Queue.take(refused)
            if (what === "one job") {
              assert.strictEqual((yield* queue.ended(ids[3] ?? Job.JobId.make("0"))).state, "succeeded")
            }
            return []
          }))
          return yield* Effect.forEach(ids, queue.ended)
        }),
        Layer.fresh(Worker.layer([handler])).pipe(
          Layer.provide(Layer.fresh(PostgresJobQueue.layer)),
          Layer.provide(TestDatabase.secondPool({ statementTimeout: "300 millis" })),
          Layer.provide(Logger.layer([logger]))
        )
      )
      assert.deepStrictEqual(
        infos.map(({ attempt, result, state }) => [state, attempt, result]),
        [0, 1, 2, 3].map((n) => ["succeeded", 1, n])
      )
      assert.strictEqual(ran, 4)
      yield* assertInvariant
    }).pipe(
      Effect.provide(Layer.provideMerge(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer))
    ))
}
