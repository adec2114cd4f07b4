import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../src/services/jobs/JobStore.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as JobChanges from "../../conformance/JobChanges.suite.ts"
import * as JobFailures from "../../conformance/JobFailures.suite.ts"
import * as JobFlows from "../../conformance/JobFlows.suite.ts"
import * as JobMembership from "../../conformance/JobMembership.suite.ts"
import * as JobProgress from "../../conformance/JobProgress.suite.ts"
import { suite } from "../../conformance/JobQueue.suite.ts"
import * as JobTenants from "../../conformance/JobTenants.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const polling = PostgresJobQueue.layerWith({ listen: false })

suite("PostgresJobQueue", Layer.provide(PostgresJobQueue.layer, TestDatabase.layer))
JobChanges.suite("PostgresJobQueue", Layer.provide(PostgresJobQueue.layer, TestDatabase.layer))
JobFlows.suite("PostgresJobQueue", Layer.provide(PostgresJobQueue.layer, TestDatabase.layer))
JobProgress.suite("PostgresJobQueue", Layer.provide(PostgresJobQueue.layer, TestDatabase.layer))
JobTenants.suite("PostgresJobQueue", Layer.provide(polling, TestDatabase.layer))
suite("PostgresJobQueue in poll mode", Layer.provide(polling, TestDatabase.layer))
// Members that beat only when a test says so: without the session lock, by which a killed process is seen at once.
JobMembership.suite("the fleet of PostgresJobQueue", Layer.provide(polling, TestDatabase.layer), true)
JobFailures.suite("failures in PostgresJobQueue", Layer.provide(polling, TestDatabase.layer))

it.effect("a transaction of the queue has the deadline of whoever runs it, and what the server stops for it is TimedOut", () =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const queue = yield* JobQueue
    const timeout = sql<{ readonly timeout: string }>`select current_setting('statement_timeout') as timeout`
    const within = queue.transaction(timeout)
    assert.deepStrictEqual([...(yield* Deadline.marked(5000)(within))], [{ timeout: "5s" }])
    assert.deepStrictEqual([...(yield* within)], [{ timeout: "1min" }])
    const late = queue.transaction(sql`select pg_sleep(60)`)
    // Nobody interrupts the fiber: only the server can end this.
    const error = yield* Effect.flip(Deadline.marked(50)(late))
    assert.isTrue(error._tag === "JobQueueError" && error.reason === "TimedOut")
  }).pipe(Effect.provide(Layer.provideMerge(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer))))

it.effect("tenants take turns with jobs that were enqueued from SQL", () =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const store = yield* JobStore
    const { worker } = yield* store.join({ queues: ["q"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 })
    const add = (payloads: string, tenants: string) =>
      sql.unsafe(
        `select sluice.job_add(array_fill('q'::text, n), array_fill('k'::text, n), ${payloads}, array_fill(0, n), array_fill(2, n), ${tenants})
        from (select array[3]) as a(n)`
      )
    yield* add("array['1', '2', '3']", "array['a', 'a', 'a']")
    yield* add("array['4', '5', '6']", "array['b', 'a', 'b']")
    const jobs = yield* store.claim(worker, 1, [{ queue: "q", limit: 10 }])
    assert.deepStrictEqual(jobs.map(({ payload }) => payload), [1, 4, 2, 6, 3, 5])
  }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(polling, TestDatabase.layer))))

it.effect("progress is refused from a worker that was declared dead, also while its job is not taken back yet", () =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const store = yield* JobStore
    const { worker } = yield* store.join({ queues: ["q"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 })
    yield* sql`select sluice.job_add(array['q'], array['k'], array['1'], array[0], array[2])`
    const [job = assert.fail()] = yield* store.claim(worker, 1, [{ queue: "q", limit: 1 }])
    const report = store.report(worker, [{ job, report: { fraction: 0.5 } }])
    assert.strictEqual(yield* report, 1)
    yield* sql`update sluice.job_worker set lost_at = now() where id = ${worker}`
    assert.strictEqual(yield* report, 0)
  }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(polling, TestDatabase.layer))))
