/** What operators read costs what it shows, whatever waits, has ended or lies dead. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { previewOf } from "../../../src/layers/jobs/PostgresDeadLetters.ts"
import { pageOf } from "../../../src/layers/jobs/PostgresJobList.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import type { JobId, JobState } from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import type { JobFilter } from "../../../src/services/jobs/JobStore.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const rowsOfEach = process.env["SLUICE_LONG"] === "1" ? 1_000_000 : 100_000

/** So many waiting jobs, ended ones and dead letters, with a few that are sought among the oldest. Nothing is analyzed. */
const fill = (rows: number, from: number) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    yield* sql.unsafe(`insert into sluice.job (id, state, queue, kind, payload, priority, max_attempts, run_at, rank)
      select ${from} + g, 'ready', 'a', 'a.k' || (g % 10), json_build_object('n', g, 'text', repeat('x', 80)), 0, 10, now(), now()
      from generate_series(1, ${rows}) g`)
    yield* sql.unsafe(
      `insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at,
        finished_at, payload, result)
      select ${from} + ${rows} + g, 'succeeded', 1, 10, 0, 1, 'b', 'b.k' || (g % 10), now(), now(), now(), now(), json_build_object('n', g), 'null'
      from generate_series(1, ${rows}) g`
    )
    yield* sql.unsafe(
      `insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at,
        finished_at, payload, failures)
      select ${from} + 2 * ${rows} + g, 10, 10, 0, 1, 1, 'c', 'c.k' || (g % 10), now(), now(), now(), now(), json_build_object('n', g),
        sluice.job_failed(null, 10, '{"reason":"Failed","message":"boom"}')
      from generate_series(1, ${rows}) g`
    )
  })

const sought = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql.unsafe(
    `insert into sluice.job (id, state, worker, queue, kind, payload, priority, max_attempts, run_at, rank)
    select g, case when g % 2 = 0 then 'running'::sluice.job_state else 'scheduled' end, case when g % 2 = 0 then 1 end, 'a', 'a.rare', '{}', 0, 10, now(), now() from generate_series(1, 40) g`
  )
  yield* sql.unsafe(
    `insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at,
      finished_at, payload, failures)
    select 40 + g, 10, 10, 0, 1, 1, 'c', 'c.rare', now(), now(), now(), now(), '{}', sluice.job_failed(null, 10, '{"reason":"TimedOut","message":"rare"}')
    from generate_series(1, 20) g`
  )
})

interface Plan {
  readonly "Shared Hit Blocks": number
  readonly "Shared Read Blocks": number
}

/** The pages that a statement reads. */
const pagesOf = ([statement, parameters]: readonly [string, ReadonlyArray<unknown>]) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const rows = yield* sql.unsafe<{ readonly "QUERY PLAN": unknown }>(
      `explain (analyze, buffers, format json) ${statement}`,
      parameters
    )
    const [top] = JSON.parse(JSON.stringify(rows[0]?.["QUERY PLAN"])) as ReadonlyArray<{ readonly Plan: Plan }>
    return (top?.Plan["Shared Hit Blocks"] ?? 0) + (top?.Plan["Shared Read Blocks"] ?? 0)
  })

const states: ReadonlyArray<JobState> = [
  "ready",
  "running",
  "scheduled",
  "blocked",
  "waiting",
  "succeeded",
  "dead",
  "cancelled"
]
const names = [{}, { queue: "a" }, { queue: "nothing" }, { kind: "a.rare" }, { kind: "c.rare" }, {
  queue: "c",
  kind: "c.rare"
}, { kind: "nothing" }]
const filters: ReadonlyArray<JobFilter> = names.flatMap((name) =>
  Array.of<JobFilter>(name).concat(states.map((state) => Object.assign({}, name, { state })))
)

const single = {
  "a waiting job": "select * from sluice.job_all where id = 1042 order by finished_at desc nulls first limit 1",
  "an ended job": "select * from sluice.job_all where id = 1100042 order by finished_at desc nulls first limit 1",
  "a job that is not there": "select * from sluice.job_all where id = 0 order by finished_at desc nulls first limit 1",
  "the counters": "select * from sluice.job_stats order by queue",
  "what is stuck": "select * from sluice.job_stuck order by id limit 100"
}

