/** A group that lives in a scope: it ends with it, joins as `use` would, and loses no failure. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Logger, Schema, Scope } from "effect"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { leakFree } from "../../support/leakFree.ts"

class Broken extends Schema.TaggedError<Broken>()("Broken", {}) {}

/** What was logged as an error meanwhile. */
const errorsOf = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const errors: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      if (logLevel === "Error") errors.push(String(message))
    })
    return Effect.as(Effect.provide(self, Logger.layer([logger])), errors)
  })

describe("TaskGroup.scoped", () => {
  it.effect("closing the scope cancels the children and waits for their cleanup", () =>
    leakFree(Effect.gen(function*() {
      const cleaned: Array<string> = []
      const scope = yield* Scope.make()
      const group = yield* Scope.provide(TaskGroup.scoped({ name: "feed" }), scope)
      const slow = yield* Deferred.make<void>()
      yield* group.spawn(
        Effect.never.pipe(Effect.ensuring(Effect.andThen(Deferred.await(slow), Effect.sync(() => cleaned.push("a")))))
      )
      yield* group.spawn(Effect.never.pipe(Effect.ensuring(Effect.sync(() => cleaned.push("b")))))
      assert.strictEqual(yield* Tasks.liveCount, 3, "the group and its two tasks")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      assert.isUndefined(closing.pollUnsafe(), "the first is still cleaning up")
      yield* Deferred.succeed(slow, undefined)
      yield* Effect.andThen(Effect.yieldNow, Scope.close(scope, Exit.void))
      assert.strictEqual(yield* Tasks.liveCount, 0)
      assert.deepStrictEqual(cleaned.toSorted(), ["a", "b"])
      const late = yield* Effect.flip(group.spawn(Effect.void, { name: "late" }))
      assert.strictEqual(late._tag, "GroupClosed")
      assert.include(late.message, "feed")
    })))

  it.effect("join waits for children, those that children spawn included, and then the group is closed", () =>
    leakFree(Effect.scoped(Effect.gen(function*() {
      const group = yield* TaskGroup.scoped()
      const ended: Array<number> = []
      const chain = (n: number): Effect.Effect<void, TaskGroup.GroupClosed> =>
        Effect.gen(function*() {
          yield* Effect.yieldNow
          if (n > 0) yield* Effect.asVoid(group.spawn(Effect.ignore(chain(n - 1))))
          ended.push(n)
        })
      yield* group.spawn(Effect.ignore(chain(5)))
      yield* group.join
      assert.deepStrictEqual(new Set(ended), new Set([0, 1, 2, 3, 4, 5]))
      assert.strictEqual((yield* Effect.flip(group.spawn(Effect.void)))._tag, "GroupClosed")
      yield* group.join
    }))))

  it.effect("the first failure cancels the others and is that of join; nothing is logged then", () =>
    Effect.gen(function*() {
      let cancelled = 0
      const errors = yield* errorsOf(Effect.scoped(Effect.gen(function*() {
        const group = yield* TaskGroup.scoped<Broken>()
        yield* group.spawn(Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => cancelled++))))
        yield* group.spawn(Effect.fail(new Broken({})))
        assert.strictEqual((yield* Effect.flip(group.join))._tag, "Broken")
      })))
      assert.strictEqual(cancelled, 1)
      assert.deepStrictEqual(errors, [])
    }))

  it.effect("a failure that nobody joined is in the log, with the group's name", () =>
    Effect.gen(function*() {
      const errors = yield* errorsOf(Effect.scoped(Effect.gen(function*() {
        const group = yield* TaskGroup.scoped<Broken>({ name: "feed" })
        yield* group.spawn(Effect.fail(new Broken({})))
      })))
      assert.lengthOf(errors, 1)
      assert.include(errors[0], "feed")
    }))

  it.effect("kept failures are for who reads the task", () =>
    leakFree(Effect.scoped(Effect.gen(function*() {
      const group = yield* TaskGroup.scoped<Broken>({ onFailure: "keep" })
      const task = yield* group.spawn(Effect.fail(new Broken({})))
      assert.isTrue(Exit.isFailure(yield* task.await))
      yield* (yield* group.spawn(Effect.void)).join
      yield* group.join
    }))))
})
