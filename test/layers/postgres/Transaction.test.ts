import { assert, layer } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Ref } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import * as Transaction from "../../../src/layers/postgres/Transaction.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import { OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import { InvalidOption } from "../../../src/services/tasks/InvalidOption.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const setting = (name: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ readonly value: string }>`select current_setting(${name}) as value`
    return rows[0]?.value
  })

const currentTimeout = setting("statement_timeout")

/** An error of the server's with this SQLSTATE. */
const raise = (sql: SqlClient.SqlClient, code: string) =>
  sql.unsafe(`do $$ begin raise exception 'on purpose' using errcode = '${code}'; end $$`)

layer(TestDatabase.layer)("Transaction", (it) => {
  it.effect("a statement gets what is left of the deadline, and the next transaction does not", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const outside = yield* currentTimeout
      assert.strictEqual(yield* Deadline.within("10 seconds")(Transaction.run(sql)(currentTimeout)), "10s")
      assert.strictEqual(yield* Transaction.run(sql)(currentTimeout), outside)
      assert.strictEqual(yield* currentTimeout, outside)
    }))

  it.effect("what it waited for a connection is not left any more", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const hasOnly = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(
        sql.withTransaction(Effect.andThen(Deferred.succeed(hasOnly, undefined), Deferred.await(release)))
      )
      yield* Deferred.await(hasOnly)
      const waiting = yield* Effect.forkChild(Deadline.marked(10_000)(Transaction.run(sql)(currentTimeout)), {
        startImmediately: true
      })
      yield* TestClock.adjust("4 seconds")
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(holder)
      assert.strictEqual(yield* Fiber.join(waiting), "6s")
    }).pipe(Effect.provide(TestDatabase.secondPool({ poolMax: 1 }))))

  it.effect("the server stops a statement that takes longer, and that is the deadline's error", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      // Under a TestClock only the server's own timeout can end this.
      const error = yield* Transaction.run(sql)(sql`select pg_sleep(60)`).pipe(
        Deadline.within("50 millis"),
        Effect.flip
      )
      assert.strictEqual(error._tag, "DeadlineExceeded")
      assert.strictEqual(error.message, "the SQL transaction did not end within 50ms")
    }))

  it.effect("a deadline that is over is not sent to the server", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const unasked = Object.assign(() => assert.fail("it asked the server"), sql, {
        withTransaction: () => Effect.die("it asked the server")
      })
      const error = yield* Effect.flip(Deadline.marked(0)(Transaction.run(unasked)(Effect.die("it ran"))))
      assert.strictEqual(error._tag, "DeadlineExceeded")
    }))

  it.effect("inside of another transaction its limits hold for its own statements, whoever began the other", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const inner = Transaction.run(sql, { lockTimeout: "2 seconds" })(
        Effect.all([currentTimeout, setting("lock_timeout")])
      ).pipe(Deadline.within("5 seconds"))
      const both = Effect.all([currentTimeout, setting("lock_timeout"), inner, currentTimeout, setting("lock_timeout")])
      assert.deepStrictEqual(
        yield* Deadline.within("20 seconds")(Transaction.run(sql)(both)),
        ["20s", "0", ["5s", "2s"], "20s", "0"]
      )
      assert.deepStrictEqual(yield* sql.withTransaction(both), ["1min", "0", ["5s", "2s"], "1min", "0"])
    }))

  it.effect("inside of another transaction a failure undoes its own work and limits, and the other goes on", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table outers (id int)`
      const late = Effect.andThen(sql`insert into outers values (2)`, sql`select pg_sleep(60)`)
      const failing = Effect.andThen(sql`insert into outers values (3)`, Effect.fail({ _tag: "mine" } as const))
      const seen = yield* Transaction.run(sql)(Effect.gen(function*() {
        yield* sql`insert into outers values (1)`
        const first = yield* Effect.flip(Deadline.within("50 millis")(Transaction.run(sql)(late)))
        const second = yield* Effect.flip(Transaction.run(sql)(failing))
        return [first._tag, second._tag, yield* currentTimeout]
      })).pipe(Deadline.within("20 seconds"))
      assert.deepStrictEqual(seen, ["DeadlineExceeded", "mine", "20s"])
      assert.deepStrictEqual([...(yield* sql`select id from outers`)], [{ id: 1 }])
    }))

  it.effect("other failures are what they were, and roll back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table timeouts (id int)`
      const work = Effect.andThen(sql`insert into timeouts values (1)`, Effect.fail("mine" as const))
      const error = yield* Effect.flip(Deadline.within("10 seconds")(Transaction.run(sql)(work)))
      assert.strictEqual(error, "mine")
      assert.deepStrictEqual(yield* sql`select * from timeouts`, [])
    }))

  it.effect("settings hold until the end; a statement timeout among them comes before the deadline's and is not its error", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table slow (id int)`
      const slow = Effect.andThen(sql`insert into slow values (1)`, sql`select pg_sleep(10)`)
      const error = yield* Transaction.withSettings(sql, { statement_timeout: "50ms" })(slow).pipe(
        Deadline.within("20 seconds"),
        Effect.flip
      )
      assert.isTrue(error._tag === "SqlError" && error.reason._tag === "StatementTimeoutError")
      assert.deepStrictEqual([...(yield* sql`select * from slow`)], [])
      const other = Transaction.withSettings(sql, { lock_timeout: "3s" })(
        Effect.all([currentTimeout, setting("lock_timeout")])
      )
      assert.deepStrictEqual(yield* other, ["1min", "3s"])
      assert.deepStrictEqual(yield* Deadline.within("20 seconds")(other), ["20s", "3s"])
      assert.deepStrictEqual(yield* Effect.all([currentTimeout, setting("lock_timeout")]), ["1min", "0"])
    }))

  it.effect("a wait for a lock that makes no sense is refused by name", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const exit = yield* Effect.exit(Transaction.run(sql, { lockTimeout: "-1 seconds" })(Effect.void))
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.isTrue(defect instanceof InvalidOption && defect.option === "Transaction lockTimeout")
    }))

  /** How often a failing effect is tried, on a clock on which every wait is over at once, and how long it waited in all. */
  const triesOf = Effect.fnUntraced(function*<E>(
    run: (self: Effect.Effect<unknown, SqlError>) => Effect.Effect<unknown, E>,
    failing: Effect.Effect<unknown, SqlError>
  ) {
    const tries = yield* Ref.make(0)
    const clock = yield* Clock.Clock
    let waitedMillis = 0
    yield* Effect.exit(run(Effect.andThen(Ref.update(tries, (count) => count + 1), failing))).pipe(
      Effect.provideService(Clock.Clock, {
        ...clock,
        sleep: (duration) =>
          Effect.sync(() => {
            waitedMillis += Duration.toMillis(duration)
          })
      })
    )
    assert.isBelow(waitedMillis, 400)
    return yield* Ref.get(tries)
  })

  it.effect("is run again after a conflict only where it says so, and never inside of another transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const again = Transaction.run(sql, { isRetried: true })
      assert.strictEqual(yield* triesOf(again, raise(sql, "40001")), 7)
      assert.strictEqual(yield* triesOf(again, raise(sql, "40P01")), 7)
      assert.strictEqual(yield* triesOf(Transaction.run(sql), raise(sql, "40001")), 1)
      assert.strictEqual(yield* triesOf((self) => sql.withTransaction(again(self)), raise(sql, "40001")), 1)
      assert.strictEqual(yield* triesOf(again, raise(sql, "22012")), 1)
      assert.strictEqual(yield* triesOf(again, raise(sql, "55P03")), 1)
    }))

  it.effect("a conflict that a wing has put into errors of its own is one too, but for a lock that was waited for in vain", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const wrapped = Effect.mapError((cause: SqlError) =>
        new OrdersStoreError({
          operation: "test",
          reason: "Conflict",
          cause: new JobQueueError({ operation: "test", reason: "Conflict", detail: "", cause })
        })
      )
      const again = (self: Effect.Effect<unknown, SqlError>) => Transaction.retryConflicts(wrapped(self))
      assert.strictEqual(yield* triesOf(again, raise(sql, "40001")), 7)
      assert.strictEqual(yield* triesOf(again, raise(sql, "55P03")), 1)
      // The queue's own: unique jobs that came and went under its statement.
      const own = Effect.mapError(() => new JobQueueError({ operation: "insert", reason: "Conflict", detail: "" }))
      const ownAgain = (self: Effect.Effect<unknown, SqlError>) => Transaction.retryConflicts(own(self))
      assert.strictEqual(yield* triesOf(ownAgain, raise(sql, "40001")), 7)
      const rejected = Effect.mapError(() => new JobQueueError({ operation: "insert", reason: "Rejected", detail: "" }))
      const rejectedAgain = (self: Effect.Effect<unknown, SqlError>) => Transaction.retryConflicts(rejected(self))
      assert.strictEqual(yield* triesOf(rejectedAgain, raise(sql, "40001")), 1)
    }))
})
