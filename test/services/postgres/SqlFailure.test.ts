/**
 * What each SQLSTATE means: raised in a real server, through the real client, and read alike by every wing.
 */
import { assert, layer } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as JobSql from "../../../src/layers/jobs/JobSql.ts"
import * as StoreFailure from "../../../src/layers/orders/StoreFailure.ts"
import * as SqlFailure from "../../../src/services/postgres/SqlFailure.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** Of each class of Postgres' appendix A at least one code, with every exception within its class. */
const meaning: ReadonlyArray<readonly [SqlFailure.Reason, string]> = [
  ["Unavailable", "08000 08001 08003 08004 08006 08P01 25006 25P03 28000 28P01 3D000 53000 53100 53200 53300 53400"],
  ["Unavailable", "57000 57P01 57P02 57P03 57P04 57P05 58000 58030 58P01 F0000"],
  ["Conflict", "40000 40001 40003 40P01 55006 55P03"],
  ["TimedOut", "57014 25P04"],
  ["Rejected", "01000 02000 03000 09000 0A000 0B000 0F000 0L000 0P000 0Z000 20000 21000 22000 22003 22021 22P02 22P05"],
  ["Rejected", "23000 23502 23503 23505 23514 24000 25000 25P01 25P02 26000 27000 2B000 2D000 2F000 34000 38000 39000"],
  ["Rejected", "3B000 3F000 40002 42000 42501 42601 42703 42P01 44000 54000 54001 55000 72000 HV000 P0001 XX000 XX001"]
]

const isData = (code: string): boolean => ["22", "23", "54"].includes(code.slice(0, 2))

const raise = (code: string) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql.unsafe(`do $$ begin raise exception 'as ordered' using errcode = '${code}'; end $$`)
  )

layer(TestDatabase.layer)("what a SQL error means", (it) => {
  for (const [reason, codes] of meaning) {
    it.effect(`${reason}: ${codes}`, () =>
      Effect.gen(function*() {
        for (const code of codes.split(" ")) {
          const error = yield* Effect.flip(raise(code))
          assert.strictEqual(SqlFailure.codeOf(error), code)
          assert.deepStrictEqual([code, SqlFailure.reasonOf(error)], [code, reason])
          assert.strictEqual(SqlFailure.detailOf(error), "as ordered")
          assert.deepStrictEqual([code, SqlFailure.isData(error)], [code, isData(code)])
          const inJobs = yield* Effect.flip(JobSql.operation("test")(raise(code)))
          const inOrders = yield* Effect.flip(StoreFailure.named("test")(raise(code)))
          assert.deepStrictEqual([code, inJobs.reason, inOrders.reason], [code, reason, reason])
        }
      }))
  }

  it.effect("a broken connection, also when its rollback is what reports it", () =>
    Effect.gen(function*() {
      const gone = new SqlError({ reason: new ConnectionError({ cause: new Error("gone") }) })
      for (const broken of [Effect.fail(gone), Effect.die(gone)]) {
        const error = yield* Effect.flip(JobSql.operation("test")(broken))
        assert.strictEqual(error.reason, "Unavailable")
      }
    }))

  it.effect("what is no database error passes as it was", () =>
    Effect.gen(function*() {
      const defect = new Error("a bug")
      const exit = yield* Effect.exit(JobSql.operation("test")(Effect.die(defect)))
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === defect)
      assert.strictEqual(yield* Effect.flip(StoreFailure.named("test")(Effect.fail("typed" as const))), "typed")
    }))
})
