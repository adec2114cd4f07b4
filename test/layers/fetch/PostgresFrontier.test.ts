import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Latch, Layer } from "effect"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as Columns from "../../../src/layers/postgres/Columns.ts"
import type { Fetched } from "../../../src/services/fetch/Fetcher.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import { frontierSuite, known, succeeded, target } from "../../conformance/Frontier.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

frontierSuite("PostgresFrontier", {
  layer: Layer.provideMerge(PostgresFrontier.layer, TestDatabase.layer),
  crash: Effect.fnUntraced(function*(name) {
    const sql = yield* PgClient.PgClient
    const members = yield* sql<
      { readonly run: number; readonly id: number }
    >`select run_id as run, id from sluice.fetch_member
      where run_id = (select id from sluice.fetch_run where name = ${name})`
    const [first] = members
    if (first === undefined) return
    const ids = members.map(({ id }) => id)
    // What another process does when their heartbeats have stopped.
    yield* sql`select sluice.fetch_dismiss(${first.run}, ${Columns.ints(ids)})`
  }, Effect.orDie)
})

layer(Layer.provideMerge(PostgresFrontier.layer, TestDatabase.layer), { excludeTestServices: true })(
  "PostgresFrontier, hosts",
  (it) => {
    it.effect("drops what is stale when a run is opened, and takes up no state that it cannot read", () =>
      Effect.scoped(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql`insert into sluice.fetch_host (host, state, shut_until, stale_at) values
          ('stale.test', '{}', 'epoch', now() - interval '1 second'), ('strange.test', '{"of":"another age"}', 'epoch', 'infinity')`
        const run = yield* (yield* Frontier).open("sweep")
        const left = yield* sql<{ readonly host: string }>`select host from sluice.fetch_host`
        assert.deepStrictEqual(left.map(({ host }) => host), ["strange.test"])
        yield* run.add([target("http://strange.test/")])
        const supply = yield* run.source.pull({ limit: 1, closedHosts: new Set() })
        assert.deepStrictEqual(supply._tag === "Targets" ? supply.hosts : undefined, [])
      })))

    it.effect("runs that settle the same hosts at once, in any order, do not lock each other out", () =>
      Effect.scoped(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const frontier = yield* Frontier
        const hosts = Array.from({ length: 9 }, (_, n) => `h${n}.test`)
        yield* Effect.forEach(
          hosts,
          (host) =>
            sql`insert into sluice.fetch_host (host, state, shut_until, stale_at) values (${host}, null, 'epoch', 'infinity')`
        )
        const slow = (host: string): Fetched => ({ ...succeeded(target(`http://${host}/`)), host: known(host, 0) })
        const fetched = hosts.map(slow)
        const start = Effect.fnUntraced(function*(name: string, settled: ReadonlyArray<Fetched>) {
          const run = yield* frontier.open(name)
          yield* run.add(settled.map((one) => one.target))
          const supply = yield* run.source.pull({ limit: 9, closedHosts: new Set() })
          assert.strictEqual(supply._tag === "Targets" ? supply.targets.length : 0, 9)
          return run.settle(settled)
        })
        const settles = [yield* start("forth", fetched), yield* start("back", fetched.toReversed())]
        // Heartbeats may wait too, for the rows of their members.
        const waiting = sql<{ readonly count: number }>`select count(*)::int4 as count from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock' and query like '%fetch_settle%'`
        const [locked, release] = [yield* Latch.make(), yield* Latch.make()]
        const lock = sql`select from sluice.fetch_host where host = 'h4.test' for update`
        const locking = yield* Effect.forkScoped(
          sql.withTransaction(Effect.andThen(lock, Effect.andThen(locked.open, release.await)))
        )
        yield* locked.await
        const fibers = yield* Effect.forEach(settles, (settle) => Effect.forkScoped(settle))
        // Each stands at the row in the middle, or behind the other; then they go on.
        yield* Effect.repeat(waiting, { until: ([row]) => row?.count === 2 })
        yield* release.open
        yield* Fiber.join(locking)
        const recorded = yield* Effect.forEach(fibers, Fiber.join)
        assert.deepStrictEqual(recorded.map(({ length }) => length), [9, 9])
      })))
  }
)

