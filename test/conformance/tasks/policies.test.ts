import { assert } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Supervisor from "../../../src/services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { Boom, failuresOf, isInterrupted, makeTrace, scenario } from "../../support/scenario.ts"

const fail = (who: string) => new Boom({ who })
const keep = TaskGroup.use<Boom>({ onFailure: "keep" })

scenario(
  "96 Kotlin SupervisorTest.testSupervisorScopeIsolation",
  "with onFailure keep a failing child leaves the others alone",
  Effect.gen(function*() {
    const result = yield* keep((group) =>
      Effect.gen(function*() {
        yield* group.spawn(fail("child"))
        const other = yield* group.spawn(Effect.andThen(Effect.yieldNow, Effect.succeed("alive")))
        return yield* other.join
      })
    )
    assert.strictEqual(result, "alive")
  })
)

scenario(
  "97 Kotlin SupervisorTest.testSupervisorThrowsWithFailingChild",
  "a failing body fails the group also with onFailure keep, and cancels the children",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(keep((group) => Effect.andThen(group.spawn(untilCancelled("child")), fail("body"))))
    assert.deepStrictEqual(failuresOf(exit), ["body"])
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "98 Kotlin SupervisorTest.testSupervisorWithParentCancelException",
  "interrupting the owner cancels kept children too",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(keep((group) => group.spawn(untilCancelled("child"))), {
      startImmediately: true
    })
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "99 Kotlin AwaitTest.testAwaitAllMultipleExceptions",
  "all: the first failure, the others beside it",
  Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const exit = yield* Effect.exit(FanOut.all([
      ...["a", "b"].map((who) => Effect.uninterruptible(Effect.andThen(Deferred.await(gate), fail(who)))),
      Effect.andThen(Deferred.succeed(gate, undefined), Effect.never)
    ]))
    assert.deepStrictEqual(failuresOf(exit), ["a", "b"])
  })
)

scenario(
  "100 Kotlin AwaitTest.testAwaitAllEmpty",
  "nothing to do is done at once",
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* FanOut.all([]), [])
    assert.deepStrictEqual(yield* FanOut.collect([], () => Effect.void), [])
    assert.deepStrictEqual(yield* Stream.runCollect(FanOut.stream([], () => Effect.void)), [])
    assert.deepStrictEqual(yield* Stream.runCollect(FanOut.batches([], 10, () => Effect.void)), [])
  })
)

scenario(
  "101 aiotools test_race_all_failure_with_continue_on_error",
  "firstSuccess when all fail: every failure, in the order of time",
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Effect.exit(
        FanOut.firstSuccess([Effect.delay(fail("slow"), "2 seconds"), Effect.delay(fail("quick"), "1 second")])
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual(failuresOf(yield* Fiber.join(fiber)), ["quick", "slow"])
  })
)

scenario(
  "102 aiotools test_race_empty_coro_list",
  "a race without runners is a typed error and does not wait for ever",
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* Effect.exit(FanOut.firstSuccess([])), Exit.fail(new FanOut.NoTasks()))
    assert.deepStrictEqual(yield* Effect.exit(FanOut.firstCompleted([])), Exit.fail(new FanOut.NoTasks()))
  })
)

scenario(
  "101b T4 first success",
  "the first success wins over earlier failures; the others are cancelled",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const winner = yield* FanOut.firstSuccess([
      fail("early"),
      untilCancelled("slow"),
      Effect.andThen(Effect.yieldNow, Effect.succeed("won"))
    ])
    assert.strictEqual(winner, "won")
    assert.deepStrictEqual(events, ["slow cancelled"])
  })
)

scenario(
  "101c T4 first completed",
  "the first to end wins, a failure too; the others are cancelled",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(FanOut.firstCompleted([
      untilCancelled("slow"),
      Effect.andThen(Effect.yieldNow, fail("first"))
    ]))
    assert.deepStrictEqual(failuresOf(exit), ["first"])
    assert.deepStrictEqual(events, ["slow cancelled"])
  })
)

