import { assert } from "@effect/vitest"
import { Cause, Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as Cleanup from "../../../src/services/tasks/Cleanup.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { Boom, failuresOf, isInterrupted, makeTrace, scenario } from "../../support/scenario.ts"

const fail = (who: string) => new Boom({ who })
/** Fails when everybody else has started. */
const failSoon = (who: string) => Effect.andThen(Effect.yieldNow, fail(who))
const use = TaskGroup.use<Boom>({ name: "group" })

/** Collects what is logged at error level, and says nothing. */
const logged = () => {
  const lines: Array<string> = []
  const layer = Logger.layer([
    Logger.make<unknown, void>(({ cause, message }) => {
      lines.push(`${String(message)} ${Cause.pretty(cause)}`)
    })
  ])
  return { lines, quietly: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provide(self, layer) }
}

// ---- join, fail fast, aggregation (Trio) -----------------------------------------------------------------------------

scenario(
  "1 Trio test_nursery_main_block_error_basic",
  "a failing body is the failure of the group",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use(() => fail("body")))
    assert.deepStrictEqual(failuresOf(exit), ["body"])
  })
)

scenario(
  "2 Trio test_child_crash_basic",
  "a failing child is the failure of the group, once",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) => group.spawn(fail("child"))))
    assert.deepStrictEqual(failuresOf(exit), ["child"])
  })
)

scenario(
  "3 Trio test_task_crash_propagation",
  "a failure deep down cancels cousins on its way to the top",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(use((outer) =>
      Effect.gen(function*() {
        yield* outer.spawn(untilCancelled("cousin"))
        yield* outer.spawn(use((inner) => Effect.andThen(Effect.orDie(inner.spawn(failSoon("deep"))), Effect.never)))
        return yield* untilCancelled("body")
      })
    ))
    assert.deepStrictEqual(failuresOf(exit), ["deep"])
    assert.sameMembers(events, ["cousin cancelled", "body cancelled"])
  })
)

scenario(
  "4 Trio test_main_and_task_both_crash",
  "body and child fail: the first leads, the other is beside it",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.uninterruptible(failSoon("child")))
        return yield* fail("body")
      })
    ))
    assert.deepStrictEqual(failuresOf(exit), ["body", "child"])
  })
)

scenario(
  "5 Trio test_two_child_crashes",
  "two failing children: both are in the cause, the first one first",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.uninterruptible(Effect.delay(fail("second"), "2 seconds")))
        yield* group.spawn(Effect.delay(fail("first"), "1 second"))
        yield* Effect.forkDetach(TestClock.adjust("3 seconds"))
      })
    ))
    assert.deepStrictEqual(failuresOf(exit), ["first", "second"])
    const caught = yield* Effect.flip(Effect.suspend(() => exit))
    assert.deepStrictEqual(caught, fail("first"))
  })
)

scenario(
  "6 Trio test_child_crash_wakes_parent",
  "a failing child wakes a body that waits for ever",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(
      use((group) => Effect.andThen(group.spawn(failSoon("child")), untilCancelled("body")))
    )
    assert.deepStrictEqual(failuresOf(exit), ["child"])
    assert.deepStrictEqual(events, ["body cancelled"])
  })
)

scenario(
  "7 Trio test_nursery_explicit_exception",
  "a defect of the body cancels the children and stays a defect",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(
      use((group) => Effect.andThen(group.spawn(untilCancelled("child")), Effect.die("bug")))
    )
    assert.deepStrictEqual(failuresOf(exit), ["died: bug"])
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "8 Trio test_nursery_nested_child_misnest",
  "an inner group cannot outlive the task that opened it",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((outer) =>
      Effect.gen(function*() {
        const opened = yield* Deferred.make<void>()
        const task = yield* outer.spawn(
          use((inner) =>
            Effect.andThen(
              inner.spawn(untilCancelled("inner child")),
              Effect.andThen(Deferred.succeed(opened, undefined), Effect.never)
            )
          ).pipe(Effect.catchTag("GroupClosed", Effect.die))
        )
        yield* Deferred.await(opened)
        yield* task.cancel
        assert.deepStrictEqual(events, ["inner child cancelled"])
      })
    )
  })
)

