/** What the wing promises also holds in a finalizer, in an uninterruptible region, and for what fails while it is cut. */
import { assert, it } from "@effect/vitest"
import { Cause, Clock, DateTime, Duration, Effect, Exit, Fiber, Logger, Option, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Cleanup from "../../../src/services/tasks/Cleanup.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Grace from "../../../src/services/tasks/Grace.ts"
import * as Supervisor from "../../../src/services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"
import { Boom } from "../../support/scenario.ts"

type Body = Effect.Effect<unknown, unknown>

/** Where nothing from outside can interrupt. */
const places: ReadonlyArray<readonly [name: string, put: (body: Body) => Effect.Effect<unknown, unknown>]> = [
  ["in an uninterruptible region", Effect.uninterruptible],
  ["in a finalizer", (body) => Effect.ensuring(Effect.void, Effect.ignore(body))],
  ["in the finalizer of interrupted work", (body) =>
    Effect.flatMap(
      Effect.forkChild(Effect.onInterrupt(Effect.never, () => Effect.ignore(body)), { startImmediately: true }),
      Fiber.interrupt
    )],
  ["in a release", (body) => Effect.scoped(Effect.acquireRelease(Effect.void, () => Effect.ignore(body)))],
  ["in a cleanup of ours", (body) => Cleanup.ensuring(Effect.ignore(body))(Effect.void)],
  [
    "in the cleanup of a child",
    (body) =>
      TaskGroup.use<TaskGroup.GroupClosed>()((group) =>
        Effect.andThen(group.spawn(Effect.onInterrupt(Effect.never, () => Effect.ignore(body))), group.cancel)
      )
  ],
  [
    "in the cleanup of an outer deadline that has passed",
    (body) => Effect.ignore(Deadline.within("1 second")(Effect.onInterrupt(Effect.never, () => Effect.ignore(body))))
  ]
]

/** Each takes a second by its own deadline, or ends by its own cancel. */
const works: ReadonlyArray<readonly [name: string, body: Body]> = [
  ["Deadline.within", Deadline.within("1 second")(Effect.never)],
  ["Deadline.at", Effect.flatMap(Clock.currentTimeMillis, (now) => Deadline.at(now + 1000)(Effect.never))],
  ["Deadline.within, with a grace", Deadline.within("1 second", { grace: "1 second" })(Effect.never)],
  [
    "Deadline.within, over sleeping cleanup",
    Deadline.within("1 second")(Effect.ensuring(Effect.never, Effect.sleep(5)))
  ],
  ["Deadline.within, nested", Deadline.within("1 hour")(Deadline.within("1 second")(Effect.never))],
  [
    "a group whose child fails",
    TaskGroup.use<Boom | TaskGroup.GroupClosed>()((group) =>
      Effect.andThen(group.spawn(new Boom({ who: "child" })), Effect.never)
    )
  ],
  [
    "a group whose body fails",
    TaskGroup.use<Boom | TaskGroup.GroupClosed>()((group) =>
      Effect.andThen(group.spawn(Effect.never), Effect.andThen(Effect.yieldNow, new Boom({ who: "body" })))
    )
  ],
  [
    "a group that is cancelled",
    TaskGroup.use<TaskGroup.GroupClosed>()((group) => Effect.andThen(group.spawn(Effect.never), group.cancel))
  ],
  [
    "a group under a deadline",
    Deadline.within("1 second")(
      TaskGroup.use<TaskGroup.GroupClosed>()((group) => Effect.andThen(group.spawn(Effect.never), Effect.never))
    )
  ],
  ["FanOut.all", FanOut.all([Effect.never, Effect.andThen(Effect.yieldNow, new Boom({ who: "b" }))])],
  ["FanOut.firstSuccess", FanOut.firstSuccess([Effect.never, Effect.sleep("1 second")])],
  [
    "FanOut.forEach, one by one",
    FanOut.forEach([1, 2], () => Deadline.within("1 second")(Effect.never), {
      concurrency: 1
    })
  ],
  ["FanOut.stream", Stream.runDrain(FanOut.stream([1, 2, 3], () => new Boom({ who: "s" })))],
  [
    "a permit under a deadline",
    Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(0)
      yield* Effect.flip(Deadline.within("1 second")(semaphore.withPermit(Effect.void)))
      assert.deepStrictEqual(yield* semaphore.stats, { total: 0, taken: 0, waiting: 0 })
    })
  ],
  [
    "an item under a deadline",
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      yield* Effect.flip(Deadline.within("1 second")(queue.process(() => Effect.void)))
      yield* queue.offer(1)
      yield* Effect.flip(Deadline.within("1 second")(queue.offer(2)))
      yield* Effect.flip(Deadline.within("1 second")(queue.join))
      assert.deepStrictEqual(yield* queue.shutdownNow, [1])
    })
  ],
  ["Grace.atMost", Grace.atMost(Effect.never, "1 second")],
  [
    "Grace.atMost, over what cannot be interrupted",
    Grace.atMost(Effect.uninterruptible(Effect.sleep("1 hour")), "1 second")
  ],
  ["Supervisor.run that gives up", Supervisor.run({ maxRestarts: 1 })(new Boom({ who: "s" }))],
  [
    "Tasks.cancel",
    TaskGroup.use<TaskGroup.GroupClosed>()((group) =>
      Effect.flatMap(group.spawn(Effect.never), (task) => Tasks.cancel(task.id))
    )
  ]
]

