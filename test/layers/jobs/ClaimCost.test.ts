/** What a claim reads is bounded by what it claims, and not by what waits or lies dead. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Schema } from "effect"
import { ClaimFloors } from "../../../src/layers/jobs/ClaimFloors.ts"
import { claim } from "../../../src/layers/jobs/PostgresClaim.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Columns from "../../../src/layers/postgres/Columns.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../src/services/jobs/JobStore.ts"
import { JobWorker } from "../../../src/services/jobs/JobWorker.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const backlog = isLong ? 1_000_000 : 100_000
const layer = PostgresJobQueue.layer.pipe(Layer.provideMerge(TestDatabase.layer))
const N = Job.make("cost", { payload: Schema.Struct({ n: Schema.Int }) })
const payloads = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

const joining = { queues: ["cost"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }

/** Pages touched by one statement, which is undone. */
const pagesOf = (statement: string, parameters: ReadonlyArray<unknown> = []) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const undone = yield* Effect.flip(sql.withTransaction(Effect.gen(function*() {
      const rows = yield* sql.unsafe<{ readonly "QUERY PLAN": unknown }>(
        `explain (analyze, buffers, format json) ${statement}`,
        parameters
      )
      const [plan] = JSON.parse(JSON.stringify(rows[0]?.["QUERY PLAN"])) as ReadonlyArray<
        { readonly Plan: Record<string, number> }
      >
      return yield* Effect.fail((plan?.Plan["Shared Hit Blocks"] ?? 0) + (plan?.Plan["Shared Read Blocks"] ?? 0))
    })))
    return typeof undone === "number" ? undone : yield* Effect.die(undone)
  })

/** Pages touched by one claim of 100, as `PostgresClaim` makes it from the front. */
const pagesOfClaim = (worker: number) =>
  pagesOf(
    `select * from sluice.job_claim(${worker}, 1000, array['cost'], array[100], array['-infinity']::timestamptz[], array[0]::int8[])`
  )

const test = (title: string, body: () => Effect.Effect<void, unknown, Layer.Success<typeof layer>>) =>
  it.live(title, () => Effect.provide(body(), layer), isLong ? 300_000 : 180_000)

