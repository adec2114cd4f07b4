/** What becomes of a whole when one of its tasks is cancelled, and of what is cancelled by its number in the tree. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as Supervisor from "../../../src/services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"
import { Boom, isInterrupted } from "../../support/scenario.ts"
import { sweep } from "../../support/sweep.ts"

const idOf = (name: string) =>
  Effect.map(Tasks.snapshot(), ({ tasks }) => tasks.find((task) => task.name === name)?.id ?? -1)

const items = [Effect.succeed("aa"), Effect.interrupt, Effect.succeed("b")]

/** All of these give a value for each item: with one cancelled there is none to give. */
const valued: ReadonlyArray<readonly [name: string, run: Effect.Effect<unknown>]> = [
  ["all", FanOut.all(items)],
  ["forEach", FanOut.forEach([0, 1, 2], (i) => items[i] ?? Effect.never)],
  ["forEach, one by one", FanOut.forEach([0, 1, 2], (i) => items[i] ?? Effect.never, { concurrency: 1 })],
  ["all, the last one", FanOut.all([Effect.succeed(1), Effect.andThen(Effect.yieldNow, Effect.interrupt)])],
  ["all, beside one that never ends", FanOut.all([Effect.never, Effect.interrupt])],
  ["batches", Stream.runCollect(FanOut.batches([0, 1, 2], 2, (i) => items[i] ?? Effect.never))],
  ["stream", Stream.runCollect(FanOut.stream([0, 1, 2], (i) => items[i] ?? Effect.never))]
]

for (const [name, run] of valued) {
  it.effect(`FanOut.${name}: an item that is cancelled cancels the whole, and no result is missing`, () =>
    leakFree(Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(run)
      for (let turn = 0; turn < 50; turn++) yield* Effect.yieldNow
      const exit = fiber.pollUnsafe()
      assert.isTrue(exit !== undefined && isInterrupted(exit), JSON.stringify(exit))
    })))
}

it.effect("FanOut.forEach: an item that is cancelled by its number cancels the whole", () =>
  leakFree(Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      FanOut.forEach(["a", "b"], () => Effect.never, { taskName: (item) => item }),
      {
        startImmediately: true
      }
    )
    assert.isTrue(yield* Tasks.cancel(yield* idOf("b")))
    assert.isTrue(isInterrupted(yield* Fiber.await(fiber)))
  })))

it.effect("FanOut.collect and forEachDiscard go on without a cancelled item", () =>
  leakFree(Effect.gen(function*() {
    const exits = yield* FanOut.collect([0, 1, 2], (i) => items[i] ?? Effect.never)
    assert.deepStrictEqual(exits.map(isInterrupted), [false, true, false])
    yield* FanOut.forEachDiscard([0, 1, 2], (i) => items[i] ?? Effect.never)
  })))

for (
  const [name, work] of [
    [
      "a group",
      Tasks.named("host")(
        TaskGroup.use<TaskGroup.GroupClosed>({ name: "x" })((group) =>
          Effect.andThen(group.spawn(Effect.never), Effect.never)
        )
      )
    ],
    ["a group whose body has ended", TaskGroup.use<TaskGroup.GroupClosed>({ name: "x" })((g) => g.spawn(Effect.never))],
    ["a fan-out", FanOut.all([Effect.never, Effect.never], { name: "x" })],
    ["a fan-out that waits for room", FanOut.forEach([1, 2, 3], () => Effect.never, { name: "x", concurrency: 1 })],
    ["named work", Tasks.named("x")(Effect.never)],
    ["named work in a task", FanOut.all([Tasks.named("x")(Effect.never)])]
  ] satisfies ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]>
) {
  it.effect(`Tasks.cancel cancels ${name}, and who waits for it goes on as interrupted`, () =>
    leakFree(Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(work, { startImmediately: true })
      assert.isTrue(yield* Tasks.cancel(yield* idOf("x")))
      assert.isTrue(isInterrupted(yield* Fiber.await(fiber)))
      assert.strictEqual(yield* Tasks.liveCount, 0)
    })))
}