scenario(
  "9 Trio test_nursery_start",
  "start waits until the child is ready, and gives what it said",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const { task, value } = yield* group.start<number, string, never, never>((ready) =>
          Effect.gen(function*() {
            yield* mark("starting")
            yield* ready(8080)
            yield* mark("serving")
            return "done"
          })
        )
        assert.strictEqual(value, 8080)
        assert.strictEqual(yield* task.join, "done")
      })
    )
    assert.deepStrictEqual(events, ["starting", "serving"])
  })
)

scenario(
  "10 Trio test_nursery_start_with_cancelled_nursery",
  "start in a cancelled group is a typed error; nothing runs",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        yield* group.cancel
        const error = yield* Effect.flip(
          group.start((ready) => Effect.andThen(mark("ran"), ready(1)), { name: "late" })
        )
        assert.deepStrictEqual(error, new TaskGroup.GroupClosed({ group: "group", task: "late" }))
      })
    )
    assert.deepStrictEqual(events, [])
  })
)

scenario(
  "11 Trio test_nursery_start_keeps_nursery_open",
  "a body that has ended does not close a group in which a child still starts others",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) =>
        group.spawn(Effect.gen(function*() {
          yield* Effect.sleep("1 second")
          yield* Effect.orDie(
            group.start((ready) =>
              Effect.andThen(ready(undefined), Effect.andThen(Effect.sleep("1 second"), mark("late child")))
            )
          )
        }))
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(events, ["late child"])
  })
)

scenario(
  "12 Trio test_spawn_name",
  "a task is called what it was given, and knows it from inside",
  Effect.gen(function*() {
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Tasks.currentName, { name: "reader" })
        assert.strictEqual(task.name, "reader")
        assert.strictEqual(yield* task.join, "reader")
      })
    )
  })
)

scenario(
  "13 Trio test_task_tree_introspection",
  "the tree shows groups, tasks, depth, age and waits while they live, and nothing after",
  Effect.gen(function*() {
    yield* use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Tasks.waiting("a connection")(Effect.never), { name: "query" })
        yield* group.spawn(
          TaskGroup.use({ name: "inner" })((inner) =>
            Effect.andThen(Effect.orDie(inner.spawn(Effect.never, { name: "leaf" })), Effect.never)
          ),
          { name: "nested" }
        )
        yield* TestClock.adjust("12 seconds")
        assert.strictEqual(
          yield* Tasks.dump,
          [
            "test",
            "  group  12s",
            "    query  12s  waiting: a connection",
            "    nested  12s",
            "      inner  12s",
            "        leaf  12s"
          ].join("\n")
        )
        yield* group.cancel
      })
    )
    assert.strictEqual(yield* Tasks.dump, "test")
  })
)

scenario(
  "14 Trio test_current_effective_deadline",
  "the earliest of all enclosing deadlines is in force",
  Effect.gen(function*() {
    const remaining = Effect.map(Deadline.remaining, Duration.format)
    assert.strictEqual(yield* remaining, "Infinity")
    yield* Effect.gen(function*() {
      assert.strictEqual(yield* remaining, "10s")
      assert.strictEqual(yield* Deadline.within("20 seconds")(remaining), "10s")
      assert.strictEqual(yield* Deadline.within("5 seconds")(remaining), "5s")
    }).pipe(Deadline.within("10 seconds"))
  })
)

scenario(
  "15 Trio test_contextvar_multitask",
  "children inherit references from who spawns them, and cannot change the parent's",
  Effect.gen(function*() {
    const Request = Context.Reference<string>("test/Request", { defaultValue: () => "none" })
    const seen: Array<string> = []
    yield* use((group) =>
      Effect.gen(function*() {
        const look = Effect.map(Request, (value) => void seen.push(value))
        yield* group.spawn(look).pipe(Effect.provideService(Request, "a"))
        yield* group.spawn(Effect.provideService(look, Request, "b")).pipe(Effect.provideService(Request, "c"))
        yield* look
      })
    )
    assert.deepStrictEqual(seen, ["a", "b", "none"])
  })
)