scenario(
  "103 aiotools test_as_completed_safe_error_from_body",
  "a reader of the stream that fails cancels what still runs",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(
      FanOut.stream([1, 2], (n) => n === 1 ? Effect.succeed(n) : untilCancelled("second")).pipe(
        Stream.runForEach(() => fail("reader"))
      )
    )
    assert.deepStrictEqual(failuresOf(exit), ["reader"])
    assert.deepStrictEqual(events, ["second cancelled"])
  })
)

scenario(
  "104 aiotools test_ptaskgroup_shutdown_from_different_task",
  "another fiber can cancel a group that it was given",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const handed = yield* Deferred.make<TaskGroup.TaskGroup<Boom>>()
    const owner = yield* Effect.forkChild(keep((group) =>
      Effect.gen(function*() {
        yield* group.spawn(untilCancelled("child"))
        yield* Deferred.succeed(handed, group)
        yield* group.awaitEmpty
        return "body ended"
      })
    ))
    const group = yield* Deferred.await(handed)
    yield* group.cancel
    assert.strictEqual(yield* Fiber.join(owner), "body ended")
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

scenario(
  "105 aiotools test_ptaskgroup_error_in_exc_handlers",
  "a kept child that fails in the handler of its own failure: its handle has it, the group goes on",
  Effect.gen(function*() {
    const exit = yield* keep((group) =>
      Effect.flatMap(group.spawn(Effect.catchTag(fail("first"), "Boom", () => fail("handler"))), (task) => task.await)
    )
    assert.deepStrictEqual(failuresOf(exit), ["handler"])
  })
)

scenario(
  "106 aiotools test_ptaskgroup_enumeration",
  "the children of a group can be listed by name while they live",
  Effect.gen(function*() {
    yield* TaskGroup.use({ name: "service" })((group) =>
      Effect.gen(function*() {
        for (const name of ["a", "b", "c"]) yield* group.spawn(Effect.never, { name })
        const tree = yield* Tasks.snapshot({ scope: "current" })
        assert.deepStrictEqual(tree.tasks.map((task) => task.name), ["service", "a", "b", "c"])
        yield* group.cancel
      })
    )
  })
)

scenario(
  "107 anyio test_as_completed_early_exit",
  "results come in completion order; leaving early cancels the rest",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const task = (seconds: number) =>
      Effect.onInterrupt(Effect.as(Effect.sleep(`${seconds} seconds`), seconds), () => mark(`${seconds} cancelled`))
    const fiber = yield* Effect.forkChild(
      Stream.runCollect(Stream.take(FanOut.stream([4, 1, 3, 2], task), 2)),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
    assert.deepStrictEqual(events, ["4 cancelled", "3 cancelled"])
  })
)

scenario(
  "108 anyio test_gather_results_in_order",
  "forEach gives results in the order of the items, whatever the order of completion",
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      FanOut.forEach([3, 1, 2], (n) => Effect.as(Effect.sleep(`${n} seconds`), n * 10)),
      { startImmediately: true }
    )
    yield* TestClock.adjust("3 seconds")
    assert.deepStrictEqual(yield* Fiber.join(fiber), [30, 10, 20])
  })
)

scenario(
  "109 tokio JoinSet test_abort_on_drop",
  "leaving the scope of a stream aborts and, unlike tokio, awaits its tasks",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const cleanup = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.yieldNow, mark("cleaned up")))
    yield* Effect.scoped(Effect.gen(function*() {
      const pull = yield* Stream.toPull(FanOut.stream([1, 2], (n) => n === 1 ? Effect.succeed(n) : cleanup))
      yield* pull
    }))
    assert.deepStrictEqual(events, ["cleaned up"])
  })
)

scenario(
  "110 tokio JoinSet abort_all",
  "abort_all is cancel and awaitEmpty",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* TaskGroup.use()((group) =>
      Effect.gen(function*() {
        for (let i = 0; i < 5; i++) yield* group.spawn(untilCancelled(String(i)))
        yield* group.cancel
        yield* group.awaitEmpty
        assert.strictEqual(events.length, 5)
      })
    )
  })
)

