/** Workers as real processes: frozen, killed, cut off. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Queue, type Scope } from "effect"
import { join } from "node:path"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import * as Child from "../../support/Child.ts"
import { eventually } from "../../support/eventually.ts"
import { Effect1, Freeze, Ping } from "../../support/jobKinds.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const program = join(import.meta.dirname, "../../support/jobWorker.ts")
const layer = PostgresJobQueue.layer.pipe(Layer.provideMerge(TestDatabase.layer))

const startWorker = Effect.gen(function*() {
  const { url } = yield* TestDatabase.TestDatabase
  const child = yield* Child.start(program, [], { env: { DATABASE_URL: url } })
  const line = yield* Queue.take(child.lines)
  assert.strictEqual(line["ready"], child.pid)
  return child
})

/** Waits for a line that has this field. */
const lineWith = (child: Child.Child, field: string) =>
  Effect.repeat(Queue.take(child.lines), { until: (line) => field in line })

const test = (
  title: string,
  body: () => Effect.Effect<void, unknown, Layer.Success<typeof layer> | Scope.Scope>,
  timeoutMillis = 60_000
) => it.live(title, () => Effect.provide(Effect.scoped(body()), layer), timeoutMillis)

describe("worker processes", () => {
  test("a zombie's settle is refused and its transaction gone (SIGSTOP past the lease, SIGCONT)", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      yield* sql`create table frozen (n int primary key, effects int not null)`
      yield* sql`insert into frozen values (1, 0)`
      const a = yield* startWorker
      const id = yield* queue.enqueue(Freeze, { n: 1 })
      assert.strictEqual((yield* lineWith(a, "inside"))["attempt"], 1)
      a.process.kill("SIGSTOP")
      const b = yield* startWorker
      assert.strictEqual((yield* lineWith(b, "inside"))["attempt"], 2)
      const info = yield* queue.ended(id)
      assert.strictEqual(info.state, "succeeded")
      a.process.kill("SIGCONT")
      // The thawed worker joins anew and works on: it has met its lost lease by then.
      const ping = yield* queue.enqueue(Ping, { sent: 0 })
      yield* queue.ended(ping)
      b.process.kill("SIGKILL")
      yield* b.exit
      const again = yield* queue.enqueue(Freeze, { n: 1 })
      assert.strictEqual((yield* queue.ended(again)).state, "succeeded")
      assert.deepStrictEqual(yield* sql`select effects from frozen`, [{ effects: 2 }])
    }))

  test("kill -9, over and over: every effect happens exactly once", () =>
    Effect.gen(function*() {
      const kills = isLong ? 100 : 6
      const perKill = 300
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      const admin = yield* JobAdmin
      yield* sql`create table effect1 (n int primary key, attempt int not null, worker int not null,
        at timestamptz not null default clock_timestamp())`
      const settled = Effect.map(
        sql<{ readonly count: number }>`select count(*)::int4 as count from effect1`,
        ([row]) => row?.count ?? 0
      )
      const workers = [yield* startWorker, yield* startWorker]
      let slowestMillis = 0
      let offered = 0
      for (let kill = 0; kill < kills; kill++) {
        yield* queue.enqueueMany(Effect1, Array.from({ length: perKill }, () => ({ n: offered++ })))
        // Somewhere in the middle of it, elsewhere in each round.
        yield* eventually(settled, (count) => count > offered - perKill + ((kill * 37) % perKill))
        const victim = workers[kill % 2]
        victim?.process.kill("SIGKILL")
        const killedAt = yield* Clock.currentTimeMillis
        const [next] = yield* Effect.all([startWorker, eventually(settled, (count) => count === offered)], {
          concurrency: 2
        })
        slowestMillis = Math.max(slowestMillis, (yield* Clock.currentTimeMillis) - killedAt)
        workers[kill % 2] = next
      }
      const stats = (yield* admin.stats).find((row) => row.queue === Effect1.queue)
      assert.deepStrictEqual(
        [stats?.succeeded, stats?.dead, stats?.ready, stats?.running, stats?.scheduled],
        [offered, 0, 0, 0, 0]
      )
      assert.strictEqual(yield* settled, offered)
      yield* Effect.logInfo(`kill -9 x ${kills}: ${offered} jobs, all once; slowest recovery ${slowestMillis} ms`)
    }), isLong ? 900_000 : 180_000)

  test("SIGTERM gives back what runs, spends no attempt, and exits by itself", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      yield* sql`create table frozen (n int primary key, effects int not null)`
      yield* sql`insert into frozen select g, 0 from generate_series(1, 3) g`
      const a = yield* startWorker
      const ids = yield* queue.enqueueMany(Freeze, [1, 2, 3].map((n) => ({ n })))
      yield* lineWith(a, "inside")
      a.process.kill("SIGTERM")
      yield* a.exit
      const infos = yield* Effect.forEach(ids, (id) => queue.find(id))
      const states = infos.map((info) => info._tag === "Some" ? `${info.value.state} ${info.value.attempt}` : "?")
      // Each has ended within the grace, or waits with its attempt given back.
      assert.isTrue(states.every((state) => state === "succeeded 1" || state === "ready 0"), states.join())
      assert.deepStrictEqual(yield* sql`select count(*)::int4 as n from sluice.job_worker`, [{ n: 0 }])
    }))

  test("a worker whose LISTEN backend is killed hears again, and loses no job", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      const a = yield* startWorker
      const pong = Effect.gen(function*() {
        const id = yield* queue.enqueue(Ping, { sent: yield* Clock.currentTimeMillis })
        yield* lineWith(a, "pong")
        return yield* queue.ended(id)
      })
      yield* pong
      const killed = yield* sql<{ readonly ok: boolean }>`
        select pg_terminate_backend(pid) as ok from pg_stat_activity
        where application_name = 'sluice-jobs-listen' and datname = current_database()`
      assert.strictEqual(killed.length, 1)
      // While nobody listens, the poll finds it.
      const info = yield* pong
      assert.strictEqual(info.attempt, 1)
      yield* eventually(
        sql<{ readonly n: number }>`select count(*)::int4 as n from pg_locks
          where locktype = 'advisory' and classid = 7210 and database = (select oid from pg_database where datname = current_database())`,
        ([row]) => row?.n === 1
      )
      const again = yield* pong
      assert.strictEqual(again.attempt, 1)
      assert.deepStrictEqual(yield* sql`select count(*)::int4 as n from sluice.job_worker`, [{ n: 1 }])
    }))
})
