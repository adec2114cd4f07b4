/** Every number and every duration that a public function of the wing takes, with values that people give by mistake. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import { Cause, type Duration, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as NodeLeaks from "../../../src/layers/tasks/NodeLeaks.ts"
import * as NodeLoopMonitor from "../../../src/layers/tasks/NodeLoopMonitor.ts"
import * as WorkerThreads from "../../../src/layers/tasks/WorkerThreads.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Grace from "../../../src/services/tasks/Grace.ts"
import { InvalidOption } from "../../../src/services/tasks/InvalidOption.ts"
import * as Leaks from "../../../src/services/tasks/Leaks.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as Subprocess from "../../../src/services/tasks/Subprocess.ts"
import * as Supervisor from "../../../src/services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"

const values = { undefined: undefined, NaN, "-1": -1, "0": 0, Infinity, "-Infinity": -Infinity, "2.5": 2.5, "3": 3 }
type Name = keyof typeof values
type Value = (typeof values)[Name]

/** Which of the values make sense; all others must be refused. */
const kinds = {
  /** A whole number, at least 1. */
  wholeFrom1: ["3"],
  wholeFrom0: ["0", "3"],
  limitFrom1: ["3", "Infinity"],
  limitFrom0: ["0", "3", "Infinity"],
  /** A duration in milliseconds. */
  duration: ["0", "2.5", "3", "Infinity"],
  period: ["2.5", "3", "Infinity"],
  /** What is left of a time: negative is zero. */
  timeLeft: ["-1", "-Infinity", "0", "2.5", "3", "Infinity"]
} satisfies Record<string, ReadonlyArray<Name>>

type Run = (value: number | undefined, start: Effect.Effect<void>) => Effect.Effect<unknown, unknown>

/** `start` is what must not begin under a nonsense; it ends at once, so that every run ends. */
const optional: ReadonlyArray<readonly [option: string, kind: keyof typeof kinds, run: Run]> = [
  ["FanOut concurrency", "limitFrom1", (concurrency, start) => FanOut.forEach([1, 2, 3], () => start, { concurrency })],
  [
    "FanOut concurrency",
    "limitFrom1",
    (concurrency, start) => FanOut.forEachDiscard([1], () => start, { concurrency })
  ],
  ["FanOut concurrency", "limitFrom1", (concurrency, start) => FanOut.all([start, start], { concurrency })],
  ["FanOut concurrency", "limitFrom1", (concurrency, start) => FanOut.collect([1, 2], () => start, { concurrency })],
  [
    "FanOut concurrency",
    "limitFrom1",
    (concurrency, start) => Stream.runDrain(FanOut.stream([1, 2], () => start, { concurrency }))
  ],
  [
    "FanOut concurrency",
    "limitFrom1",
    (concurrency, start) => Stream.runDrain(FanOut.batches([1, 2, 3], 2, () => start, { concurrency }))
  ],
  ["FanOut concurrency", "limitFrom1", (concurrency, start) => FanOut.firstSuccess([start], { concurrency })],
  ["FanOut concurrency", "limitFrom1", (concurrency, start) => FanOut.firstCompleted([start], { concurrency })],
  [
    "FanOut bufferSize",
    "limitFrom1",
    (bufferSize, start) => Stream.runDrain(FanOut.stream([1, 2], () => start, { bufferSize }))
  ],
  ["TaskGroup grace", "duration", (grace, start) => FanOut.forEach([1, 2], () => start, { grace })],
  ["TaskGroup grace", "duration", (grace, start) => TaskGroup.use({ grace })(() => start)],
  ["Deadline grace", "duration", (grace, start) => Deadline.within("1 hour", { grace })(start)],
  ["Leaks settle", "duration", (settle, start) => Leaks.check({ settle })(start)],
  ["Leaks settle", "duration", (settle, start) => NodeLeaks.check({ settle })(start)],
  ["Supervisor maxRestarts", "limitFrom0", (maxRestarts, start) => Supervisor.run({ maxRestarts })(start)],
  ["Supervisor window", "period", (window, start) => Supervisor.run({ window })(start)],
  [
    "Supervisor maxRestarts",
    "limitFrom0",
    (maxRestarts, start) => Supervisor.all([{ name: "a", effect: start }], { maxRestarts })
  ],
  ["Supervisor window", "period", (window, start) => Supervisor.all([{ name: "a", effect: start }], { window })],
  ["Tasks.snapshot maxTasks", "limitFrom0", (maxTasks, start) => Effect.andThen(Tasks.snapshot({ maxTasks }), start)],
  [
    "WorkQueue.consume concurrency",
    "wholeFrom1",
    (concurrency, start) =>
      Effect.gen(function*() {
        const queue = yield* WorkQueue.make<number>(1)
        yield* queue.offer(1)
        yield* queue.shutdown
        yield* WorkQueue.consume(queue, () => start, { concurrency })
      })
  ],
  [
    "Subprocess maxOutputBytes",
    "wholeFrom0",
    (maxOutputBytes, start) =>
      Effect.andThen(Subprocess.run("true", [], { maxOutputBytes }), start).pipe(Effect.provide(NodeServices.layer))
  ],
  [
    "Subprocess grace",
    "duration",
    (grace, start) =>
      Effect.andThen(Subprocess.run("true", [], { grace }), start).pipe(Effect.provide(NodeServices.layer))
  ],
  ["WorkerThreads threads", "wholeFrom1", (threads, start) => built(WorkerThreads.layer({ threads }), start)],
  ["WorkerThreads maxQueued", "limitFrom0", (maxQueued, start) => built(WorkerThreads.layer({ maxQueued }), start)],
  ["WorkerThreads maxEnding", "wholeFrom0", (maxEnding, start) => built(WorkerThreads.layer({ maxEnding }), start)],
  ["WorkerThreads grace", "duration", (grace, start) => built(WorkerThreads.layer({ grace }), start)],
  [
    "WorkerThreads maxHeapMegabytes",
    "wholeFrom1",
    (maxHeapMegabytes, start) => built(WorkerThreads.layer({ maxHeapMegabytes }), start)
  ],
  ["NodeLoopMonitor threshold", "period", (threshold, start) => built(NodeLoopMonitor.layer({ threshold }), start)],
  ["NodeLoopMonitor ongoing", "period", (ongoing, start) => built(NodeLoopMonitor.layer({ ongoing }), start)]
]