scenario(
  "111 tokio-util JoinMap duplicate_keys",
  "two tasks may have the same name; they are two tasks",
  Effect.gen(function*() {
    yield* TaskGroup.use()((group) =>
      Effect.gen(function*() {
        const a = yield* group.spawn(Effect.succeed(1), { name: "same" })
        const b = yield* group.spawn(Effect.succeed(2), { name: "same" })
        assert.notStrictEqual(a.id, b.id)
        assert.deepStrictEqual([yield* a.join, yield* b.join], [1, 2])
      })
    )
  })
)

scenario(
  "112 tokio-util JoinMap try_join_next_skips_replaced_task",
  "the end of an old task does not unlink a newer one",
  Effect.gen(function*() {
    yield* TaskGroup.use({ name: "group" })((group) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        yield* group.spawn(Deferred.await(gate), { name: "old" })
        yield* group.spawn(Effect.never, { name: "new" })
        yield* Deferred.succeed(gate, undefined)
        yield* Effect.yieldNow
        const names = (yield* Tasks.snapshot({ scope: "current" })).tasks.map((task) => task.name)
        assert.deepStrictEqual(names, ["group", "new"])
        yield* group.cancel
      })
    )
  })
)

scenario(
  "113 tokio-util JoinMap abort_by_predicate",
  "tasks can be found in the tree by name and cancelled by number",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* TaskGroup.use()((group) =>
      Effect.gen(function*() {
        for (const name of ["fetch a", "parse a", "fetch b"]) yield* group.spawn(untilCancelled(name), { name })
        const tree = yield* Tasks.snapshot()
        for (const task of tree.tasks.filter((task) => task.name.startsWith("fetch"))) yield* Tasks.cancel(task.id)
        assert.deepStrictEqual(events, ["fetch a cancelled", "fetch b cancelled"])
        yield* group.cancel
      })
    )
  })
)

scenario(
  "114 conc 'panics do not exhaust goroutines'",
  "tasks that die free their slot: collect goes through all of them",
  Effect.gen(function*() {
    const exits = yield* FanOut.collect(
      Array.from({ length: 100 }, (_, i) => i),
      (i) => i % 2 === 0 ? Effect.die(`bug ${i}`) : Effect.succeed(i),
      { concurrency: 3 }
    )
    assert.strictEqual(exits.filter(Exit.isSuccess).length, 50)
    assert.deepStrictEqual(failuresOf(exits[98] ?? Exit.void), ["died: bug 98"])
  })
)

scenario(
  "114b conc 'WithCancelOnError and panic'",
  "a task that dies cancels the rest of a fan-out",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* Effect.exit(
      FanOut.all([untilCancelled("other"), Effect.andThen(Effect.yieldNow, Effect.die("bug"))])
    )
    assert.deepStrictEqual(failuresOf(exit), ["died: bug"])
    assert.deepStrictEqual(events, ["other cancelled"])
  })
)

scenario(
  "114c conc result_pool 'deterministic order'",
  "collect gives failures and successes in the order of the items",
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      FanOut.collect(
        [3, 1, 2],
        (n) => Effect.andThen(Effect.sleep(`${n} seconds`), n === 1 ? fail("one") : Effect.succeed(n))
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("3 seconds")
    assert.deepStrictEqual(yield* Fiber.join(fiber), [Exit.succeed(3), Exit.fail(fail("one")), Exit.succeed(2)])
  })
)

scenario(
  "115 x/sync errgroup TestGoLimit",
  "never more tasks than the limit, and never fewer while there is work",
  Effect.gen(function*() {
    let running = 0
    let most = 0
    const fiber = yield* Effect.forkChild(
      FanOut.forEachDiscard(Array.from({ length: 100 }), () =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++running)
          }),
          () => Effect.sleep("1 second"),
          () => Effect.sync(() => running--)
        ), { concurrency: 7 }),
      { startImmediately: true }
    )
    for (let i = 0; i < 14; i++) {
      assert.strictEqual(running, 7)
      yield* TestClock.adjust("1 second")
    }
    assert.strictEqual(running, 2)
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.strictEqual(most, 7)
  })
)