layer(Layer.provideMerge(PostgresFrontier.layer, TestDatabase.layer), { excludeTestServices: true })(
  "PostgresFrontier, removal",
  (it) => {
    const begin = Effect.fnUntraced(function*(name: string) {
      const run = yield* (yield* Frontier).open(name)
      yield* run.add(Array.from({ length: 40 }, (_, n) => target(`http://h${n % 7}.test/${n}`)))
      const supply = yield* run.source.pull({ limit: 20, closedHosts: new Set() })
      yield* run.settle(supply._tag === "Targets" ? supply.targets.map(succeeded) : [])
    }, Effect.scoped)

    const rows = Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const tables = ["run", "member", "lane", "url", "outcome"]
      const counts = yield* Effect.forEach(
        tables,
        (table) => sql.unsafe<{ readonly count: number }>(`select count(*)::int4 as count from sluice.fetch_${table}`)
      )
      return counts.map(([row]) => row?.count)
    })

    it.effect("what is fetched again while it is made pending again is not made so once more", () =>
      Effect.scoped(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const run = yield* (yield* Frontier).open("round")
        yield* run.add(Array.from({ length: 20 }, (_, n) => target(`http://a.test/${n}`)))
        const work = Effect.flatMap(
          run.source.pull({ limit: 20, closedHosts: new Set() }),
          (supply) => run.settle(supply._tag === "Targets" ? supply.targets.map(succeeded) : [])
        )
        yield* work
        const [row] = yield* sql<{ readonly id: number; readonly below: number }>`
          select id, next_seq::int4 as below from sluice.fetch_run where name = 'round'`
        const again = (most: number) =>
          Effect.map(
            sql<{ readonly reopened: number }>`select * from sluice.fetch_reopen(
              ${row?.id}, false, ${row?.below}, false, null, null, null, null, ${most})`,
            ([answer]) => answer?.reopened
          )
        assert.strictEqual(yield* again(7), 7)
        assert.deepStrictEqual(yield* run.counts, { pending: 7, leased: 0, done: 13, failed: 0, deferred: 0 })
        while ((yield* run.counts).pending > 0) yield* work
        assert.strictEqual(yield* again(100), 13)
        yield* (yield* Frontier).remove("round", { isForced: true })
      })))

    it.effect("leaves no row behind, also of one that was cut short before", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const frontier = yield* Frontier
        yield* begin("half")
        yield* begin("whole")
        const [half] = yield* sql<{ readonly id: number }>`select id from sluice.fetch_run where name = 'half'`
        yield* sql`select sluice.fetch_unname(${half?.id}, false)`
        yield* sql`select * from sluice.fetch_erase_outcomes(${half?.id}, null, 7)`
        assert.strictEqual((yield* Effect.flip(frontier.find("half")))._tag, "RunNotFound")
        assert.deepStrictEqual((yield* frontier.runs()).map(({ name }) => name), ["whole"])
        const seen = yield* sql<{ readonly run: string }>`select distinct run from sluice.fetch_outcomes`
        assert.deepStrictEqual(seen, [{ run: "whole" }])
        yield* frontier.remove("whole")
        assert.deepStrictEqual(yield* rows, [0, 0, 0, 0, 0])
      }))

    it.effect("takes the dead for dead: a member without a session, or silent for long, is in nobody's way", () =>
      Effect.scoped(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const frontier = yield* Frontier
        const session = yield* sql.reserve
        /** A member that was heard of so long ago; a session may show that its process lives. */
        const member = Effect.fnUntraced(function*(name: string, age: string, hasSession: boolean) {
          yield* begin(name)
          const [row] = yield* sql<{ readonly id: number }>`insert into sluice.fetch_member (run_id, seen_at, since)
            select id, now() - ${age}::text::interval, next_seq from sluice.fetch_run where name = ${name} returning id`
          if (!hasSession) return
          yield* session.execute("select pg_advisory_lock(sluice.fetch_lock_space(), $1)", [row?.id], undefined)
        })
        yield* member("joining", "0.1 seconds", false)
        yield* member("slow", "2 seconds", true)
        yield* member("killed", "2 seconds", false)
        yield* member("frozen", "5 seconds", true)
        assert.strictEqual((yield* Effect.flip(frontier.remove("joining")))._tag, "RunBusy")
        assert.strictEqual((yield* Effect.flip(frontier.remove("slow")))._tag, "RunBusy")
        yield* frontier.remove("killed")
        yield* frontier.remove("frozen")
        yield* frontier.remove("joining", { isForced: true })
        yield* frontier.remove("slow", { isForced: true })
        assert.deepStrictEqual(yield* rows, [0, 0, 0, 0, 0])
        yield* session.execute("select pg_advisory_unlock_all()", [], undefined)
      })))

    it.effect("whoever was about to work on a run that is removed adds nothing to what is left of it", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const frontier = yield* Frontier
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* frontier.open("raced")
          yield* run.add([target("http://a.test/")])
          yield* frontier.remove("raced", { isForced: true })
          assert.strictEqual((yield* Effect.flip(run.add([target("http://other.test/")])))._tag, "FrontierError")
        }))
        assert.deepStrictEqual(yield* rows, [0, 0, 0, 0, 0])
        const [none] = yield* sql<{ readonly id: number | null }>`select * from sluice.fetch_join(2147483647, false)`
        assert.strictEqual(none, undefined)
      }))
  }
)
