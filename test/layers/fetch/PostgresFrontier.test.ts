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