scenario(
  "16 Trio test_very_deep_cancel_scope_nesting",
  "three thousand nested groups, then a failure in the innermost, leave no deep stack",
  Effect.gen(function*() {
    const nest = (depth: number): Effect.Effect<never, Boom> =>
      depth === 0 ? fail("bottom") : TaskGroup.use<Boom>()(() => Effect.suspend(() => nest(depth - 1)))
    assert.deepStrictEqual(failuresOf(yield* Effect.exit(nest(3000))), ["bottom"])
  })
)

scenario(
  "17 Trio test_system_task_crash",
  "a child that dies is a defect of the owner, not silence",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) => Effect.andThen(group.spawn(Effect.die("bug")), Effect.never)))
    assert.deepStrictEqual(failuresOf(exit), ["died: bug"])
  })
)

scenario(
  "18 Trio test_system_task_crash_plus_Cancelled",
  "a defect and the cancellation it causes: the cause has the defect alone",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.never)
        yield* group.spawn(Effect.die("bug"))
        return yield* Effect.never
      })
    ))
    assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.length === 1)
  })
)

// ---- CPython test_taskgroups ------------------------------------------------------------------------------------------

scenario(
  "19 CPython test_cancel_children_on_child_error",
  "siblings of a failed child are cancelled and awaited",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const slow = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("1 second"), mark("cleaned up")))
    const fiber = yield* Effect.forkChild(
      Effect.exit(use((group) =>
        Effect.gen(function*() {
          yield* group.spawn(slow)
          yield* group.spawn(fail("child"))
          return yield* Effect.never
        })
      )),
      { startImmediately: true }
    )
    assert.deepStrictEqual(events, [])
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(failuresOf(yield* Fiber.join(fiber)), ["child"])
    assert.deepStrictEqual(events, ["cleaned up"])
  })
)

scenario(
  "20 CPython test_taskgroup_02",
  "a body may spawn, sleep and spawn again",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) =>
        Effect.gen(function*() {
          yield* group.spawn(mark("first"))
          yield* Effect.sleep("1 second")
          yield* group.spawn(mark("second"))
        })
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(events, ["first", "second"])
  })
)

scenario(
  "21 CPython test_taskgroup_03",
  "cancelling one child is no failure and leaves the others alone",
  Effect.gen(function*() {
    const result = yield* use((group) =>
      Effect.gen(function*() {
        const victim = yield* group.spawn(Effect.never)
        const other = yield* group.spawn(Effect.succeed(42))
        yield* victim.cancel
        assert.isTrue(isInterrupted(yield* victim.await))
        return yield* other.join
      })
    )
    assert.strictEqual(result, 42)
  })
)

scenario(
  "22 CPython test_taskgroup_09/10",
  "a body that fails cancels children that have not ended and keeps results of those that have",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    let finished: Exit.Exit<number> | undefined
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        const quick = yield* group.spawn(Effect.succeed(1))
        yield* group.spawn(untilCancelled("slow"))
        finished = yield* quick.await
        return yield* fail("body")
      })
    ))
    assert.deepStrictEqual(finished, Exit.succeed(1))
    assert.deepStrictEqual(failuresOf(exit), ["body"])
    assert.deepStrictEqual(events, ["slow cancelled"])
  })
)

scenario(
  "23 CPython test_taskgroup_11/12",
  "cancelling the owner reaches the children of nested groups, innermost first",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use(() =>
        use((inner) => Effect.andThen(inner.spawn(untilCancelled("inner child")), untilCancelled("inner body")))
      ),
      { startImmediately: true }
    )
    yield* Fiber.interrupt(fiber)
    assert.sameMembers(events, ["inner child cancelled", "inner body cancelled"])
  })
)

