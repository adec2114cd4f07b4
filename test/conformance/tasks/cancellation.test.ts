import { assert } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import * as CancelReason from "../../../src/services/tasks/CancelReason.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import { Boom, failuresOf, isInterrupted, makeTrace, scenario } from "../../support/scenario.ts"

const use = TaskGroup.use<Boom>({ name: "group" })

scenario(
  "55 Trio test_precancelled_task",
  "a task that is cancelled before it could go on does not go on",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.andThen(Effect.yieldNow, mark("went on")))
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, [])
  })
)

scenario(
  "56 Trio test_cancel_edge_cases",
  "cancelling twice, and cancelling what has ended, change nothing",
  Effect.gen(function*() {
    yield* use((group) =>
      Effect.gen(function*() {
        const ended = yield* group.spawn(Effect.succeed(1))
        yield* ended.cancel
        assert.strictEqual(yield* ended.join, 1)
        yield* group.cancel
        yield* group.cancel
      })
    )
  })
)

scenario(
  "57 Trio test_cancel_shielding",
  "an uninterruptible part runs to its end, then the cancel takes effect",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) =>
        Effect.gen(function*() {
          const task = yield* group.spawn(Effect.andThen(
            Effect.uninterruptible(Effect.andThen(Effect.sleep("1 second"), mark("shielded part"))),
            mark("after the shield")
          ))
          yield* task.cancel
        })
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(events, ["shielded part"])
  })
)

scenario(
  "58 Trio test_cancel_inheritance",
  "the cancel of a task reaches the groups that it opened",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((outer) =>
      Effect.gen(function*() {
        const task = yield* outer.spawn(FanOut.all([untilCancelled("a"), untilCancelled("b")]))
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, ["a cancelled", "b cancelled"])
  })
)

scenario(
  "59 Trio test_cancel_shield_abort",
  "a group opened inside a shield is not cancelled from outside",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      Effect.uninterruptible(FanOut.all([Effect.andThen(Effect.sleep("1 second"), mark("child ended"))])),
      { startImmediately: true }
    )
    const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(interruption)
    assert.deepStrictEqual(events, ["child ended"])
  })
)

scenario(
  "60 Trio test_unshield_while_cancel_propagating",
  "an interruptible island in a shield is cut by a cancel that waits outside",
  Effect.gen(function*() {
    const { events, mark, untilCancelled } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const task = yield* group.spawn(Effect.uninterruptible(
          Effect.andThen(Deferred.await(gate), Effect.exit(Effect.interruptible(untilCancelled("island"))))
        ))
        const cancelling = yield* Effect.forkChild(task.cancel, { startImmediately: true })
        yield* mark("cancel waits")
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(cancelling)
      })
    )
    assert.strictEqual(events[0], "cancel waits")
  })
)

scenario(
  "61 Trio test_slow_abort_basic",
  "cancel waits for asynchronous cleanup",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(
          Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("1 second"), mark("cleaned up")))
        )
        const cancelling = yield* Effect.forkChild(Effect.andThen(task.cancel, mark("cancel returned")), {
          startImmediately: true
        })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(cancelling)
      })
    )
    assert.deepStrictEqual(events, ["cleaned up", "cancel returned"])
  })
)

scenario(
  "62 Trio test_failed_abort",
  "work that swallows its interruption ends as cancelled all the same",
  Effect.gen(function*() {
    const exit = yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.catchCause(Effect.never, () => Effect.succeed("swallowed")))
        yield* task.cancel
        return yield* task.await
      })
    )
    assert.isTrue(isInterrupted(exit))
  })
)

scenario(
  "63 Trio test_cancel_reason/test_cancel_reason_not_overwritten",
  "the cause of a cancelled task says why, and the first reason stays",
  Effect.gen(function*() {
    const reasons: Array<string> = []
    const note = Effect.onExit(Effect.never, (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit)) reasons.push(Option.getOrElse(CancelReason.of(exit.cause), () => "none"))
      }))
    yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(note)
        yield* group.spawn(new Boom({ who: "x" }), { name: "parser" })
      })
    ))
    yield* use((group) => Effect.andThen(group.spawn(note), Effect.andThen(group.cancel, group.cancel)))
    const fiber = yield* Effect.forkChild(Effect.exit(Deadline.within("10 seconds")(note)), { startImmediately: true })
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(reasons, ["parser failed", "group was cancelled", "deadline of 10s passed"])
  })
)

scenario(
  "64 anyio test_cancel_twice",
  "a second cancel during cleanup does not cut the cleanup short",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) =>
        Effect.gen(function*() {
          yield* group.spawn(
            Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("1 second"), mark("cleaned up")))
          )
          yield* group.cancel
          yield* group.cancel
        })
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(events, ["cleaned up"])
  })
)

scenario(
  "65 anyio test_cancel_exiting_task_group",
  "an owner that waits for its children at the end can be interrupted there",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(use((group) => group.spawn(untilCancelled("child"))), {
      startImmediately: true
    })
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "66 anyio test_cancel_shielded_scope",
  "a shielded group does its work although its task is cancelled before",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(
          Effect.onInterrupt(Effect.never, () => Effect.asVoid(FanOut.all([mark("a"), mark("b")])))
        )
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, ["a", "b"])
  })
)

