/**
 * Jepsen's bank (jepsen/src/jepsen/tests/bank.clj) on transactional handlers: 8 accounts with 100 in all, transfers of at
 * most 5, reads all the time, while workers are killed, backends terminated and the server is killed and started again.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Ref, Schedule } from "effect"
import { join } from "node:path"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import * as Child from "../../support/Child.ts"
import { eventually } from "../../support/eventually.ts"
import { Transfer } from "../../support/jobKinds.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const rounds = process.env["SLUICE_LONG"] === "1" ? 40 : 2
const program = join(import.meta.dirname, "../../support/jobWorker.ts")

/** The database is away for moments: whoever asks, asks again. */
const patiently = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.sandbox(effect).pipe(Effect.retry(Schedule.spaced("50 millis")))

const startWorker = (directory: string) =>
  Effect.tap(
    Child.start(program, [], { env: { DATABASE_URL: undefined, SLUICE_DATA_DIR: directory } }),
    (child) => Queue.take(child.lines)
  )

const bank = Effect.fnUntraced(function*(directory: string) {
  const sql = yield* PgClient.PgClient
  const queue = yield* JobQueue
  const admin = yield* JobAdmin
  const server = yield* EmbeddedPostgres.EmbeddedPostgres
  yield* sql`create table bank (id int primary key, balance int not null check (balance >= 0))`
  yield* sql`create table moved (job bigint primary key)`
  yield* sql`insert into bank select g, case when g < 4 then 13 else 12 end from generate_series(0, 7) g`
  const reads = yield* Ref.make(0)
  const reader = yield* Effect.forkChild(Effect.forever(Effect.gen(function*() {
    const [row] = yield* patiently(sql<{ readonly sum: number; readonly n: number; readonly low: number }>`
      select sum(balance)::int4 as sum, count(*)::int4 as n, min(balance) as low from bank`)
    assert.deepStrictEqual([row?.sum, row?.n], [100, 8])
    assert.isAtLeast(row?.low ?? -1, 0)
    yield* Ref.update(reads, (n) => n + 1)
    yield* Effect.yieldNow
  })))

  const nemesis: ReadonlyArray<(victim: Child.Child) => Effect.Effect<unknown, unknown>> = [
    (victim) => Effect.sync(() => victim.process.kill("SIGKILL")),
    () =>
      patiently(sql`select pg_terminate_backend(pid) from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5`),
    // Where it is being started again, until there is one to kill.
    () =>
      patiently(
        Effect.flatMap(server.processes, ({ serverPid }) => Effect.sync(() => process.kill(serverPid, "SIGKILL")))
      )
  ]
  let offered = 0
  const workers = [yield* startWorker(directory), yield* startWorker(directory)]
  const moved = Effect.map(
    patiently(sql<{ readonly n: number }>`select count(*)::int4 as n from moved`),
    ([row]) => row?.n ?? 0
  )
  const transfers = (count: number) =>
    Array.from({ length: count }, () => {
      const n = offered++
      return { from: n % 8, to: (n * 5 + 3) % 8, amount: 1 + (n % 5) }
    })
  for (let round = 0; round < rounds; round++) {
    for (const [index, strike] of nemesis.entries()) {
      // An answer that got lost in a crash leaves it open whether the jobs exist: then they are there twice.
      const offer = transfers(200)
      yield* patiently(queue.enqueueMany(Transfer, offer))
      yield* eventually(moved, (n) => n > offered - 200 + index * 30)
      const victim = workers[round % 2]
      if (victim === undefined) continue
      yield* strike(victim)
      if (victim.process.killed) workers[round % 2] = yield* startWorker(directory)
    }
  }
  yield* eventually(patiently(admin.stats), (all) => {
    const stats = all.find((row) => row.queue === Transfer.queue)
    return (stats?.ready ?? 1) + (stats?.running ?? 0) + (stats?.scheduled ?? 0) === 0
  }, { within: "60 seconds" })
  yield* Fiber.interrupt(reader)
  const stats = (yield* patiently(admin.stats)).find((row) => row.queue === Transfer.queue)
  assert.deepStrictEqual([stats?.succeeded, stats?.dead], [yield* moved, 0])
  assert.isAtLeast(yield* moved, offered)
  const [end] = yield* sql<{ readonly sum: number }>`select sum(balance)::int4 as sum from bank`
  assert.strictEqual(end?.sum, 100)
  yield* Effect.logInfo(
    `bank: ${rounds * 3} strikes, ${stats?.succeeded} transfers, ${yield* Ref.get(reads)} reads, all of them 100`
  )
})

it.live("the bank stays whole under kill -9 of workers, backends and server", () =>
  Effect.gen(function*() {
    const directory = yield* TestDatabase.ownDirectory
    yield* Effect.provide(
      Effect.scoped(bank(directory)),
      Layer.mergeAll(
        Layer.provideMerge(PostgresJobQueue.layer, Database.layer({ directory, poolMin: 1 })),
        EmbeddedPostgres.layer({ directory })
      )
    )
  }).pipe(Effect.scoped), process.env["SLUICE_LONG"] === "1" ? 900_000 : 120_000)