scenario(
  "24 CPython test_taskgroup_13/14",
  "the outer fails first: the inner is cancelled and adds nothing; the inner first: the outer passes it on",
  Effect.gen(function*() {
    const run = (innerDelay: number, outerDelay: number) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(
          Effect.exit(use((outer) =>
            Effect.gen(function*() {
              yield* outer.spawn(Effect.delay(fail("outer"), innerDelay === 1 ? outerDelay * 1000 : 1000))
              return yield* use((inner) =>
                Effect.andThen(inner.spawn(Effect.delay(fail("inner"), innerDelay * 1000)), Effect.never)
              )
            })
          )),
          { startImmediately: true }
        )
        yield* TestClock.adjust("5 seconds")
        return failuresOf(yield* Fiber.join(fiber))
      })
    assert.deepStrictEqual(yield* run(1, 2), ["inner"])
    assert.deepStrictEqual(yield* run(2, 1), ["outer"])
  })
)

scenario(
  "25 CPython test_taskgroup_15/16",
  "a child that fails in its own cleanup after a cancel is beside the first failure",
  Effect.gen(function*() {
    const failsInCleanup = Effect.matchCauseEffect(Effect.never, {
      onFailure: () => fail("cleanup"),
      onSuccess: () => Effect.void
    })
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(
          Effect.uninterruptibleMask((restore) => Effect.catchCause(restore(Effect.never), () => fail("cleanup")))
        )
        yield* group.spawn(failsInCleanup)
        yield* group.spawn(fail("first"))
      })
    ))
    assert.strictEqual(failuresOf(exit)[0], "first")
    assert.include(failuresOf(exit), "cleanup")
  })
)

scenario(
  "26 CPython test_taskgroup_18",
  "a body that fails while it handles its cancellation: the child's failure leads",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.andThen(
        group.spawn(failSoon("child")),
        Effect.uninterruptibleMask((restore) => Effect.catchCause(restore(Effect.never), () => fail("body")))
      )
    ))
    assert.deepStrictEqual(failuresOf(exit), ["child", "body"])
  })
)

scenario(
  "27 CPython test_taskgroup_19/20",
  "a sibling whose cleanup dies: the typed failure stays typed, the defect is logged",
  Effect.gen(function*() {
    const log = logged()
    const error = yield* use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.ensuring(Effect.never, Effect.die("cleanup bug")), { name: "sibling" })
        yield* group.spawn(fail("first"))
        return yield* Effect.never
      })
    ).pipe(Effect.catchTag("Boom", Effect.succeed), log.quietly)
    assert.deepStrictEqual(error, fail("first"))
    assert.strictEqual(log.lines.length, 1)
    assert.include(log.lines[0], "cleanup bug")
  })
)

scenario(
  "27b CPython test_taskgroup_20 (own cleanup)",
  "with Cleanup.ensuring a task's own dying cleanup does not hide its typed failure",
  Effect.gen(function*() {
    const log = logged()
    const plain = yield* Effect.exit(Effect.ensuring(fail("task"), Effect.die("cleanup bug")))
    // What plain Effect does: the failure has become a defect, and catchTag no longer sees it.
    assert.isTrue(Exit.isFailure(plain) && plain.cause.reasons.every(Cause.isDieReason))
    const kept = yield* fail("task").pipe(
      Cleanup.ensuring(Effect.die("cleanup bug")),
      Effect.catchTag("Boom", (error) => Effect.succeed(error.who)),
      log.quietly
    )
    assert.strictEqual(kept, "task")
    assert.include(log.lines[0], "cleanup bug")
    // After a success there is nothing to protect: the defect is the outcome.
    assert.deepStrictEqual(failuresOf(yield* Effect.exit(Cleanup.ensuring(Effect.die("bug"))(Effect.succeed(1)))), [
      "died: bug"
    ])
  })
)