it.effect("Tasks.cancel of a group waits for its cleanup", () =>
  leakFree(Effect.gen(function*() {
    let cleaned = 0
    const child = Effect.onInterrupt(Effect.never, () =>
      Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => void cleaned++)))
    yield* TestClock.adjust(0)
    yield* Effect.forkChild(FanOut.all([child, child], { name: "x" }), { startImmediately: true })
    const cancelling = yield* Effect.forkChild(Effect.flatMap(idOf("x"), Tasks.cancel), { startImmediately: true })
    assert.isUndefined(cancelling.pollUnsafe())
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(cancelling)
    assert.strictEqual(cleaned, 2)
  })))

it.effect("Tasks.cancel of the caller itself, or of nobody, is false", () =>
  leakFree(Effect.gen(function*() {
    assert.isFalse(yield* Tasks.cancel(-1))
    assert.isFalse(yield* Tasks.named("x")(Effect.flatMap(idOf("x"), Tasks.cancel)))
  })))

it.effect("a supervised child is in the tree once; cancelled by its number it is not restarted, and that is said", () =>
  leakFree(Effect.gen(function*() {
    const logged: Array<unknown> = []
    const logger = Logger.make<unknown, void>(({ message }) => void logged.push(message))
    const child = (name: string) => ({ name, effect: Effect.never })
    const fiber = yield* Effect.forkChild(
      Supervisor.all([child("poller"), child("sweeper")], { name: "workers" }).pipe(
        Effect.provide(Logger.layer([logger]))
      ),
      { startImmediately: true }
    )
    const { tasks } = yield* Tasks.snapshot()
    assert.deepStrictEqual(tasks.map(({ depth, name }) => `${depth} ${name}`), [
      "0 test",
      "1 workers",
      "2 poller",
      "2 sweeper"
    ])
    yield* Tasks.cancel(yield* idOf("poller"))
    assert.deepStrictEqual(logged, [["poller was cancelled: it is not restarted"]])
    assert.isUndefined(fiber.pollUnsafe())
    yield* Fiber.interrupt(fiber)
    assert.strictEqual(logged.length, 1, "the end of the whole is no news")
  })))

it.effect("a supervisor that always restarts counts failures only", () =>
  leakFree(Effect.gen(function*() {
    let runs = 0
    const tick = Effect.sync(() => void runs++)
    const fiber = yield* Effect.forkChild(
      Supervisor.run({ restart: "always", maxRestarts: 2, backoff: Schedule.spaced("1 second") })(tick),
      { startImmediately: true }
    )
    for (let second = 0; second < 20; second++) yield* TestClock.adjust("1 second")
    assert.strictEqual(runs, 21)
    yield* Fiber.interrupt(fiber)
    const failing = Supervisor.run({ restart: "always", maxRestarts: 2, backoff: Schedule.spaced("1 second") })
    const error = yield* Effect.forkChild(Effect.flip(failing(new Boom({ who: "x" }))), { startImmediately: true })
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual((yield* Fiber.join(error)).message, "supervised failed more than 2 times within 30s")
  })))

it.effect("supervision over an infinite window gives up with a typed error too", () =>
  leakFree(Effect.gen(function*() {
    const run = Supervisor.run({ maxRestarts: 0, window: Infinity })(new Boom({ who: "x" }))
    assert.strictEqual((yield* Effect.flip(run)).message, "supervised failed more than 0 times within Infinity")
  })))

it.effect("FairSemaphore: one permit of none at all is refused, and waited for by withPermit alone", () =>
  leakFree(Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(0)
    for (const ask of [semaphore.withPermits(1)(Effect.void), Effect.scoped(semaphore.takeScoped(1))]) {
      assert.strictEqual((yield* Effect.flip(ask)).message, "1 permits of semaphore were asked for, of 0 in all")
    }
    const patient = yield* Effect.forkChild(semaphore.withPermit(Effect.succeed(1)), { startImmediately: true })
    yield* semaphore.resize(1)
    assert.strictEqual(yield* Fiber.join(patient), 1)
    // Refused by the resize as well: only who is patient stays in the line.
    const held = yield* Effect.forkChild(semaphore.withPermit(Effect.never), { startImmediately: true })
    const asking = yield* Effect.forkChild(Effect.flip(semaphore.withPermits(1)(Effect.void)), {
      startImmediately: true
    })
    yield* semaphore.resize(0)
    assert.strictEqual((yield* Fiber.join(asking))._tag, "PermitsUnavailable")
    yield* Fiber.interrupt(held)
  })))

