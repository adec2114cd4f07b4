import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
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