scenario(
  "28 CPython test_taskgroup_23/24/25",
  "a child spawns a child, which spawns another: the group waits for all",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) => {
      const grow = (n: number): Effect.Effect<void, TaskGroup.GroupClosed> =>
        n === 0 ? mark("last") : Effect.asVoid(Effect.andThen(Effect.yieldNow, group.spawn(Effect.orDie(grow(n - 1)))))
      return grow(20)
    })
    assert.deepStrictEqual(events, ["last"])
  })
)

scenario(
  "29 CPython test_taskgroup_no_create_task_after_failure",
  "while a group fails, spawn is a typed error and nothing runs",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const refused: Array<string> = []
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.onInterrupt(Effect.never, () =>
          Effect.match(group.spawn(mark("ran"), { name: "late" }), {
            onFailure: (error) => void refused.push(error.message),
            onSuccess: () => {}
          })))
        yield* group.spawn(fail("first"))
        return yield* Effect.never
      })
    ))
    assert.deepStrictEqual(failuresOf(exit), ["first"])
    assert.deepStrictEqual(refused, ["group is closing or closed: late was not started"])
    assert.deepStrictEqual(events, [])
  })
)

scenario(
  "30 CPython test_taskgroup_finished",
  "spawn into a group that has ended is a typed error",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const group = yield* use((group) => Effect.succeed(group))
    const error = yield* Effect.flip(group.spawn(mark("ran"), { name: "late" }))
    assert.strictEqual(error._tag, "GroupClosed")
    assert.deepStrictEqual(events, [])
    assert.strictEqual(yield* group.size, 0)
  })
)

scenario(
  "31 CPython test_nested_groups_both_cancelled",
  "an interruption ends inner and outer group once each",
  Effect.gen(function*() {
    const { events, mark, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((outer) =>
        Effect.andThen(
          outer.spawn(untilCancelled("outer child")),
          Effect.ensuring(
            use((inner) => Effect.andThen(inner.spawn(untilCancelled("inner child")), Effect.never)),
            mark("inner left")
          )
        )
      ).pipe(Effect.ensuring(mark("outer left"))),
      { startImmediately: true }
    )
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(events.toSorted(), [
      "inner child cancelled",
      "inner left",
      "outer child cancelled",
      "outer left"
    ])
    assert.strictEqual(events.at(-1), "outer left")
  })
)

scenario(
  "32 CPython test_error_and_cancel",
  "a failure and an outer interruption at once: the owner is interrupted (Effect: interruption wins), all cleanup runs",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) =>
        Effect.gen(function*() {
          yield* group.spawn(
            Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("1 second"), mark("cleaned up")))
          )
          yield* group.spawn(failSoon("child"))
        })
      ),
      { startImmediately: true }
    )
    const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(interruption)
    const exit = yield* Fiber.await(fiber)
    assert.isTrue(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))
    assert.deepStrictEqual(events, ["cleaned up"])
  })
)

scenario(
  "33 CPython test_taskgroup_07/08/17",
  "an outer interruption cancels body and children and comes out as an interruption",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) => Effect.andThen(group.spawn(untilCancelled("child")), untilCancelled("body"))),
      { startImmediately: true }
    )
    yield* Fiber.interrupt(fiber)
    assert.sameMembers(events, ["child cancelled", "body cancelled"])
    assert.isTrue(isInterrupted(yield* Fiber.await(fiber)))
  })
)

// ---- anyio ------------------------------------------------------------------------------------------------------------

scenario(
  "34 anyio test_start_crash_before_started_call",
  "what fails before it is ready fails start, and not the group",
  Effect.gen(function*() {
    const result = yield* use((group) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(group.start<number, never, Boom, never>(() => fail("early")))
        assert.deepStrictEqual(error, fail("early"))
        const never = yield* Effect.flip(group.start<number, void, never, never>(() => Effect.void, { name: "mute" }))
        assert.deepStrictEqual(never, new TaskGroup.TaskNotReady({ task: "mute" }))
        return "alive"
      })
    )
    assert.strictEqual(result, "alive")
  })
)