it.effect("WorkQueue: the last item of a queue that is shut down is not lost with the worker that was about to take it", () =>
  leakFree(Effect.gen(function*() {
    const hits = yield* sweep(Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      yield* queue.offer(1)
      yield* queue.shutdown
      const processed: Array<number> = []
      const process = queue.process((item) => {
        processed.push(item)
        return Effect.void
      })
      return {
        victim: Effect.andThen(process, Effect.never),
        others: [Effect.andThen(Effect.yieldNow, Effect.ignore(process))],
        check: (at) =>
          Effect.gen(function*() {
            yield* Effect.ignore(process)
            yield* queue.join
            assert.deepStrictEqual(processed, [1], at)
            assert.deepStrictEqual(yield* queue.shutdownNow, [], at)
          })
      }
    }))
    assert.isAbove(hits, 20)
  })))

const drainSteps = Effect.fnUntraced(function*() {
  const shutdown = yield* Shutdown.make
  const events: Array<string> = []
  const step = (name: string, work: Effect.Effect<void> = Effect.void) =>
    shutdown.onDrain(name, Effect.andThen(work, Effect.sync(() => void events.push(name))))
  return { shutdown, events, step }
})

it.effect("Shutdown: a step that is registered while draining belongs to the drain", () =>
  leakFree(Effect.scoped(Effect.gen(function*() {
    const { events, shutdown, step } = yield* drainSteps()
    yield* step("early", Effect.sleep("1 second"))
    const drain = yield* Effect.forkChild(shutdown.drain("SIGTERM", "1 minute"), { startImmediately: true })
    yield* step("late", Effect.sleep("2 seconds"))
    yield* TestClock.adjust("1 second")
    assert.isUndefined(drain.pollUnsafe())
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* Fiber.join(drain), { reason: "SIGTERM", overstayed: [] })
    assert.deepStrictEqual(events, ["early", "late"])
  }))))

it.effect("Shutdown: a late step that overstays is named, and cut with the others", () =>
  leakFree(Effect.scoped(Effect.gen(function*() {
    const { events, shutdown, step } = yield* drainSteps()
    yield* step("early", Effect.never)
    const drain = yield* Effect.forkChild(shutdown.drain("SIGTERM", "1 second"), { startImmediately: true })
    yield* step("late", Effect.never)
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* Fiber.join(drain), { reason: "SIGTERM", overstayed: ["early", "late"] })
    assert.deepStrictEqual(events, [])
  }))))

it.effect("Shutdown: a step that is registered after draining runs at once, until its scope closes", () =>
  leakFree(Effect.gen(function*() {
    const { events, shutdown, step } = yield* drainSteps()
    yield* shutdown.drain("request", "1 second")
    yield* Effect.scoped(step("after"))
    assert.deepStrictEqual(events, ["after"])
    yield* Effect.scoped(step("never ends", Effect.never))
  })))

it.effect("Shutdown: drained many times, by callers that come and go, each step runs once", () =>
  leakFree(Effect.scoped(Effect.gen(function*() {
    const { events, shutdown, step } = yield* drainSteps()
    yield* step("a", Effect.sleep("1 second"))
    const callers = yield* Effect.forEach(
      Array.from({ length: 20 }),
      () => Effect.forkChild(shutdown.drain("SIGINT", "1 minute"), { startImmediately: true })
    )
    for (const caller of callers.filter((_, i) => i % 2 === 0)) yield* Fiber.interrupt(caller)
    yield* TestClock.adjust("1 second")
    for (const caller of callers.filter((_, i) => i % 2 === 1)) {
      assert.deepStrictEqual(yield* Fiber.join(caller), { reason: "SIGINT", overstayed: [] })
    }
    assert.deepStrictEqual(yield* shutdown.drain("SIGTERM", 0), { reason: "SIGINT", overstayed: [] })
    assert.deepStrictEqual(events, ["a"])
    assert.isTrue(Exit.isSuccess(yield* Effect.exit(shutdown.awaitDraining)))
  }))))
