/** The time between the word and the drain, in which everything goes on. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"

const states = (shutdown: Shutdown.Shutdown) => Effect.all([shutdown.isLeaving, shutdown.isDraining])

it.effect("goes on for the longest time that was asked for, then drains within the whole grace", () =>
  Effect.scoped(Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    yield* shutdown.goOnFor("2 seconds")
    yield* shutdown.goOnFor("5 seconds")
    yield* Effect.scoped(shutdown.goOnFor("1 hour"))
    yield* shutdown.onDrain("slow", Effect.never)
    const drain = yield* Effect.forkChild(shutdown.drain("SIGTERM", "10 seconds"), { startImmediately: true })
    const asked = yield* Effect.forkChild(shutdown.awaitDraining, { startImmediately: true })
    yield* TestClock.adjust("4999 millis")
    assert.deepStrictEqual(yield* states(shutdown), [true, false])
    assert.isUndefined(asked.pollUnsafe())
    yield* TestClock.adjust("1 millis")
    assert.deepStrictEqual(yield* states(shutdown), [true, true])
    assert.strictEqual(yield* Fiber.join(asked), "SIGTERM")
    yield* TestClock.adjust("9999 millis")
    assert.isUndefined(drain.pollUnsafe())
    yield* TestClock.adjust("1 millis")
    assert.deepStrictEqual(yield* Fiber.join(drain), { reason: "SIGTERM", overstayed: ["slow"] })
  })))

it.effect("is hurried once, and only while it goes on", () =>
  Effect.scoped(Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    yield* shutdown.goOnFor("1 hour")
    assert.isFalse(shutdown.hurryUnsafe())
    const drain = yield* Effect.forkChild(shutdown.drain("SIGTERM", "1 hour"), { startImmediately: true })
    assert.deepStrictEqual(yield* states(shutdown), [true, false])
    assert.isTrue(shutdown.hurryUnsafe())
    assert.deepStrictEqual(yield* Fiber.join(drain), { reason: "SIGTERM", overstayed: [] })
    assert.isFalse(shutdown.hurryUnsafe())
  })))

it.effect("begins at once when nobody asked for time", () =>
  Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    yield* Effect.forkChild(shutdown.drain("SIGINT", "1 hour"), { startImmediately: true })
    assert.deepStrictEqual(yield* states(shutdown), [true, true])
    assert.isFalse(shutdown.hurryUnsafe())
  }))