scenario(
  "35 anyio test_start_crash_after_started_call",
  "what fails after it is ready fails the group",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.andThen(
        group.start<number, never, Boom, never>((ready) =>
          Effect.andThen(ready(1), Effect.andThen(Effect.yieldNow, fail("late")))
        ),
        Effect.never
      )
    ))
    assert.deepStrictEqual(failuresOf(exit), ["late"])
  })
)

scenario(
  "36 anyio test_start_cancelled",
  "interrupting the wait for readiness cancels the child and awaits its cleanup",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const starter = yield* Effect.forkChild(group.start(() => untilCancelled("child")), { startImmediately: true })
        yield* Fiber.interrupt(starter)
        assert.deepStrictEqual(events, ["child cancelled"])
      })
    )
  })
)

scenario(
  "37 anyio test_failing_child_task_cancels_host",
  "a failing child interrupts the sleep of its host",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* Effect.exit(
      use((group) =>
        Effect.andThen(group.spawn(Effect.andThen(Effect.yieldNow, fail("child"))), untilCancelled("host"))
      )
    )
    assert.deepStrictEqual(events, ["host cancelled"])
  })
)

scenario(
  "38 anyio test_failing_host_task_cancels_children",
  "a failing host interrupts the sleep of its children",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* Effect.exit(use((group) => Effect.andThen(group.spawn(untilCancelled("child")), fail("host"))))
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "39 anyio test_exception_group_children",
  "three children that fail together are all in the cause",
  Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const exit = yield* Effect.exit(use((group) =>
      Effect.gen(function*() {
        for (const who of ["a", "b", "c"]) {
          yield* group.spawn(Effect.uninterruptible(Effect.andThen(Deferred.await(gate), fail(who))))
        }
        yield* Deferred.succeed(gate, undefined)
      })
    ))
    assert.deepStrictEqual(failuresOf(exit), ["a", "b", "c"])
  })
)

scenario(
  "40 anyio test_exception_group_host",
  "a child that fails while the host's failure closes the group is kept beside it",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.andThen(
        group.spawn(
          Effect.uninterruptibleMask((restore) => Effect.catchCause(restore(Effect.never), () => fail("child")))
        ),
        fail("host")
      )
    ))
    assert.deepStrictEqual(failuresOf(exit), ["host", "child"])
  })
)

scenario(
  "41 anyio test_nested_task_group_filtering",
  "a handler around the inner group catches its failure; the outer goes on",
  Effect.gen(function*() {
    const result = yield* use((outer) =>
      Effect.gen(function*() {
        const other = yield* outer.spawn(Effect.andThen(Effect.yieldNow, Effect.succeed("alive")))
        const caught = yield* use((inner) => Effect.andThen(inner.spawn(fail("inner")), Effect.never)).pipe(
          Effect.catchTag("Boom", (error) => Effect.succeed(error.who))
        )
        return [caught, yield* other.join]
      })
    )
    assert.deepStrictEqual(result, ["inner", "alive"])
  })
)

scenario(
  "42 anyio test_cancel_propagation_with_inner_spawn",
  "a task spawned just before the cancel is cancelled too",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.andThen(Effect.orDie(group.spawn(untilCancelled("inner"))), untilCancelled("outer")))
        yield* group.cancel
      })
    )
    assert.sameMembers(events, ["inner cancelled", "outer cancelled"])
  })
)

scenario(
  "43 anyio test_taskgroup_reentry",
  "the same description can be run again: each run has a group of its own",
  Effect.gen(function*() {
    const program = use((group) => Effect.flatMap(group.spawn(Effect.succeed(1)), (task) => task.join))
    assert.deepStrictEqual([yield* program, yield* program], [1, 1])
  })
)

scenario(
  "44 anyio test_cancel_before_entering_task_group",
  "an owner that is interrupted before it opens the group starts nothing",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(Effect.andThen(Effect.yieldNow, use((group) => group.spawn(mark("ran")))))
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(events, [])
  })
)

