/** `FanOut.all` gives back what it was given: a tuple, a record, an array. The types are part of what is tested. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"

const one = Effect.succeed(1)
const word = Effect.as(Effect.yieldNow, "two")

it.effect("a tuple gives a tuple, each place with its own type", () =>
  Effect.gen(function*() {
    const both: [number, string] = yield* FanOut.all([one, Effect.succeed("two")])
    assert.deepStrictEqual(both, [1, "two"])
  }))

it.effect("a record gives a record, whoever is first", () =>
  Effect.gen(function*() {
    const both: { first: string; second: number } = yield* FanOut.all({ first: word, second: one })
    assert.deepStrictEqual(both, { first: "two", second: 1 })
    assert.deepStrictEqual(Object.keys(both), ["first", "second"])
  }))

it.effect("any other list gives an array", () =>
  Effect.gen(function*() {
    const numbers: Array<number> = yield* FanOut.all(new Set([one, Effect.succeed(3)]))
    assert.deepStrictEqual(numbers, [1, 3])
    const many: Array<number> = yield* FanOut.all(Array.from({ length: 3 }, () => one))
    assert.deepStrictEqual(many, [1, 1, 1])
    assert.deepStrictEqual(yield* FanOut.all([]), [])
    assert.deepStrictEqual(yield* FanOut.all({}), {})
  }))

it.effect("the tasks of a record are called by its keys, unless the caller names them", () =>
  Effect.gen(function*() {
    const own = Tasks.currentName
    assert.deepStrictEqual(yield* FanOut.all({ left: own, right: own }), { left: "left", right: "right" })
    const called = yield* FanOut.all({ left: own }, { taskName: (_, index) => `number ${index}` })
    assert.deepStrictEqual(called, { left: "number 0" })
  }))

it.effect("the first failure of a record cancels the rest", () =>
  Effect.gen(function*() {
    let cancelled = 0
    const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void cancelled++))
    const exit = yield* Effect.exit(FanOut.all({ slow, broken: Effect.fail("broken" as const) }))
    assert.deepStrictEqual(exit, Exit.fail("broken"))
    assert.strictEqual(cancelled, 1)
  }))

it.effect("keys that mean something to JavaScript are keys", () =>
  Effect.gen(function*() {
    const odd = yield* FanOut.all({ ["__proto__"]: one, constructor: one })
    assert.deepStrictEqual(Object.entries(odd), [["__proto__", 1], ["constructor", 1]])
  }))