for (const [place, put] of places) {
  for (const [work, body] of works) {
    it.effect(`${work} ${place} ends within its time`, () =>
      leakFree(Effect.gen(function*() {
        // See scenario.ts: a TestClock that was never adjusted opens an interruptible region in its first sleep.
        yield* TestClock.adjust(0)
        let hasEnded = false
        const whole = put(Effect.onExit(body, (exit) =>
          Effect.sync(() => {
            assert.isFalse(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause), "cut from outside")
            hasEnded = true
          })))
        const fiber = yield* Effect.forkChild(Effect.exit(whole))
        for (let second = 0; second < 10; second++) yield* TestClock.adjust("1 second")
        assert.isDefined(fiber.pollUnsafe(), "hangs")
        assert.isTrue(hasEnded)
        yield* TestClock.adjust("1 hour")
      })))
  }
}

it.effect("what must not be cut by one's own deadline is uninterruptible inside of it", () =>
  leakFree(Effect.gen(function*() {
    let committed = 0
    const commit = Effect.uninterruptible(
      Effect.andThen(Effect.sleep("2 seconds"), Effect.sync(() => void committed++))
    )
    const fiber = yield* Effect.forkChild(Effect.flip(Deadline.within("1 second", { name: "commit" })(commit)))
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual((yield* Fiber.join(fiber)).message, "commit did not end within 1s")
    assert.strictEqual(committed, 1)
  })))

it.effect("a deadline that is opened in cleanup has its own time, and says so", () =>
  leakFree(Effect.gen(function*() {
    let left: ReadonlyArray<number> = []
    const cleanup = Effect.gen(function*() {
      const before = Duration.toMillis(yield* Deadline.remaining)
      const inside = yield* Deadline.within("5 seconds")(Deadline.remaining)
      left = [before, Duration.toMillis(inside)]
    })
    const fiber = yield* Effect.forkChild(
      Effect.flip(Deadline.within("1 second")(Effect.ensuring(Effect.never, Effect.orDie(cleanup))))
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(left, [0, 5000])
  })))

it.effect("Deadline.at holds until a point in time, given as a DateTime or in milliseconds", () =>
  leakFree(Effect.gen(function*() {
    const now = yield* DateTime.now
    const at = DateTime.add(now, { seconds: 3 })
    for (const instant of [at, DateTime.toEpochMillis(at) + 3000]) {
      const fiber = yield* Effect.forkChild(Effect.flip(Deadline.at(instant, { name: "GET /" })(Effect.never)), {
        startImmediately: true
      })
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(fiber)).message, "GET / did not end within 3s")
    }
    assert.strictEqual((yield* Effect.flip(Deadline.at(0)(Effect.never))).afterMillis, 0)
    assert.isTrue(Option.isSome(yield* Deadline.at(at.epochMilliseconds + 9000)(Deadline.current)))
  })))