withLayer(PostgresJobQueue.layerWith({ listen: false }).pipe(Layer.provideMerge(TestDatabase.layer)), {
  excludeTestServices: true,
  timeout: 600_000
})(
  "the cost of a list",
  (it) => {
    it.effect(
      `does not grow with what there is (${rowsOfEach} of each, never analyzed), with any filter`,
      () =>
        Effect.gen(function*() {
          yield* sought
          const small = 10_000
          yield* fill(small, 1_000)
          const few = yield* Effect.forEach(filters, (filter) => pagesOf(pageOf(filter)))
          yield* fill(rowsOfEach - small, 1_000_000)
          const many = yield* Effect.forEach(filters, (filter) => pagesOf(pageOf(filter)))
          for (const [n, filter] of filters.entries()) {
            const about = `${JSON.stringify(filter)}: ${few[n]} pages of few, ${many[n]} of many`
            assert.isAbove(many[n] ?? 0, 0, about)
            assert.isBelow(many[n] ?? Infinity, 2_500, about)
            // A level more of an index; the visibility of rows that nobody has vacuumed.
            assert.isBelow(many[n] ?? Infinity, 2 * (few[n] ?? 0) + 200, about)
          }
        }),
      600_000
    )

    it.effect("shows all that is meant, page by page, however far it is", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        const walk = (filter: JobFilter) =>
          Effect.gen(function*() {
            const ids: Array<JobId> = []
            let pages = 0
            for (let before: JobId | undefined;;) {
              const page = yield* admin.list({ ...filter, ...(before === undefined ? {} : { before }) })
              pages++
              ids.push(...page.jobs.map((info) => info.id))
              if (page.next === undefined) return { ids, pages }
              // It always gets on.
              assert.isTrue(before === undefined || BigInt(page.next) < BigInt(before))
              before = page.next
            }
          })
        const from = (n: number, step: number, count: number) =>
          Array.from({ length: count }, (_, i) => String(n - i * step))
        // By an index: at once.
        assert.deepStrictEqual(yield* walk({ state: "running" }), { ids: from(40, 2, 20), pages: 1 })
        assert.deepStrictEqual(yield* walk({ state: "dead", kind: "c.rare" }), { ids: from(60, 1, 20), pages: 1 })
        // By looking: in pages that may be empty, and say so.
        const rare = yield* walk({ kind: "a.rare" })
        assert.deepStrictEqual(rare.ids, from(40, 1, 40))
        assert.isAbove(rare.pages, 2)
        assert.deepStrictEqual((yield* walk({ state: "scheduled", queue: "a", limit: 7 })).ids, from(39, 2, 20))
        assert.deepStrictEqual((yield* walk({ state: "cancelled" })).ids, [])
        const first = yield* admin.list({ limit: 3 })
        assert.strictEqual(first.jobs.length, 3)
        assert.strictEqual(first.next, first.jobs[2]?.id)
      }), 600_000)

    it.effect("a redrive of few among many looks at those", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        for (
          const filter of [{ kind: "c.rare" }, { reason: "TimedOut" as const }, {
            queue: "c",
            reason: "TimedOut" as const
          }, { kind: "c.rare", queue: "c" }]
        ) {
          assert.deepInclude(yield* admin.preview(filter), { matched: 20, held: 0 })
          assert.isBelow(yield* pagesOf(previewOf(filter)), 100, JSON.stringify(filter))
        }
        // Five are written, with their entries in each index.
        const five = "select ids from sluice.job_redrive(null, null, 'TimedOut', null, 5, null)"
        assert.isBelow(yield* pagesOf([five, []]), 600)
        assert.strictEqual((yield* admin.redrive({ reason: "TimedOut", limit: 5 })).length, 5)
        assert.deepInclude(yield* admin.preview({ reason: "TimedOut" }), { matched: 10, held: 0 })
      }), 60_000)

    it.effect("one job, the counters and what is stuck cost a few pages", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        for (const [what, pages] of Object.entries(single)) {
          assert.isBelow(yield* pagesOf([pages, []]), 200, what)
        }
        assert.strictEqual((yield* admin.stuck).length, 20, "their worker is none")
      }), 60_000)
  }
)