scenario(
  "45 anyio test_task_name_default/custom",
  "a task without a name is called task; a lazy name is made when it is read",
  Effect.gen(function*() {
    let made = 0
    yield* use((group) =>
      Effect.gen(function*() {
        const plain = yield* group.spawn(Effect.never)
        const lazy = yield* group.spawn(Effect.never, { name: () => `lazy ${++made}` })
        assert.strictEqual(plain.name, "task")
        assert.strictEqual(made, 0)
        assert.strictEqual(lazy.name, "lazy 1")
        yield* group.cancel
      })
    )
  })
)

scenario(
  "46 anyio test_return_value/test_exception/test_cancel/test_wait",
  "a handle gives value, failure and cancellation, as often as asked",
  Effect.gen(function*() {
    yield* TaskGroup.use<Boom>({ onFailure: "keep" })((group) =>
      Effect.gen(function*() {
        const value = yield* group.spawn(Effect.succeed(42))
        const failing = yield* group.spawn(fail("task"))
        const cancelled = yield* group.spawn(Effect.never)
        yield* cancelled.cancel
        assert.deepStrictEqual([yield* value.join, yield* value.join], [42, 42])
        assert.deepStrictEqual(yield* Effect.flip(failing.join), fail("task"))
        assert.deepStrictEqual(yield* failing.await, Exit.fail(fail("task")))
        assert.isTrue(isInterrupted(yield* cancelled.await))
      })
    )
  })
)

// ---- Effection --------------------------------------------------------------------------------------------------------

scenario(
  "47 Effection 'halts child when finishing normally'",
  "differs: a body that ends waits for its children; `cancel` before the end gives the other behaviour",
  Effect.gen(function*() {
    const { events, mark, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) => group.spawn(Effect.andThen(Effect.sleep("1 second"), mark("finished")))),
      {
        startImmediately: true
      }
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    yield* use((group) => Effect.andThen(group.spawn(untilCancelled("service")), group.cancel))
    assert.deepStrictEqual(events, ["finished", "service cancelled"])
  })
)

scenario(
  "48 Effection 'rejects when child errors during completing'",
  "a child that fails after the body has ended fails the group",
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Effect.exit(use((group) => group.spawn(Effect.delay(fail("late"), "1 second")))),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(failuresOf(yield* Fiber.join(fiber)), ["late"])
  })
)

scenario(
  "49 Effection 'rejects when child errors during halting'",
  "a child that fails while a group is cancelled without error makes it an error",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(use((group) =>
      Effect.andThen(
        group.spawn(
          Effect.uninterruptibleMask((restore) => Effect.catchCause(restore(Effect.never), () => fail("halting")))
        ),
        group.cancel
      )
    ))
    assert.deepStrictEqual(failuresOf(exit), ["halting"])
  })
)

scenario(
  "50 Effection 'runs destructors in reverse order and in series'",
  "within a task finalizers run last first, one after the other",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const step = (name: string) =>
      Effect.acquireRelease(mark(`open ${name}`), () => Effect.andThen(Effect.yieldNow, mark(`close ${name}`)))
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.scoped(Effect.gen(function*() {
          yield* step("a")
          yield* step("b")
          return yield* Effect.never
        })))
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, ["open a", "open b", "close b", "close a"])
  })
)

scenario(
  "51 Effection 'halts when child finishes during asynchronous halt'",
  "a child that ends by itself during the cancel changes nothing",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      use((group) =>
        Effect.gen(function*() {
          yield* group.spawn(Effect.uninterruptible(Effect.andThen(Effect.sleep("1 second"), mark("ended"))))
          yield* group.cancel
          return "body"
        })
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(fiber), "body")
    assert.deepStrictEqual(events, ["ended"])
  })
)

scenario(
  "52 Effection 'still closes open resources whenever something errors'",
  "resources of the body are closed after the children have ended",
  Effect.gen(function*() {
    const { events, mark, untilCancelled } = makeTrace()
    yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
      yield* Effect.acquireRelease(mark("open"), () => mark("close"))
      return yield* use((group) => Effect.andThen(group.spawn(untilCancelled("user of it")), fail("body")))
    })))
    assert.deepStrictEqual(events, ["open", "user of it cancelled", "close"])
  })
)