/** The same for values that have no default: `undefined` is a nonsense too. */
const required: ReadonlyArray<
  readonly [
    option: string,
    kind: keyof typeof kinds,
    run: (value: number, start: Effect.Effect<void>) => ReturnType<Run>
  ]
> = [
  ["Deadline duration", "timeLeft", (value, start) => Deadline.within(value)(start)],
  ["Deadline duration", "timeLeft", (value, start) => Deadline.use(value, () => start)],
  [
    "Deadline move",
    "timeLeft",
    (value, start) => Deadline.use("1 hour", (deadline) => Effect.andThen(deadline.move(value), start))
  ],
  ["Deadline.at instant", "timeLeft", (value, start) => Deadline.at(value)(start)],
  ["Deadline.capped limit", "duration", (value, start) => Effect.andThen(Deadline.capped(value), start)],
  ["Deadline.marked millis", "timeLeft", (value, start) => Deadline.marked(value)(start)],
  ["grace", "duration", (value, start) => Grace.atMost(start, value)],
  [
    "Tasks.backoff duration",
    "timeLeft",
    (value, start) => Effect.andThen(Deadline.within("1 hour")(Tasks.backoff(value)), start)
  ],
  ["Shutdown grace", "duration", (value, start) =>
    Effect.scoped(Effect.gen(function*() {
      const shutdown = yield* Shutdown.make
      yield* shutdown.onDrain("step", start)
      yield* shutdown.drain("request", value)
    }))],
  [
    "FanOut batches size",
    "wholeFrom1",
    (value, start) => Stream.runDrain(FanOut.batches([1, 2, 3], value, () => start))
  ],
  ["WorkQueue capacity", "limitFrom1", (value, start) =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(value)
      yield* queue.offer(1)
      yield* queue.process(() => start)
    })],
  ["FairSemaphore permits", "limitFrom0", (value, start) =>
    Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(value)
      yield* Effect.forkChild(Effect.andThen(Effect.yieldNow, semaphore.resize(1)))
      yield* semaphore.withPermit(start)
    })],
  [
    "FairSemaphore permits",
    "limitFrom0",
    (value, start) => Effect.andThen(Effect.sync(() => FairSemaphore.makeUnsafe(value)), start)
  ],
  ["FairSemaphore resize", "limitFrom0", (value, start) =>
    Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(3)
      yield* semaphore.resize(value)
      yield* start
    })],
  [
    "FairSemaphore permits",
    "wholeFrom0",
    (value, start) =>
      Effect.flatMap(FairSemaphore.make(3), (semaphore) => unharmed(semaphore, semaphore.withPermits(value)(start)))
  ],
  ["FairSemaphore permits", "wholeFrom0", (value, start) =>
    Effect.flatMap(
      FairSemaphore.make(3),
      (semaphore) => unharmed(semaphore, semaphore.withPermitsIfAvailable(value)(start))
    )],
  ["FairSemaphore permits", "wholeFrom0", (value, start) =>
    Effect.flatMap(
      FairSemaphore.make(3),
      (semaphore) => unharmed(semaphore, Effect.scoped(Effect.andThen(semaphore.takeScoped(value), start)))
    )]
]

