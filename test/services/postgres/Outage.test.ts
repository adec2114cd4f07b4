/** Outages are told of once by a process, however many of its parts notice. */
import { assert, it } from "@effect/vitest"
import { Effect, Logger, References } from "effect"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import { OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"
import { CurrentAbsence, none, Outage } from "../../../src/services/postgres/Outage.ts"

const gone = new SqlError({ reason: new ConnectionError({ cause: new Error("connect ECONNREFUSED") }) })
const denied = new SqlError({
  reason: new UnknownError({ cause: Object.assign(new Error("permission denied for table job"), { code: "42501" }) })
})

/** What a program says, from a level on, on the test's clock. */
const told = (
  program: Effect.Effect<void>,
  level: "Info" | "All" = "Info"
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) =>
      void lines.push(`${logLevel} ${String(message)}`)
    )
    return program.pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, level),
      Effect.provideService(CurrentAbsence, none()),
      Effect.as(lines)
    )
  })

const three = Effect.gen(function*() {
  const parts = [new Outage("jobs"), new Outage("listener"), new Outage("followers")]
  yield* Effect.all([parts[0]?.worked ?? Effect.void, parts[1]?.worked ?? Effect.void])
  for (let round = 0; round < 20; round++) {
    yield* Effect.forEach(parts, (part) => part.failed("asking", gone))
    yield* TestClock.adjust("300 millis")
  }
  for (const part of parts) yield* part.worked
})

it.effect("three parts that miss the database for six seconds: two lines", () =>
  Effect.gen(function*() {
    const away = "the database is away (asking failed: connect ECONNREFUSED): trying again until it is back"
    assert.deepStrictEqual(yield* told(three), [`Warn ${away}`, "Info the database is back after 6.0 s"])
    // For who looks closer, one line for each further part, and none for each try.
    assert.strictEqual((yield* told(three, "All")).length, 4)
  }))

it.effect("it is back when the first part has it back, though others have not tried since, or never will", () =>
  Effect.gen(function*() {
    const lines = yield* told(Effect.gen(function*() {
      const [one, hourly] = [new Outage("one"), new Outage("hourly")]
      yield* hourly.failed("asking", gone)
      yield* one.failed("asking", gone)
      yield* TestClock.adjust("3 seconds")
      yield* one.worked
      yield* one.worked
      yield* TestClock.adjust("1 hour")
      yield* one.failed("asking later", gone)
      yield* TestClock.adjust("1 second")
      yield* hourly.worked
    }))
    assert.deepStrictEqual(lines.map((line) => line.slice(0, 44)), [
      "Warn the database is away (asking failed: co",
      "Info the database is back after 3.0 s",
      "Warn the database is away (asking later fail",
      "Info the database is back after 1.0 s"
    ])
  }))

it.effect("a late connection that breaks after it is back is no second outage; one that lasts is", () =>
  Effect.gen(function*() {
    const lines = yield* told(Effect.gen(function*() {
      const [one, late] = [new Outage("one"), new Outage("late")]
      yield* one.failed("asking", gone)
      yield* one.worked
      yield* late.failed("asking", gone)
      yield* late.worked
      for (let second = 0; second < 12; second++) {
        yield* late.failed("asking", gone)
        yield* TestClock.adjust("1 second")
      }
      yield* late.worked
    }))
    assert.deepStrictEqual(lines.map((line) => line.slice(0, 37)), [
      "Warn the database is away (asking fai",
      "Info the database is back after 0.0 s",
      "Warn the database is away (asking fai",
      "Info the database is back after 12.0 "
    ])
  }))

it.effect("parts that end take their outage with them", () =>
  Effect.gen(function*() {
    const lines = yield* told(Effect.gen(function*() {
      const one = new Outage("one")
      yield* one.failed("asking", gone)
      one.forget()
      yield* TestClock.adjust("1 minute")
      yield* one.worked
      yield* one.failed("asking", gone)
      yield* TestClock.adjust("1 second")
      yield* one.worked
    }))
    assert.deepStrictEqual(lines.map((line) => line.slice(0, 37)), [
      "Warn the database is away (asking fai",
      "Warn the database is away (asking fai",
      "Info the database is back after 1.0 s"
    ])
  }))

it.effect("what is refused for another reason is told of by each part, once, as errors of the stores are", () =>
  Effect.gen(function*() {
    const lines = yield* told(Effect.gen(function*() {
      const jobs = new Outage("jobs: counters are not added up")
      yield* jobs.failed("folding", denied)
      yield* jobs.failed("folding", denied)
      yield* jobs.worked
      yield* jobs.failed(
        "claiming",
        new JobQueueError({ operation: "claim", reason: "Unavailable", detail: "it is closed" })
      )
      yield* jobs.worked
      yield* TestClock.adjust("10 seconds")
      yield* jobs.failed("expiring", new OrdersStoreError({ operation: "expire", reason: "Unavailable", cause: gone }))
    }))
    assert.deepStrictEqual(lines, [
      "Warn jobs: counters are not added up (folding failed: permission denied for table job): trying again until it works",
      "Info jobs: counters are not added up: it works again",
      "Warn the database is away (claiming failed: it is closed): trying again until it is back",
      "Info the database is back after 0.0 s",
      "Warn the database is away (expiring failed: connect ECONNREFUSED): trying again until it is back"
    ])
  }))
