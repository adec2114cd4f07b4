import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

layer(TestDatabase.layer)("Database", (it) => {
  it.effect("answers on both pools, with our name and time limit", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const reader = yield* Database.ReadClient
      const query = (client: PgClient.PgClient) =>
        client<{ readonly name: string; readonly timeout: string }>`
          select current_setting('application_name') as name, current_setting('statement_timeout') as timeout`
      assert.deepStrictEqual([...(yield* query(sql))], [{ name: "sluice", timeout: "1min" }])
      assert.deepStrictEqual([...(yield* query(reader))], [{ name: "sluice-read", timeout: "1min" }])
    }))
})

describe("TestDatabase", () => {
  const create = Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    yield* sql`create table mine (id int)`
  })
  it.effect("gives each test a database of its own", () => create.pipe(Effect.provide(TestDatabase.layer)))
  it.effect("and another one", () => create.pipe(Effect.provide(TestDatabase.layer)))
})