/** A nonsense that is refused leaves the limit as it was, for everybody. */
const unharmed = (semaphore: FairSemaphore.FairSemaphore, self: Effect.Effect<unknown, unknown>) =>
  Effect.ensuring(
    self,
    Effect.map(semaphore.stats, (stats) => assert.deepStrictEqual(stats, { total: 3, taken: 0, waiting: 0 }))
  )

const built = <A>(layer: Layer.Layer<A>, start: Effect.Effect<void>) =>
  Effect.scoped(Effect.andThen(Layer.build(layer), start))

const refusalOf = (exit: Exit.Exit<unknown, unknown>): InvalidOption | undefined => {
  const defects = Exit.isFailure(exit) ? exit.cause.reasons.filter(Cause.isDieReason) : []
  const [defect] = defects.map((reason) => reason.defect)
  return defect instanceof InvalidOption ? defect : undefined
}

const check = (option: string, kind: keyof typeof kinds, makesSense: boolean, value: Value, run: Run) =>
  Effect.gen(function*() {
    let started = 0
    const fiber = yield* Effect.forkChild(run(value, Effect.sync(() => void started++)))
    // What waits for time gets a day of it; what waits for something real gets that too.
    while (fiber.pollUnsafe() === undefined) {
      yield* TestClock.adjust("1 day")
      yield* Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
    }
    const refusal = refusalOf(yield* Fiber.await(fiber))
    if (makesSense) {
      assert.isUndefined(refusal?.message)
      // A deadline of nothing may cut what it is over before it starts.
      if (kind !== "timeLeft") assert.isAbove(started, 0)
    } else {
      assert.strictEqual(refusal?.option, option)
      assert.include(refusal?.message, `${option} is ${String(value)}: it must be a `)
      assert.strictEqual(started, 0, "it had begun")
    }
  })

const names: ReadonlyArray<Name> = ["undefined", "NaN", "-1", "0", "Infinity", "-Infinity", "2.5", "3"]
const numbers = names.filter((name) => name !== "undefined")
const places = new Map<string, number>()
const titled = (option: string) => {
  const place = (places.get(option) ?? 0) + 1
  places.set(option, place)
  return place === 1 ? option : `${option} (${place})`
}

for (const [option, kind, run] of optional) {
  const sensible: ReadonlyArray<Name> = kinds[kind]
  it.effect(`${titled(option)}: the default for undefined, a defect that says what would be right for nonsense`, () =>
    leakFree(Effect.gen(function*() {
      for (const name of names) {
        yield* check(option, kind, name === "undefined" || sensible.includes(name), values[name], run)
      }
    })))
}

for (const [option, kind, run] of required) {
  const sensible: ReadonlyArray<Name> = kinds[kind]
  it.effect(`${titled(option)}: a defect that says what would be right for nonsense`, () =>
    leakFree(Effect.gen(function*() {
      for (const name of numbers) {
        yield* check(option, kind, sensible.includes(name), values[name], (value, start) => run(value ?? NaN, start))
      }
    })))
}

it.effect("a NaN is found in every form that a duration has", () =>
  Effect.gen(function*() {
    const inputs: ReadonlyArray<Duration.Input> = [NaN, { seconds: NaN }, { minutes: 1, milliseconds: NaN }, [NaN, 0], [
      1,
      NaN
    ]]
    for (const input of inputs) {
      const refusal = refusalOf(yield* Effect.exit(Deadline.within(input)(Effect.void)))
      assert.strictEqual(refusal?.option, "Deadline duration")
    }
  }))

it.effect("an option that is refused says what it is and what would be right", () =>
  Effect.gen(function*() {
    const messageOf = (self: Effect.Effect<unknown, unknown>) =>
      Effect.map(Effect.exit(self), (exit) => refusalOf(exit)?.message)
    assert.strictEqual(
      yield* messageOf(FanOut.all([Effect.void], { concurrency: 0 })),
      "FanOut concurrency is 0: it must be a whole number of at least 1, or Infinity"
    )
    assert.strictEqual(
      yield* messageOf(TaskGroup.use({ grace: -5 })(() => Effect.void)),
      "TaskGroup grace is -5: it must be a duration that is not negative, such as \"5 seconds\" or a number of milliseconds"
    )
  }))
