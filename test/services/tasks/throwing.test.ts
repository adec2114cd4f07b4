/** Every function that a program hands in may throw: nothing hangs, nothing dies outside of a fiber, all else is cleaned up. */
import { assert, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schedule, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import process from "node:process"
import * as Cleanup from "../../../src/services/tasks/Cleanup.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Leaks from "../../../src/services/tasks/Leaks.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as Supervisor from "../../../src/services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"

class Failed extends Schema.TaggedError<Failed>()("Failed", {}) {}

const bug = new TypeError("Invalid URL")
const thrower = (): never => {
  throw bug
}
/** Thrown instead of an error: what cannot even be made a text. */
const odd: unknown = Object.create(null)
const oddThrower = (): never => {
  // oxlint-disable-next-line no-throw-literal -- that is the point
  throw odd
}
const failing = Effect.andThen(Effect.yieldNow, Effect.fail(new Failed()))

/** How it must end: with the failure of the work as if the name were fine, or with what was thrown as a defect. */
type Expected = "Failed" | "defect" | "success" | "interrupted"
type Case = readonly [name: string, expected: Expected, run: (thrower: () => never) => Effect.Effect<unknown, unknown>]

const names: ReadonlyArray<Case> = [
  [
    "TaskGroup name",
    "Failed",
    (name) =>
      TaskGroup.use<Failed | TaskGroup.GroupClosed>({ name })((group) =>
        Effect.andThen(group.spawn(Effect.never), group.spawn(failing))
      )
  ],
  [
    "TaskGroup name, cancelled",
    "success",
    (name) =>
      TaskGroup.use<TaskGroup.GroupClosed>({ name })((group) => Effect.andThen(group.spawn(Effect.never), group.cancel))
  ],
  [
    "TaskGroup name with a grace that is over",
    "Failed",
    (name) =>
      TaskGroup.use<Failed | TaskGroup.GroupClosed>({ name, grace: "1 second" })((group) =>
        Effect.andThen(
          group.spawn(Effect.onInterrupt(Effect.never, () => Effect.sleep("2 seconds")), { name }),
          failing
        )
      )
  ],
  [
    "spawn name",
    "Failed",
    (name) =>
      TaskGroup.use<Failed | TaskGroup.GroupClosed>()((group) =>
        Effect.andThen(group.spawn(Effect.never, { name }), group.spawn(failing, { name }))
      )
  ],
  [
    "spawn name, in a closed group",
    "success",
    (name) =>
      TaskGroup.use<TaskGroup.GroupClosed>({ name })((group) =>
        Effect.andThen(group.cancel, Effect.flip(group.spawn(Effect.void, { name })))
      )
  ],
  [
    "start name, never ready",
    "success",
    (name) =>
      TaskGroup.use<TaskGroup.GroupClosed>()((group) =>
        Effect.asVoid(Effect.flip(group.start(() => Effect.void, { name })))
      )
  ],
  ["FanOut name", "Failed", (name) => FanOut.all([Effect.never, failing], { name })],
  ["FanOut taskName", "Failed", (name) => FanOut.all([Effect.never, failing], { taskName: name })],
  ["FanOut.collect taskName", "success", (name) => FanOut.collect([1, 2], () => failing, { taskName: name })],
  [
    "FanOut.firstSuccess taskName",
    "success",
    (name) => FanOut.firstSuccess([Effect.never, failing, Effect.void], { taskName: name })
  ],
  [
    "FanOut.stream taskName",
    "Failed",
    (name) => Stream.runDrain(FanOut.stream([1, 2], () => failing, { taskName: name, name }))
  ],
  ["Deadline name", "success", (name) => Effect.flip(Deadline.within("1 second", { name })(Effect.never))],
  ["Deadline name with a grace that is over", "success", (name) =>
    Effect.flip(
      Deadline.within("1 second", { name, grace: 0 })(Effect.onInterrupt(Effect.never, () => Effect.sleep("1 minute")))
    )],
  ["Tasks.named", "Failed", (name) => Tasks.named(name)(failing)],
  ["Tasks.waiting", "Failed", (name) => Tasks.waiting(name)(failing)],
  ["FairSemaphore name", "success", (name) =>
    Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(1, { name })
      yield* FanOut.all([semaphore.withPermit(Effect.sleep("1 second")), semaphore.withPermit(Effect.void), seen])
      yield* Effect.flip(semaphore.withPermits(2)(Effect.void))
    })],
  ["WorkQueue name", "success", (name) =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1, { name })
      yield* FanOut.all([Effect.andThen(seen, queue.offer(1)), queue.process(() => seen), queue.join])
      yield* queue.shutdown
      yield* Effect.flip(queue.offer(2))
    })],
  ["WorkQueue.consume name", "Failed", (name) =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      yield* queue.offer(1)
      yield* WorkQueue.consume(queue, () => failing, { name })
    })],
  ["Supervisor name", "success", (name) => Effect.flip(Supervisor.run({ name, maxRestarts: 1 })(failing))],
  [
    "Supervisor.all name",
    "success",
    (name) =>
      Effect.flip(Supervisor.all([{ name: "a", effect: failing }], { name, maxRestarts: 1, strategy: "oneForAll" }))
  ]
]

/** The tree can be read while such a name is in it. */
const seen = Effect.andThen(Tasks.dump, Effect.void)