scenario(
  "115b x/sync errgroup TestCancelCause",
  "after a failure no further item is pulled, and a generator gets its finally",
  Effect.gen(function*() {
    let pulled = 0
    let isClosed = false
    const items = function*() {
      try {
        for (;;) yield pulled++
      } finally {
        isClosed = true
      }
    }
    const exit = yield* Effect.exit(
      FanOut.forEach(items(), (n) => n === 5 ? fail("five") : Effect.yieldNow, { concurrency: 2 })
    )
    assert.deepStrictEqual(failuresOf(exit), ["five"])
    assert.isAtMost(pulled, 8)
    assert.isTrue(isClosed)
  })
)

scenario(
  "115c tokio 6547, T6",
  "a million items are never more fibers than the limit",
  Effect.gen(function*() {
    let most = 0
    function* items() {
      for (let i = 0; i < 1_000_000; i++) yield i
    }
    yield* FanOut.forEachDiscard(
      items(),
      (i) =>
        i % 10_000 === 0 ? Effect.map(Tasks.liveCount, (count) => void (most = Math.max(most, count))) : Effect.void,
      { concurrency: 50 }
    )
    assert.isAtMost(most, 51)
    assert.isAbove(most, 0)
  })
)

scenario(
  "own: T5 batches",
  "one batch at a time, the next when the reader asks",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const batches = FanOut.batches([1, 2, 3, 4, 5], 2, (n, index) => Effect.as(mark(`run ${n}`), [n, index] as const))
    yield* Stream.runForEach(batches, (batch) => mark(`batch ${batch.map(([n, index]) => `${n}@${index}`).join(" ")}`))
    assert.deepStrictEqual(events, [
      "run 1",
      "run 2",
      "batch 1@0 2@1",
      "run 3",
      "run 4",
      "batch 3@2 4@3",
      "run 5",
      "batch 5@4"
    ])
  })
)

scenario(
  "own: T3 backpressure",
  "tasks wait while the reader is behind",
  Effect.gen(function*() {
    let started = 0
    yield* Effect.scoped(Effect.gen(function*() {
      const pull = yield* Stream.toPull(
        FanOut.stream(Array.from({ length: 100 }), () => Effect.sync(() => started++), {
          concurrency: 2,
          bufferSize: 2
        })
      )
      yield* pull
      for (let i = 0; i < 50; i++) yield* Effect.yieldNow
      assert.isAtMost(started, 10)
    }))
  })
)

// ---- supervision (OTP, Oban.Nursery) ------------------------------------------------------------------------------------

const everySecond = Schedule.spaced("1 second")

scenario(
  "own: T11 restart",
  "a child that fails is restarted with backoff until it succeeds",
  Effect.gen(function*() {
    let runs = 0
    const child = Effect.suspend(() => ++runs < 3 ? fail(`run ${runs}`) : Effect.succeed(runs))
    const fiber = yield* Effect.forkChild(Supervisor.run({ backoff: everySecond, name: "poller" })(child), {
      startImmediately: true
    })
    assert.strictEqual(runs, 1)
    assert.include(yield* Tasks.dump, "poller  0  waiting: backoff 1s")
    yield* TestClock.adjust("1 second")
    assert.strictEqual(runs, 2)
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(fiber), 3)
  })
)

scenario(
  "own: T11 defects",
  "a child that dies is restarted too",
  Effect.gen(function*() {
    let runs = 0
    const child = Effect.suspend(() => ++runs < 2 ? Effect.die("bug") : Effect.succeed("alive"))
    const fiber = yield* Effect.forkChild(Supervisor.run({ backoff: everySecond })(child), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(fiber), "alive")
  })
)