describe("the cost of a claim", () => {
  test(`does not grow with the backlog (${backlog} waiting, never analyzed)`, () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const { worker } = yield* (yield* JobStore).join(joining)
      yield* queue.enqueueMany(N, payloads(1000))
      const few = yield* pagesOfClaim(worker)
      for (let i = 1000; i < backlog; i += 10_000) yield* queue.enqueueMany(N, payloads(10_000))
      const many = yield* pagesOfClaim(worker)
      assert.isAbove(few, 100, "the plan was read")
      // 100 rows: found, locked, copied, and their index entries. The tree is a level or two deeper, no more.
      assert.isBelow(many, 2_000)
      assert.isBelow(many, few * 2)
    }).pipe(Effect.scoped))

  test("turns of tenants are found among what waits, and claims cost the same with them", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const { worker } = yield* (yield* JobStore).join(joining)
      yield* queue.enqueueMany(N, payloads(1000), { tenant: "few" })
      const few = yield* pagesOfClaim(worker)
      // Those without a tenant are before them and behind them in the order.
      for (const priority of [10, -10]) {
        for (let i = 0; i < backlog / 4; i += 5_000) yield* queue.enqueueMany(N, payloads(5_000), { priority })
      }
      for (let i = 0; i < backlog / 2; i += 10_000) yield* queue.enqueueMany(N, payloads(10_000), { tenant: "many" })
      const turns =
        "select sluice.job_turns(array['cost', 'cost', 'cost'], array['many', 'late', null], array[0, 0, 0])"
      yield* pagesOf(turns)
      assert.isBelow(yield* pagesOf(turns), 60)
      assert.isBelow(yield* pagesOfClaim(worker), few * 2)
    }).pipe(Effect.scoped))

  test("stays bounded while an old snapshot keeps every dead row alive", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      const { worker: observer } = yield* (yield* JobStore).join(joining)
      const rounds = isLong ? 200 : 20
      const perRound = 1_000
      yield* sql.withTransaction(Effect.gen(function*() {
        // The snapshot of this transaction stays while others work.
        yield* sql`set transaction isolation level repeatable read`
        yield* sql`select count(*) from sluice.job`
        yield* Effect.provide(
          Effect.gen(function*() {
            const worker = yield* JobWorker
            for (let round = 0; round < rounds; round++) {
              yield* queue.enqueueMany(N, payloads(perRound))
              yield* worker.idle
            }
            const [table] = yield* sql<{ readonly bytes: number }>`
              select pg_relation_size('sluice.job')::float8 as bytes`
            yield* queue.enqueueMany(N, payloads(200))
            const pages = yield* pagesOfClaim(observer)
            yield* Effect.logInfo(`a claim of 100 over ${rounds * perRound} dead jobs touches ${pages} pages`)
            // Two versions of each job (waiting, running) that nobody may clean up yet, and no more than that.
            assert.isBelow(table?.bytes ?? Infinity, rounds * perRound * 2 * 400)
          }),
          Layer.fresh(Worker.layer([JobHandler.batch(N, () => Effect.void)])).pipe(
            Layer.provideMerge(Layer.fresh(PostgresJobQueue.layer)),
            Layer.provideMerge(TestDatabase.secondPool())
          )
        )
      }))
    }).pipe(Effect.scoped))

  test("begins behind what is dead while claims from the front are slow, and misses nothing before it", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      const store = yield* JobStore
      const { worker } = yield* store.join(joining)
      yield* queue.enqueueMany(N, payloads(300))
      const floors = new ClaimFloors()
      const first = yield* claim(sql, { worker, nth: 1 }, [{ queue: "cost", limit: 100 }], floors)
      // As if that claim had walked over a mountain of dead rows.
      floors.front(yield* Clock.currentTimeMillis, 10_000, 100)
      const urgent = yield* queue.enqueue(N, { n: 1000 }, { priority: 10 })
      const second = yield* claim(sql, { worker, nth: 1 }, [{ queue: "cost", limit: 100 }], floors)
      assert.deepStrictEqual([first[0]?.id, second[0]?.id], ["1", "101"], "it went on where the first ended")
      // Too little behind the floor: the front is looked at in the same claim.
      const third = yield* claim(sql, { worker, nth: 1 }, [{ queue: "cost", limit: 150 }], floors)
      assert.strictEqual(third.length, 101)
      assert.isTrue(third.some((job) => job.id === urgent))
    }).pipe(Effect.scoped))

  test("is given back when its answer got lost", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const store = yield* JobStore
      const { worker } = yield* store.join(joining)
      yield* queue.enqueueMany(N, payloads(5))
      const claimed = yield* store.claim(worker, 1, [{ queue: "cost", limit: 5 }])
      const [known] = claimed
      assert.strictEqual(yield* store.giveBackUnknown(worker, 1, known === undefined ? [] : [known.id]), 4)
      const again = yield* store.claim(worker, 2, [{ queue: "cost", limit: 5 }])
      assert.deepStrictEqual(again.map((job) => job.attempt), [1, 1, 1, 1])
    }).pipe(Effect.scoped))

  test("a job whose wake-up is lost is found by the poll", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const queue = yield* JobQueue
      // Nobody is ever told anything.
      yield* sql`create or replace function sluice.job_wake(queues text[]) returns void language sql as $$ select $$`
      yield* Effect.provide(
        Effect.gen(function*() {
          const worker = yield* JobWorker
          yield* worker.idle
          const id = yield* queue.enqueue(N, { n: 1 })
          const info = yield* queue.ended(id)
          assert.strictEqual(info.state, "succeeded")
        }),
        Worker.layer([JobHandler.plain(N, () => Effect.void)])
      )
    }))
})