scenario(
  "67 anyio test_shielded_cleanup_after_cancel",
  "cleanup may sleep, spawn and wait",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const cleanup = use((group) =>
      Effect.flatMap(group.spawn(Effect.andThen(Effect.sleep("1 second"), mark("flushed"))), (task) => task.join)
    )
    const fiber = yield* Effect.forkChild(Effect.onInterrupt(Effect.never, () => Effect.orDie(cleanup)), {
      startImmediately: true
    })
    const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(interruption)
    assert.deepStrictEqual(events, ["flushed"])
  })
)

scenario(
  "68 anyio test_triple_nested_shield_checkpoint_in_outer/middle",
  "three masks: each restores what was around it",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      Effect.uninterruptibleMask((outer) =>
        Effect.andThen(
          Effect.uninterruptibleMask(() =>
            Effect.andThen(Effect.uninterruptibleMask((inner) => inner(Effect.yieldNow)), mark("middle"))
          ),
          Effect.andThen(mark("outer"), outer(mark("never")))
        )
      ),
      { startImmediately: true }
    )
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(events, ["middle", "outer"])
  })
)

scenario(
  "69 anyio test_cancel_cascade",
  "ten levels of groups: one cancel ends all, leaves first",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const level = (n: number): Effect.Effect<unknown, TaskGroup.GroupClosed> =>
      Effect.ensuring(
        n === 0 ? Effect.never : TaskGroup.use<TaskGroup.GroupClosed>()((group) => group.spawn(level(n - 1))),
        mark(String(n))
      )
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.orDie(level(10)))
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"])
  })
)

scenario(
  "70 anyio test_cancel_completed_task",
  "cancelling a completed task keeps its result",
  Effect.gen(function*() {
    const exit = yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.succeed("result"))
        yield* task.cancel
        return yield* task.await
      })
    )
    assert.deepStrictEqual(exit, Exit.succeed("result"))
  })
)

scenario(
  "71 Kotlin NonCancellableTest.testNonCancellableFinally/Twice",
  "a finalizer may wait, twice in a row",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      Effect.never.pipe(
        Effect.ensuring(Effect.andThen(Effect.sleep("1 second"), mark("first"))),
        Effect.ensuring(Effect.andThen(Effect.sleep("1 second"), mark("second")))
      ),
      { startImmediately: true }
    )
    const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(interruption)
    assert.deepStrictEqual(events, ["first", "second"])
  })
)

scenario(
  "72 Kotlin AtomicCancellationCommonTest.testAtomicLaunch",
  "a spawned child has always started: its cleanup is never skipped",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(untilCancelled("child"))
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "73 Kotlin ParentCancellationTest",
  "a failing child cancels its parent group; a cancelled child does not",
  Effect.gen(function*() {
    const cancelled = yield* use((group) =>
      Effect.andThen(Effect.flatMap(group.spawn(Effect.never), (task) => task.cancel), Effect.succeed("parent lives"))
    )
    const failed = yield* Effect.exit(
      use((group) => Effect.andThen(group.spawn(new Boom({ who: "child" })), Effect.never))
    )
    assert.strictEqual(cancelled, "parent lives")
    assert.deepStrictEqual(failuresOf(failed), ["child"])
  })
)

scenario(
  "74 Kotlin CoroutineScopeTest.testCoroutineScopeCancellationVsException",
  "a failure that comes while the owner is being interrupted does not hide the interruption",
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      use((group) =>
        group.spawn(
          Effect.uninterruptibleMask((restore) =>
            Effect.catchCause(restore(Effect.never), () => new Boom({ who: "child" }))
          )
        )
      ),
      { startImmediately: true }
    )
    yield* Fiber.interrupt(fiber)
    const exit = yield* Fiber.await(fiber)
    assert.isTrue(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))
  })
)

scenario(
  "75 aiotools test_cancel_and_wait_taskgroup_error_during_cancellation",
  "a task that fails in its cancellation: cancel returns, the failure is the group's",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(
          Effect.uninterruptibleMask((restore) =>
            Effect.catchCause(restore(Effect.never), () => new Boom({ who: "cleanup" }))
          )
        )
        yield* Effect.ensuring(task.cancel, mark("cancel returned"))
        return yield* Effect.never
      })
    ))
    assert.deepStrictEqual(failuresOf(exit), ["cleanup"])
    assert.deepStrictEqual(events, ["cancel returned"])
  })
)

scenario(
  "76 aiotools test_cancel_and_wait_grouped_cancellation",
  "many waiters of one cancel all return after the cleanup",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(
          Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.yieldNow, mark("cleaned up")))
        )
        yield* FanOut.all([0, 1, 2].map((n) => Effect.andThen(task.cancel, mark(`waiter ${n}`))))
      })
    )
    assert.strictEqual(events[0], "cleaned up")
    assert.strictEqual(events.length, 4)
  })
)

scenario(
  "77 tokio-util cancel_only_all_descendants",
  "cancelling a subtree leaves its siblings and ancestors",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((root) =>
      Effect.gen(function*() {
        const left = yield* root.spawn(FanOut.all([untilCancelled("left/a"), untilCancelled("left/b")]))
        yield* root.spawn(untilCancelled("right"))
        yield* left.cancel
        assert.deepStrictEqual(events, ["left/a cancelled", "left/b cancelled"])
        assert.strictEqual(yield* root.size, 1)
        yield* root.cancel
      })
    )
  })
)