for (const change of ["lift", "1 hour", "0 millis"] as const) {
  it.effect(`a deadline that has passed stays where it was: ${change} in the cleanup`, () =>
    leakFree(Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(
          Deadline.use(
            "2 seconds",
            (deadline) =>
              Effect.onInterrupt(
                Effect.never,
                () =>
                  Effect.andThen(change === "lift" ? deadline.lift : deadline.move(change), Effect.sleep("1 second"))
              )
          )
        )
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber)).message, "the work did not end within 2s")
    })))
}

class Broken extends Schema.TaggedError<Broken>()("Broken", {}) {}
const broken = new Broken()

/** Interrupted from outside while cleanup dies: the bug is in the cause or in the log, and not nowhere. */
const dying = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.yieldNow, Effect.die(broken)))
const owners: ReadonlyArray<readonly [name: string, owner: Effect.Effect<unknown, unknown>]> = [
  ["TaskGroup", TaskGroup.use<TaskGroup.GroupClosed>()((group) => group.spawn(dying))],
  [
    "TaskGroup, the body",
    TaskGroup.use<TaskGroup.GroupClosed>()((group) => Effect.andThen(group.spawn(Effect.never), dying))
  ],
  ["TaskGroup with a grace", TaskGroup.use<TaskGroup.GroupClosed>({ grace: "1 hour" })((group) => group.spawn(dying))],
  [
    "TaskGroup that keeps",
    TaskGroup.use<TaskGroup.GroupClosed>({ onFailure: "keep" })((group) =>
      Effect.andThen(group.spawn(Effect.never), dying)
    )
  ],
  ["FanOut.all", FanOut.all([Effect.never, dying])],
  ["FanOut.forEachDiscard", FanOut.forEachDiscard([1, 2], () => dying)],
  ["FanOut.collect", FanOut.collect([1, 2], () => dying)],
  ["FanOut.stream", Stream.runDrain(FanOut.stream([1, 2], () => dying))],
  ["FanOut.firstSuccess", FanOut.firstSuccess([dying, Effect.never])],
  ["FanOut.firstCompleted", FanOut.firstCompleted([dying, Effect.never])],
  ["Deadline.within", Deadline.within("1 hour")(dying)],
  ["Deadline.within with a grace", Deadline.within("1 hour", { grace: "1 second" })(dying)],
  ["Deadline.within over a group", Deadline.within("1 hour")(FanOut.all([dying]))],
  ["Supervisor.run", Supervisor.run()(dying)],
  ["Supervisor.all", Supervisor.all([{ name: "a", effect: dying }])],
  ["Tasks.named", Tasks.named("a")(Tasks.waiting("b")(dying))],
  ["FairSemaphore", Effect.flatMap(FairSemaphore.make(1), (semaphore) => semaphore.withPermit(dying))],
  [
    "WorkQueue.consume",
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      yield* queue.offer(1)
      yield* WorkQueue.consume(queue, () => dying)
    })
  ]
]

for (const [name, owner] of owners) {
  it.effect(`interrupted from outside, ${name} does not lose a defect of the cleanup`, () =>
    leakFree(Effect.gen(function*() {
      const logged: Array<unknown> = []
      const defectsOf = (cause: Cause.Cause<unknown>) => cause.reasons.filter(Cause.isDieReason).map((r) => r.defect)
      const logger = Logger.make<unknown, void>(({ cause }) => void logged.push(...defectsOf(cause)))
      const fiber = yield* Effect.forkChild(owner.pipe(Effect.provide(Logger.layer([logger]))), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))
      assert.include([...(Exit.isFailure(exit) ? defectsOf(exit.cause) : []), ...logged], broken)
    })))
}

it.effect("interrupted from outside, a group and a deadline keep the typed failures of the cleanup too", () =>
  leakFree(Effect.gen(function*() {
    const failing = Effect.uninterruptibleMask((restore) =>
      Effect.catchCause(restore(Effect.never), () => Effect.andThen(Effect.yieldNow, broken))
    )
    for (
      const owner of [
        TaskGroup.use<Broken>()((group) => Effect.orDie(group.spawn(failing))),
        Deadline.within("1 hour")(failing)
      ]
    ) {
      const fiber = yield* Effect.forkChild(Effect.asVoid(owner), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.some((r) => Cause.isFailReason(r) && r.error === broken))
    }
  })))