/** What the planner knew when a session made its plans, which it keeps. */
const knowledge = {
  "an empty table of one page, vacuumed and analyzed": (sql: PgClient.PgClient) =>
    Effect.andThen(sql`delete from sluice.job`, sql`vacuum analyze sluice.job`),
  "a table that was never analyzed": () => Effect.void,
  "a table full of other jobs, analyzed": (sql: PgClient.PgClient) => sql`vacuum analyze sluice.job`
}
const settled = 1_000
const others = 30_000

/** What production calls, with `$1` the worker, `$2` ids, `$3` fences, `$4` how many: each uses as many of them as it needs. */
const statements = {
  job_claim:
    "select count(*) from sluice.job_claim($1, 1000000, array['cost'], array[1000], array['-infinity']::timestamptz[], array[0]::int8[])",
  job_insert:
    `select sluice.job_insert(array_fill('cost'::text, n), array_fill('cost'::text, n), array_fill('1'::text, n), array_fill(0, n), array_fill(1, n),
    array_fill(0::float8, n), array_fill(null::float8, n), array_fill(null::text, n), array_fill(null::text, n), array_fill(1, n))
    from (select array[1000 + 0 * $1::int4]) as a(n)`,
  job_succeed: "select sluice.job_succeed($1, $2, $3)",
  job_end:
    `select sluice.job_end($1, $2, $3, array_fill('succeeded'::text, array[$4::int4]), array_fill('full'::text, array[$4::int4]),
    array_fill(null::text, array[$4::int4]), array_fill(null::text, array[$4::int4]))`,
  job_again:
    `select sluice.job_again($1, $2, $3, array_fill(1000::float8, array[$4::int4]), array_fill(false, array[$4::int4]),
    array_fill('{"reason":"Failed"}'::text, array[$4::int4]))`
}

/** Pages of each statement on 1,000 jobs among 61,000, with plans that were made when the planner knew that. */
const pagesOfEach = (known: (sql: PgClient.PgClient) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const queue = yield* JobQueue
    const { worker } = yield* (yield* JobStore).join(joining)
    // One that comes in between would spare a settle the dead version of each job that the claim left.
    yield* sql`alter table sluice.job set (autovacuum_enabled = false)`
    const before = known === knowledge["an empty table of one page, vacuumed and analyzed"] ? 1 : others
    yield* queue.enqueueMany(N, payloads(before))
    yield* known(sql)
    const pages = (ids: ReadonlyArray<bigint>) =>
      Effect.forEach(Object.values(statements), (statement) => {
        const all = [worker, Columns.bigints(ids), Columns.ints(ids.map(() => 1)), ids.length]
        return pagesOf(statement, all.filter((_, index) => statement.includes(`$${index + 1}`)))
      })
    yield* pages([0n])
    yield* queue.enqueueMany(N, payloads(2 * others + settled - before))
    const claimed = yield* sql<
      { readonly id: bigint }
    >`select id from sluice.job_claim(${worker}, 1, array['cost'],
      array[${settled}::int4], array['-infinity']::timestamptz[], array[0]::int8[])`
    assert.strictEqual(claimed.length, settled)
    return yield* pages(claimed.map(({ id }) => id))
  }).pipe(Effect.scoped)

it.live("claims, settles and enqueueing touch the same pages whatever the planner knew when it made the plans", () =>
  Effect.gen(function*() {
    const pages = yield* Effect.forEach(Object.values(knowledge), (known) =>
      pagesOfEach(known).pipe(Effect.provide(
        // One session: its plans are kept.
        Layer.provideMerge(
          Layer.fresh(PostgresJobQueue.layer),
          Layer.provideMerge(TestDatabase.secondPool({ poolMax: 1 }), Layer.fresh(TestDatabase.layer))
        )
      )))
    yield* Effect.logInfo(`${Object.keys(statements).join()} of ${settled} touch ${pages.join(" / ")} pages`)
    const [first = []] = pages
    // A plan that walks over the table or over what is running touches fewer or more, and compares each of the one with each of the other.
    for (const other of pages) {
      for (const [index, count] of other.entries()) assert.closeTo(count, first[index] ?? 0, (first[index] ?? 0) * 0.15)
    }
  }))
