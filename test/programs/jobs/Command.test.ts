import * as NodeServices from "@effect/platform-node/NodeServices"
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Command from "effect/cli/Command"
import * as TestConsole from "effect/testing/TestConsole"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import { jobs } from "../../../src/programs/jobs/Command.ts"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { work } from "../../../src/programs/work/Command.ts"
import { JobId } from "../../../src/services/jobs/Job.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../src/services/jobs/JobStore.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const services = Layer.mergeAll(
  Layer.mergeAll(OrdersApp.layer, PostgresFrontier.layer, HttpFetcher.layer).pipe(
    Layer.provide(Http1Client.layer()),
    Layer.provideMerge(TestDatabase.layer)
  ),
  NodeServices.layer,
  TestConsole.layer
)

/** Runs `sluice jobs ...` and answers what it printed. */
const sluice = (...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const before = (yield* TestConsole.logLines).length
    yield* Command.runWith(jobs, { version: "test" })(args)
    return (yield* TestConsole.logLines).slice(before).map(String).join("\n")
  })

layer(services, { excludeTestServices: true })("sluice jobs", (it) => {
  it.effect("lists, shows, cancels, pauses, works, retries and counts", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      assert.strictEqual(yield* sluice("ls"), "no such jobs")
      const { ids } = JSON.parse(yield* sluice("try", "-n", "2", "--json")) as { readonly ids: ReadonlyArray<string> }
      const [first = "", second = ""] = ids
      assert.include(yield* sluice("ls", "--state", "ready"), first)
      assert.strictEqual(JSON.parse(yield* sluice("show", first, "--json")).payload.text, "demo 1")
      assert.include(yield* sluice("show", first), "state     ready")
      assert.match(yield* sluice("show", first), /^tenant +-$/mu)
      assert.include(yield* sluice("cancel", second), "cancelled")
      assert.strictEqual(yield* sluice("pause", "demo"), "demo: paused; what runs is let finish")
      assert.include(yield* sluice("stats"), "demo (paused)")
      assert.strictEqual(yield* sluice("resume", "demo"), "demo: open for workers again")

      const failing = JSON.parse(yield* sluice("try", "--fail", "--json")) as { readonly ids: ReadonlyArray<string> }
      const working = yield* Effect.forkChild(Command.runWith(work, { version: "test" })(["--only", "demo"]))
      assert.strictEqual((yield* queue.ended(JobId.make(first))).state, "succeeded")
      const dead = yield* queue.ended(JobId.make(failing.ids[0] ?? ""))
      assert.deepStrictEqual([dead.state, dead.attempt], ["dead", 3])
      working.interruptUnsafe()
      const shown = (yield* sluice("show", dead.id)).split("\n")
      const from = shown.indexOf("failures")
      assert.deepStrictEqual(
        shown.slice(from + 1).map((line) => line.replace(/, [-0-9]+ [:0-9]+:/u, ",")),
        [1, 2, 3].map((n) => `  attempt ${n}, Failed: {"text":"demo 1"}`)
      )
      assert.include(yield* sluice("show", first), "failures  -")
      const told = JSON.parse(yield* sluice("show", dead.id, "--json"))
      assert.deepStrictEqual(told.failures.map((each: { readonly attempt: number }) => each.attempt), [1, 2, 3])
      assert.deepStrictEqual(told.failure, told.failures[2])

      const letters = yield* sluice("dead")
      assert.include(letters, "Failed: {")
      assert.notInclude(letters, "[object Object]")
      assert.include(yield* sluice("retry", "--reason", "Failed", "--preview"), "1 dead letter(s) would be run again")
      assert.include(yield* sluice("retry", "--kind", "demo"), `1 dead letter(s) will be run again: ${failing.ids[0]}`)
      assert.strictEqual(yield* sluice("dead"), "no dead letters")
      const [stats] = (yield* sluice("stats", "--json")).split("\n").map((line) => JSON.parse(line))
      assert.deepStrictEqual([stats.queue, stats.succeeded, stats.cancelled, stats.dead, stats.retried], [
        "demo",
        1,
        1,
        0,
        2
      ])
    }))

  it.effect("stats tells of jobs that nobody works on, and of who holds them", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const store = yield* JobStore
      const before = (yield* TestConsole.errorLines).length
      const told = Effect.map(TestConsole.errorLines, (lines) => lines.slice(before).map(String).join("\n"))
      yield* sluice("stats")
      assert.strictEqual(yield* told, "")
      yield* sluice("try")
      const joining = { queues: ["demo"], label: "lost", leaseMillis: 60_000, beatMillis: 1_000 }
      const { worker } = yield* store.join(joining)
      const [job] = yield* store.claim(worker, 1, [{ queue: "demo", limit: 1 }])
      yield* sql`update sluice.job_worker set lost_at = now() where id = ${worker}`
      yield* sql.withTransaction(Effect.gen(function*() {
        const [session] = yield* sql<
          { readonly pid: number }
        >`select pg_backend_pid() as pid from sluice.job for update`
        assert.include(yield* sluice("stats"), "demo")
        const lines = (yield* told).split("\n")
        assert.match(lines.at(-1) ?? "", new RegExp(`^${job?.id} +demo +1 +${worker} .*session ${session?.pid} `))
      }))
      yield* sluice("stats", "--json")
      const [told1 = ""] = (yield* told).split("\n").slice(-1)
      assert.deepInclude(JSON.parse(told1), { id: job?.id, worker, holder: null, doing: null })
    }).pipe(Effect.scoped))

  it.effect("a queue that is unknown is a typo, and not an empty one", () =>
    Effect.gen(function*() {
      for (const args of [["pause", "demos"], ["resume", "demos"], ["ls", "-q", "demos"], ["dead", "-q", "demos"]]) {
        const error = yield* Effect.flip(sluice(...args))
        assert.strictEqual(error._tag === "QueueUnknown" ? error.queue : error._tag, "demos")
        assert.match(String(error), /there is no queue "demos"; there are demo, fetch\.run, orders\.charge/)
      }
      for (
        const args of [["retry", "-q", "demos", "--preview"], ["run-now", "-q", "demos"], ["rate", "demos", "5/s"]]
      ) {
        assert.strictEqual((yield* Effect.flip(sluice(...args)))._tag, "QueueUnknown", args.join(" "))
      }
      assert.notInclude(yield* sluice("stats"), "demos")
      assert.strictEqual(yield* sluice("pause", "orders.ship"), "orders.ship: paused; what runs is let finish")
      yield* sluice("resume", "orders.ship")
    }))

  it.effect("moves, hastens and deletes what waits, and limits a queue", () =>
    Effect.gen(function*() {
      yield* sluice("pause", "demo")
      const { ids } = JSON.parse(yield* sluice("try", "-n", "3", "--json")) as { readonly ids: ReadonlyArray<string> }
      const [a = "", b = "", c = ""] = ids
      assert.strictEqual(
        yield* sluice("reschedule", "--in", "1h", "--preview", a, b),
        `2 job(s) would run in 1h: ${a}, ${b}`
      )
      assert.strictEqual(yield* sluice("reschedule", "--in", "1h", a, b), `2 job(s) will run in 1h: ${a}, ${b}`)
      yield* sluice("reschedule", "--at", "2040-01-02T03:04:05Z", b)
      assert.include(yield* sluice("show", b), "2040-01-02 03:04:05")
      assert.strictEqual(yield* sluice("run-now", "--queue", "demo", "-n", "1"), `1 job(s) will run now: ${a}`)
      // It is due already: as was wanted.
      assert.include(yield* sluice("run-now", c), "it is due already (ready)")
      assert.include(yield* sluice("priority", "--to=-5", c), "have priority -5 now")
      assert.strictEqual(JSON.parse(yield* sluice("show", c, "--json")).priority, -5)
      assert.deepStrictEqual(
        JSON.parse(yield* sluice("delete", "--kind", "demo", "--state", "scheduled", "--json")),
        { preview: false, matched: 1, ids: [b], busy: 0, unchanged: [] }
      )
      const gone = yield* Effect.flip(sluice("delete", b))
      assert.strictEqual(gone._tag, "JobsUnchanged")
      assert.include(String(gone), `${b}, there is no such job`)
      for (
        const wrong of [["delete"], ["reschedule", a], ["reschedule", "--in", "soon", a], ["rate", "demo", "fast"]]
      ) {
        assert.strictEqual((yield* Effect.flip(sluice(...wrong)))._tag, "JobOptionInvalid", wrong.join(" "))
      }
      const sql = yield* PgClient.PgClient
      const rate = Effect.map(
        sql<{ readonly rate: number | null }>`select rate from sluice.job_queue where queue = 'demo'`,
        ([row]) => row?.rate
      )
      assert.strictEqual(yield* sluice("rate", "demo", "600/m"), "demo: at most 600/m, over all processes")
      assert.strictEqual(yield* rate, 10)
      assert.strictEqual(yield* sluice("rate", "demo", "off"), "demo: no limit")
      assert.isNull(yield* rate)
      yield* sluice("delete", a, c)
      yield* sluice("resume", "demo")
    }))

  it.effect("an id that is none, and one that is unknown, are told", () =>
    Effect.gen(function*() {
      const unknown = yield* Effect.flip(sluice("show", "123456789"))
      assert.strictEqual(unknown._tag, "JobNotFound")
      const wrong = yield* Effect.exit(sluice("show", "abc"))
      assert.strictEqual(wrong._tag, "Failure")
    }))
})