const callbacks: ReadonlyArray<Case> = [
  ["the body of a group", "defect", (f) => TaskGroup.use()(f)],
  [
    "what start is given",
    "defect",
    (f) => TaskGroup.use<TaskGroup.GroupClosed | TaskGroup.TaskNotReady>()((group) => group.start(f))
  ],
  ["the function of forEach", "defect", (f) => FanOut.forEach([1, 2], f)],
  ["the function of forEachDiscard", "defect", (f) => FanOut.forEachDiscard([1, 2], f)],
  ["the function of collect", "success", (f) => FanOut.collect([1, 2], f)],
  ["the function of stream", "defect", (f) => Stream.runDrain(FanOut.stream([1, 2], f))],
  ["the function of batches", "defect", (f) => Stream.runDrain(FanOut.batches([1, 2], 1, f))],
  ["an iterable", "defect", (f) => FanOut.forEach({ [Symbol.iterator]: f }, () => Effect.void)],
  [
    "an iterator's next",
    "defect",
    (f) => FanOut.forEach({ [Symbol.iterator]: () => ({ next: f }) }, () => Effect.void)
  ],
  ["an iterator's next, later", "defect", (f) => {
    let n = 0
    const next = () => ++n < 4 ? { done: false, value: n } : f()
    return FanOut.forEach({ [Symbol.iterator]: () => ({ next }) }, () => Effect.never, { concurrency: 5 })
  }],
  ["an iterator's return", "Failed", (f) => {
    const next = () => ({ done: false, value: 1 })
    return FanOut.forEach({ [Symbol.iterator]: () => ({ next, return: f }) }, () => failing)
  }],
  ["the body of a deadline", "defect", (f) => Deadline.use("1 second", f)],
  ["what process is given", "defect", (f) =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      yield* queue.offer(1)
      yield* Effect.ensuring(queue.process((): Effect.Effect<void> => f()), queue.join)
    })],
  ["what consume is given", "defect", (f) =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      yield* queue.offer(1)
      yield* WorkQueue.consume(queue, (): Effect.Effect<void> => f(), { concurrency: 2 })
    })],
  ["a cleanup", "Failed", (f) => Cleanup.onExit((): Effect.Effect<void> => f())(failing)],
  [
    "a release",
    "Failed",
    (f) => Effect.scoped(Effect.andThen(Cleanup.acquireRelease(Effect.void, (): Effect.Effect<void> => f()), failing))
  ],
  ["a count of leaks", "defect", (f) => Leaks.check({ count: Effect.sync(f) })(Effect.void)],
  ["a drain step", "success", (f) =>
    Effect.scoped(Effect.gen(function*() {
      const shutdown = yield* Shutdown.make
      let drained = 0
      yield* shutdown.onDrain("throws", Effect.suspend(f))
      yield* shutdown.onDrain("works", Effect.andThen(Effect.yieldNow, Effect.sync(() => void drained++)))
      assert.deepStrictEqual(yield* shutdown.drain("request", "1 hour"), { reason: "request", overstayed: [] })
      assert.strictEqual(drained, 1)
    }))],
  ["a supervisor's schedule", "defect", (f) => Supervisor.run({ backoff: Schedule.map(Schedule.forever, f) })(failing)]
]

const ended = (exit: Exit.Exit<unknown, unknown>): Expected =>
  Exit.isSuccess(exit)
    ? "success"
    : exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof Failed)
    ? "Failed"
    : Cause.hasDies(exit.cause)
    ? "defect"
    : "interrupted"

const check = (run: Effect.Effect<unknown, unknown>, expected: Expected) =>
  leakFree(Effect.gen(function*() {
    const uncaught: Array<unknown> = []
    const note = (error: unknown) => void uncaught.push(error)
    yield* Effect.acquireUseRelease(
      Effect.sync(() => process.on("uncaughtException", note)),
      () =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(run)
          for (let turn = 0; turn < 400 && fiber.pollUnsafe() === undefined; turn++) {
            // Whatever throws is in the tree by now: reading the tree is fine.
            assert.include(yield* Tasks.dump, "test")
            yield* turn % 4 === 3 ? TestClock.adjust("20 seconds") : Effect.yieldNow
          }
          assert.isDefined(fiber.pollUnsafe(), "hangs")
          // What was left behind ends too.
          yield* TestClock.adjust("1 hour")
          assert.strictEqual(ended(yield* Fiber.await(fiber)), expected)
        }),
      () => Effect.sync(() => process.off("uncaughtException", note))
    )
    assert.deepStrictEqual(uncaught, [])
    assert.strictEqual(yield* Tasks.liveCount, 0)
  }))

for (const [name, expected, run] of [...names, ...callbacks]) {
  it.effect(`throws: ${name}`, () => check(run(thrower), expected))
  it.effect(`throws something that is no error: ${name}`, () => check(run(oddThrower), expected))
}

it.effect("a name that throws, or is none, is shown as such, and the rest of the tree with it", () =>
  leakFree(
    TaskGroup.use<TaskGroup.GroupClosed>({ name: thrower })((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Tasks.waiting(oddThrower)(Effect.never), { name: "a task" })
        const lines = (yield* Tasks.dump).split("\n").map((line) => line.trim())
        assert.deepStrictEqual(lines, [
          "test",
          "(a name that throws)  0",
          "a task  0  waiting: (a name that throws)"
        ])
        yield* group.cancel
      })
    )
  ))
