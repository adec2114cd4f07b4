import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as Migrations from "../../../src/layers/postgres/Migrations.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const statement = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.asVoid(sql.unsafe(text)))
const where = "here"

const water = (steps: number): Migrations.Track => ({
  name: "water",
  steps: Object.fromEntries(
    Array.from({ length: steps }, (_, n) => [`${n + 1}_step`, statement(`create table sluice.water_${n + 1} (id int)`)])
  )
})
const gate = (steps: number): Migrations.Track => ({ ...water(0), name: "gate", ...gateSteps(steps) })
const gateSteps = (steps: number) => ({
  steps: Object.fromEntries(
    Array.from({ length: steps }, (_, n) => [`${n + 1}_step`, statement(`create table sluice.gate_${n + 1} (id int)`)])
  )
})

it.effect("applies what is missing in each track, whatever the others have", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* Migrations.run(where, [water(2)]), ["water/1_step", "water/2_step"])
    assert.deepStrictEqual(yield* Migrations.run(where, [gate(1), water(3)]), ["gate/1_step", "water/3_step"])
    assert.deepStrictEqual(yield* Migrations.run(where, [gate(1), water(3)]), [])
    yield* Migrations.check(where, [gate(1), water(3)])
  }).pipe(Effect.provide(TestDatabase.layer)))

it.effect("names the command when the schema is behind, and the other way round", () =>
  Effect.gen(function*() {
    yield* Migrations.run(where, [water(1)])
    const behind = yield* Effect.flip(Migrations.check(where, [water(2), gate(1)]))
    assert.strictEqual(behind.reason._tag, "SchemaOutdated")
    assert.include(behind.message, "sluice migrate")
    assert.include(behind.message, "water/2_step, gate/1_step")
    const ahead = yield* Effect.flip(Migrations.check(where, [water(0)]))
    assert.strictEqual(ahead.reason._tag, "SchemaTooNew")
  }).pipe(Effect.provide(TestDatabase.layer)))

it.effect("a step that fails undoes all tracks and says which and why", () =>
  Effect.gen(function*() {
    const bad: Migrations.Track = {
      name: "bad",
      steps: { "1_wrong": statement("create table sluice.water_1 (id nonsense)") }
    }
    const error = yield* Effect.flip(Migrations.run(where, [water(1), bad]))
    assert.strictEqual(error.reason._tag, "MigrationFailed")
    assert.include(error.message, "1_wrong")
    assert.include(error.message, "nonsense")
    assert.deepStrictEqual(yield* Migrations.status([water(1)]), { missing: ["water/1_step"], unknown: [] })
  }).pipe(Effect.provide(TestDatabase.layer)))

layer(TestDatabase.layer)("processes that migrate at the same time", (it) => {
  it.effect("apply each step once", () =>
    Effect.gen(function*() {
      const done = yield* Effect.all(
        Array.from({ length: 5 }, () =>
          Migrations.run(where, [water(3), gate(2)]).pipe(
            Effect.provide(TestDatabase.secondPool())
          )),
        { concurrency: 5 }
      )
      assert.strictEqual(done.flat().length, 5)
      const sql = yield* PgClient.PgClient
      assert.strictEqual((yield* sql`select * from pg_tables where tablename like 'water\\_%'`).length, 3)
    }))
})