scenario(
  "53 Effection 'can halt the resource constructor if the containing task halts'",
  "an interruptible acquisition is stopped by a cancel and opens nothing",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.scoped(
          Effect.acquireRelease(Effect.andThen(Effect.never, mark("open")), () => mark("close"), {
            interruptible: true
          })
        ))
        yield* task.cancel
      })
    )
    assert.deepStrictEqual(events, [])
  })
)

scenario(
  "54 Effection 'can halt itself'",
  "a task can cancel its group from inside, itself included, without error",
  Effect.gen(function*() {
    const { events, mark, untilCancelled } = makeTrace()
    const result = yield* use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(untilCancelled("sibling"))
        yield* group.spawn(
          Effect.andThen(
            Effect.yieldNow,
            Effect.ensuring(Effect.andThen(group.cancel, Effect.never), mark("self cancelled"))
          )
        )
        yield* group.awaitEmpty
        return "body goes on"
      })
    )
    assert.strictEqual(result, "body goes on")
    assert.sameMembers(events, ["sibling cancelled", "self cancelled"])
  })
)

// ---- beyond the lists -------------------------------------------------------------------------------------------------

scenario(
  "own: empty group",
  "a group without children ends with its body",
  Effect.gen(function*() {
    assert.strictEqual(yield* use(() => Effect.succeed(1)), 1)
  })
)

scenario(
  "own: group deadline",
  "children have the deadline of the group, not of who spawned them",
  Effect.gen(function*() {
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* Deadline.within("1 second")(group.spawn(Deadline.remaining))
        assert.strictEqual(Duration.format(yield* task.join), "10s")
      })
    ).pipe(Deadline.within("10 seconds"))
  })
)

scenario(
  "own: grace",
  "who overstays the grace is named in the log and left behind, and the owner goes on",
  Effect.gen(function*() {
    const log = logged()
    const release = yield* Deferred.make<void>()
    const fiber = yield* Effect.forkChild(
      Effect.exit(
        TaskGroup.use<Boom>({ name: "crawl", grace: "5 seconds" })((group) =>
          Effect.gen(function*() {
            yield* group.spawn(Effect.uninterruptible(Deferred.await(release)), { name: "stuck" })
            yield* group.spawn(fail("child"))
            return yield* Effect.never
          })
        )
      ).pipe(log.quietly),
      { startImmediately: true }
    )
    yield* TestClock.adjust("5 seconds")
    assert.deepStrictEqual(failuresOf(yield* Fiber.join(fiber)), ["child"])
    assert.include(log.lines[0], "left behind after a grace of 5s: stuck")
    assert.include(yield* Tasks.dump, "stuck  5s  overstaying")
    yield* Deferred.succeed(release, undefined)
    assert.strictEqual(yield* Tasks.liveCount, 0)
  })
)

scenario(
  "own: cancel by id",
  "a task can be cancelled by its number in the tree",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* use((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(untilCancelled("task"))
        assert.isTrue(yield* Tasks.cancel(task.id))
        assert.isFalse(yield* Tasks.cancel(task.id))
      })
    )
    assert.deepStrictEqual(events, ["task cancelled"])
  })
)

scenario(
  "own: time of names",
  "a group is as old as its clock says",
  Effect.gen(function*() {
    yield* TestClock.adjust("1 minute")
    yield* use((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Effect.never, { name: "old" })
        yield* TestClock.adjust("90 seconds")
        const tree = yield* Tasks.snapshot({ scope: "current" })
        assert.deepStrictEqual(tree.tasks.map((task) => [task.name, task.ageMillis, task.parentId === null]), [
          ["group", 90_000, true],
          ["old", 90_000, false]
        ])
        assert.strictEqual(yield* Clock.currentTimeMillis, 150_000)
        yield* group.cancel
      })
    )
  })
)
