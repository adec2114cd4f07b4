import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { leakFree } from "../../support/leakFree.ts"

it.effect("a nest of ten thousand groups and deadlines starts, ends and is interrupted without a deep stack", () =>
  leakFree(Effect.gen(function*() {
    const nest = <A>(depth: number, core: Effect.Effect<A>): Effect.Effect<A, Deadline.DeadlineExceeded> =>
      depth === 0
        ? core
        : Deadline.within("1 hour")(TaskGroup.use()(() => Effect.suspend(() => nest(depth - 1, core))))
    assert.strictEqual(yield* nest(10_000, Effect.succeed(1)), 1)
    const fiber = yield* Effect.forkChild(nest(10_000, Effect.never))
    while ((yield* Tasks.liveCount) < 10_000) yield* Effect.yieldNow
    assert.strictEqual((yield* Tasks.snapshot({ maxTasks: 100 })).omitted, 10_001 - 100)
    yield* Fiber.interrupt(fiber)
    assert.strictEqual(yield* Tasks.liveCount, 0)
  })))

it.effect("the root of a tree is as old as the tree, whatever the clock says", () =>
  Effect.gen(function*() {
    yield* TestClock.setTime(Date.UTC(2026, 0, 1))
    const ages = yield* Effect.gen(function*() {
      yield* TestClock.adjust("3 seconds")
      return yield* Effect.map(Tasks.snapshot(), ({ tasks }) => tasks.map((task) => [task.kind, task.ageMillis]))
    }).pipe(Tasks.named("task"), Tasks.isolated("tree"))
    assert.deepStrictEqual(ages, [["root", 3000], ["task", 3000]])
  }))

it.live("the root of the process began when the process did", () =>
  Effect.gen(function*() {
    const [root] = (yield* Tasks.snapshot({ maxTasks: 1 })).tasks
    assert.strictEqual(root?.kind, "root")
    assert.isAtMost(root?.ageMillis ?? Infinity, process.uptime() * 1000)
  }))
