import { assert, layer } from "@effect/vitest"
import { Effect, Exit } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as StatementTimeout from "../../../src/layers/postgres/StatementTimeout.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const currentTimeout = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ readonly timeout: string }>`select current_setting('statement_timeout') as timeout`
  return rows[0]?.timeout
})

layer(TestDatabase.layer)("StatementTimeout", (it) => {
  it.effect("a statement gets what is left of the deadline, and the next transaction does not", () =>
    Effect.gen(function*() {
      const outside = yield* currentTimeout
      assert.strictEqual(yield* Deadline.within("10 seconds")(StatementTimeout.transaction(currentTimeout)), "10s")
      assert.strictEqual(yield* StatementTimeout.transaction(currentTimeout), outside)
      assert.strictEqual(yield* currentTimeout, outside)
    }))

  it.effect("the server stops a statement that takes longer, and that is the deadline's error", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      // Under a TestClock only the server's own timeout can end this.
      const error = yield* StatementTimeout.transaction(sql`select pg_sleep(60)`).pipe(
        Deadline.within("50 millis"),
        Effect.flip
      )
      assert.strictEqual(error._tag, "DeadlineExceeded")
      assert.strictEqual(error.message, "the SQL transaction did not end within 50ms")
    }))

  it.effect("a deadline that is over is not sent to the server", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Deadline.within(0)(StatementTimeout.transaction(Effect.die("it ran"))))
      assert.isTrue(Exit.isFailure(exit))
      const error = yield* Effect.flip(Effect.suspend(() => exit))
      assert.strictEqual(error._tag, "DeadlineExceeded")
    }))

  it.effect("inside of another transaction the timeout before comes back", () =>
    Effect.gen(function*() {
      const seen = yield* Effect.gen(function*() {
        const inner = yield* Deadline.within("5 seconds")(StatementTimeout.transaction(currentTimeout))
        return [yield* currentTimeout, inner, yield* currentTimeout]
      }).pipe(StatementTimeout.transaction, Deadline.within("20 seconds"))
      assert.deepStrictEqual(seen, ["20s", "5s", "20s"])
    }))

  it.effect("other failures are what they were, and roll back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table timeouts (id int)`
      const work = Effect.andThen(sql`insert into timeouts values (1)`, Effect.fail("mine" as const))
      const error = yield* Effect.flip(Deadline.within("10 seconds")(StatementTimeout.transaction(work)))
      assert.strictEqual(error, "mine")
      assert.deepStrictEqual(yield* sql`select * from timeouts`, [])
    }))
})
