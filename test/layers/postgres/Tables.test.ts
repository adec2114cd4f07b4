/** Only the tables of lanes that are used are made, asked for and missed. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresFetchKeys from "../../../src/layers/http/PostgresFetchKeys.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as PostgresCatalog from "../../../src/layers/orders/PostgresCatalog.ts"
import * as PostgresShop from "../../../src/layers/orders/PostgresShop.ts"
import * as Database from "../../../src/layers/postgres/Database.ts"
import type { DatabaseError } from "../../../src/layers/postgres/DatabaseError.ts"
import * as Migrations from "../../../src/layers/postgres/Migrations.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** The first word of each table of the schema: `job_history` is of `job`. */
const tables = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const rows = yield* sql<
    { readonly name: string }
  >`select tablename as name from pg_tables where schemaname = 'sluice'`
  return rows.map(({ name }) => name).toSorted()
})

const emptied = Effect.flatMap(PgClient.PgClient, (sql) => sql`drop schema sluice cascade`)

const lanes: Readonly<Record<string, Layer.Layer<never, DatabaseError, Database.Services>>> = {
  jobs: PostgresJobQueue.layerWith({ listen: false }),
  fetch: PostgresFrontier.layer,
  "fetch keys": PostgresFetchKeys.layer,
  catalog: PostgresCatalog.layer,
  shop: PostgresShop.layerWith({ listen: false })
}

const tracks: Readonly<Record<string, ReadonlyArray<string>>> = {
  jobs: ["jobs"],
  fetch: ["fetch"],
  "fetch keys": ["fetch"],
  catalog: ["jobs", "orders"],
  shop: ["jobs", "orders"]
}

/** Which table belongs to which track. */
const trackOf = (table: string): string =>
  table.startsWith("migrations_")
    ? table.slice(11)
    : table.startsWith("job")
    ? "jobs"
    : table.startsWith("fetch")
    ? "fetch"
    : "orders"

const pool = (schema: Database.SchemaPolicy) =>
  Layer.unwrap(
    Effect.map(
      TestDatabase.TestDatabase,
      ({ url }) => Database.layer({ url: Redacted.make(url), poolMin: 0, schema })
    )
  )

describe("the tables of the lanes that are used", () => {
  for (const [name, lane] of Object.entries(lanes)) {
    it.effect(`${name}: are made, and no others`, () =>
      Effect.gen(function*() {
        yield* emptied
        const missing = yield* Effect.flip(Effect.provide(Effect.void, Layer.provide(lane, pool("check"))))
        assert.strictEqual(missing.reason._tag, "SchemaOutdated")
        assert.include(missing.message, `sluice migrate --only ${tracks[name]?.join(" --only ")}`)
        yield* Effect.provide(Effect.void, Layer.provide(lane, pool("migrate")))
        assert.deepStrictEqual([...new Set((yield* tables).map(trackOf))].toSorted(), tracks[name])
        yield* Effect.provide(Effect.void, Layer.provide(lane, pool("check")))
      }).pipe(Effect.provide(TestDatabase.layer)))
  }

  it.effect("what is not used is not looked at: no lane, no schema", () =>
    Effect.gen(function*() {
      yield* emptied
      yield* Effect.provide(Effect.void, pool("migrate"))
      yield* Effect.provide(Effect.void, pool("check"))
      assert.deepStrictEqual(yield* tables, [])
    }).pipe(Effect.provide(TestDatabase.layer)))

  it.effect("lanes that are built at the same time, twice and in two processes, make each step once", () =>
    Effect.gen(function*() {
      yield* emptied
      const all = Layer.mergeAll(
        lanes["shop"] ?? Layer.empty,
        lanes["jobs"] ?? Layer.empty,
        lanes["fetch"] ?? Layer.empty
      )
      const once = Effect.provide(Effect.void, Layer.provide(Layer.fresh(all), pool("migrate")))
      yield* Effect.all([once, once, once], { concurrency: 3 })
      assert.deepStrictEqual(yield* Migrations.status(), { missing: [], unknown: [] })
    }).pipe(Effect.provide(TestDatabase.layer)))

  it.effect("a database of a newer Sluice is refused by the lane that is newer, and by no other", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`insert into sluice.migrations_fetch (migration_id, name) values (999, 'of_tomorrow')`
      yield* Effect.provide(Effect.void, Layer.provide(lanes["jobs"] ?? Layer.empty, pool("migrate")))
      const refused = yield* Effect.flip(
        Effect.provide(Effect.void, Layer.provide(lanes["fetch"] ?? Layer.empty, pool("migrate")))
      )
      assert.strictEqual(refused.reason._tag, "SchemaTooNew")
    }).pipe(Effect.provide(TestDatabase.layer)))

  it("a track brings those below it, in the order in which they are applied", () => {
    const named = (...names: ReadonlyArray<Migrations.TrackName>) => Migrations.tracksOf(names).map(({ name }) => name)
    assert.deepStrictEqual(named("orders"), ["jobs", "orders"])
    assert.deepStrictEqual(named("orders", "fetch"), ["fetch", "jobs", "orders"])
    assert.deepStrictEqual(named(), [])
    assert.deepStrictEqual([...Migrations.trackNames], Migrations.tracks.map(({ name }) => name))
  })
})