scenario(
  "own: T11 max restarts in a window",
  "too many failures within the window escalate with the last failure",
  Effect.gen(function*() {
    let runs = 0
    const child = Effect.suspend(() => fail(`run ${++runs}`))
    const fiber = yield* Effect.forkChild(
      Effect.flip(
        Supervisor.run({ backoff: everySecond, maxRestarts: 3, window: "10 seconds", name: "poller" })(child)
      ),
      { startImmediately: true }
    )
    for (let i = 0; i < 3; i++) yield* TestClock.adjust("1 second")
    const error = yield* Fiber.join(fiber)
    assert.strictEqual(runs, 4)
    assert.strictEqual(error.message, "poller failed more than 3 times within 10s")
    assert.deepStrictEqual(error.cause, fail("run 4"))
  })
)

scenario(
  "own: T11 a window that slides",
  "failures that are older than the window do not count",
  Effect.gen(function*() {
    let runs = 0
    const child = Effect.suspend(() => ++runs < 20 ? fail("again") : Effect.succeed(runs))
    const fiber = yield* Effect.forkChild(
      Supervisor.run({ backoff: Schedule.spaced("5 seconds"), maxRestarts: 3, window: "10 seconds" })(child),
      { startImmediately: true }
    )
    for (let i = 0; i < 20; i++) yield* TestClock.adjust("5 seconds")
    assert.strictEqual(yield* Fiber.join(fiber), 20)
  })
)

scenario(
  "own: T11 interruption",
  "interrupting a supervisor interrupts its child and restarts nothing",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const fiber = yield* Effect.forkChild(Supervisor.run()(untilCancelled("child")), { startImmediately: true })
    yield* Fiber.interrupt(fiber)
    assert.isTrue(isInterrupted(yield* Fiber.await(fiber)))
    assert.deepStrictEqual(events, ["child cancelled"])
  })
)

for (
  const [strategy, expected] of [
    ["oneForOne", ["b"]],
    ["oneForAll", ["a", "b", "c"]],
    ["restForOne", ["b", "c"]]
  ] satisfies ReadonlyArray<[Supervisor.Strategy, Array<string>]>
) {
  scenario(
    `own: T11 OTP ${strategy}`,
    `when b fails, ${expected.join(", ")} start again`,
    Effect.gen(function*() {
      const { events, mark } = makeTrace()
      const gate = yield* Deferred.make<void>()
      let hasFailed = false
      const failOnce = Effect.andThen(
        Deferred.await(gate),
        Effect.suspend(() => {
          if (hasFailed) return Effect.never
          hasFailed = true
          return fail("b")
        })
      )
      const fiber = yield* Effect.forkChild(
        Supervisor.all([
          { name: "a", effect: Effect.andThen(mark("a"), Effect.never) },
          { name: "b", effect: Effect.andThen(mark("b"), failOnce) },
          { name: "c", effect: Effect.andThen(mark("c"), Effect.never) }
        ], { strategy, backoff: everySecond }),
        { startImmediately: true }
      )
      assert.deepStrictEqual(events.splice(0), ["a", "b", "c"])
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(events, expected)
      yield* Fiber.interrupt(fiber)
    })
  )
}

for (const strategy of ["oneForOne", "oneForAll", "restForOne"] as const) {
  scenario(
    `own: T11 escalation ${strategy}`,
    "a child that keeps failing ends the supervisor and its other children",
    Effect.gen(function*() {
      const { events, untilCancelled } = makeTrace()
      const fiber = yield* Effect.forkChild(
        Effect.flip(Supervisor.all([
          { name: "steady", effect: untilCancelled("steady") },
          { name: "broken", effect: fail("broken") }
        ], { strategy, backoff: everySecond, maxRestarts: 2 })),
        { startImmediately: true }
      )
      for (let i = 0; i < 2; i++) yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "RestartsExhausted")
      assert.include(events, "steady cancelled")
    })
  )
}
