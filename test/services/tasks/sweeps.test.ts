import { assert, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as Supervisor from "../../../src/services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"
import { sweep } from "../../support/sweep.ts"

/** Counts what is open: every sweep ends with zero. */
const counter = () => {
  let open = 0
  const use = <A, E, R>(inside: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(Effect.sync(() => open++), () => inside, () => Effect.sync(() => open--))
  return { use, open: () => open }
}

/** Checks that the line is empty, all permits are back and can all be taken. */
const isFree = (semaphore: FairSemaphore.FairSemaphore, total: number) => (at: string) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* semaphore.stats, { total, taken: 0, waiting: 0 }, at)
    yield* semaphore.withPermits(total)(Effect.void)
  })

const nothingLives = (open: () => number) => (at: string) =>
  Effect.gen(function*() {
    assert.strictEqual(open(), 0, at)
    assert.strictEqual(yield* Tasks.liveCount, 0, at)
  })

const sweeps = <E>(name: string, effect: Effect.Effect<number, E>) =>
  it.effect(`interrupted at any operation: ${name}`, () =>
    leakFree(Effect.map(effect, (hits) => {
      assert.isAbove(hits, 20)
    })))

sweeps(
  "FairSemaphore.withPermits",
  sweep(Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(2)
    return {
      others: [semaphore.withPermits(2)(Effect.yieldNow), semaphore.withPermit(Effect.yieldNow)],
      victim: semaphore.withPermits(2)(Effect.yieldNow),
      check: isFree(semaphore, 2)
    }
  }))
)

sweeps(
  "FairSemaphore.withPermit",
  sweep(Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    return {
      others: [semaphore.withPermit(Effect.yieldNow), semaphore.withPermit(Effect.yieldNow)],
      victim: semaphore.withPermit(Effect.yieldNow),
      check: isFree(semaphore, 1)
    }
  }))
)

sweeps(
  "FairSemaphore.takeScoped",
  sweep(Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(2)
    return {
      others: [semaphore.withPermits(2)(Effect.yieldNow)],
      victim: Effect.scoped(Effect.andThen(semaphore.takeScoped(2), Effect.yieldNow)),
      check: isFree(semaphore, 2)
    }
  }))
)

sweeps(
  "FairSemaphore.withPermitsIfAvailable",
  sweep(Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(2)
    return { victim: semaphore.withPermitsIfAvailable(2)(Effect.yieldNow), check: isFree(semaphore, 2) }
  }))
)

sweeps(
  "FairSemaphore under a resize",
  sweep(Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(0)
    return {
      others: [Effect.andThen(Effect.yieldNow, semaphore.resize(2)), semaphore.withPermit(Effect.yieldNow)],
      victim: semaphore.withPermit(Effect.yieldNow),
      check: isFree(semaphore, 2)
    }
  }))
)

sweeps(
  "TaskGroup.use, spawn and start",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: TaskGroup.use()((group) =>
        Effect.gen(function*() {
          for (let i = 0; i < 3; i++) yield* group.spawn(use(Effect.never))
          yield* group.start((ready) => use(Effect.andThen(ready(1), Effect.never)))
          return yield* use(Effect.never)
        })
      ),
      check: nothingLives(open)
    }
  }))
)

sweeps(
  "TaskGroup with a grace",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: TaskGroup.use({ grace: "1 hour" })((group) =>
        Effect.andThen(group.spawn(use(Effect.never)), use(Effect.never))
      ),
      check: nothingLives(open)
    }
  }))
)

sweeps(
  "FanOut.forEach",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: FanOut.forEach([1, 2, 3, 4, 5, 6], () => use(Effect.yieldNow), { concurrency: 2 }),
      check: nothingLives(open)
    }
  }))
)

sweeps(
  "FanOut.firstSuccess",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: FanOut.firstSuccess([use(Effect.never), use(Effect.andThen(Effect.yieldNow, Effect.yieldNow))]),
      check: nothingLives(open)
    }
  }))
)

sweeps(
  "FanOut.stream",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: Stream.runDrain(
        FanOut.stream([1, 2, 3, 4], () => use(Effect.yieldNow), { concurrency: 2, bufferSize: 1 })
      ),
      check: nothingLives(open)
    }
  }))
)

sweeps(
  "Deadline.within",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return { victim: Deadline.within("1 hour")(use(Effect.yieldNow)), check: nothingLives(open) }
  }))
)

sweeps(
  "Deadline.use, moved",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: Deadline.use("1 hour", (deadline) => use(Effect.andThen(deadline.move("2 hours"), Effect.never))),
      check: nothingLives(open)
    }
  }))
)

sweeps(
  "Supervisor.all",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    const child = { name: "child", effect: use(Effect.never) }
    return { victim: Supervisor.all([child, child], { strategy: "restForOne" }), check: nothingLives(open) }
  }))
)

sweeps(
  "Tasks.named and Tasks.waiting",
  sweep(Effect.succeed({
    victim: Tasks.named("outer")(Tasks.waiting("a thing")(Effect.andThen(Effect.yieldNow, Effect.yieldNow))),
    check: nothingLives(() => 0)
  }))
)

sweeps(
  "Shutdown.onDrain",
  sweep(Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    let drained = 0
    return {
      victim: Effect.scoped(Effect.andThen(shutdown.onDrain("step", Effect.sync(() => void drained++)), Effect.never)),
      check: (at) => Effect.map(shutdown.drain("request", "1 second"), () => assert.strictEqual(drained, 0, at))
    }
  }))
)

sweeps(
  "WorkQueue.process: every item is processed or still there",
  sweep(Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(3)
    let handed = 0
    return {
      others: [Effect.andThen(queue.offer(1), Effect.andThen(queue.offer(2), queue.offer(3)))],
      victim: Effect.forever(queue.process(() => {
        // Begun is begun: from here on the item is the function's.
        handed++
        return Effect.yieldNow
      })),
      check: (at) =>
        Effect.gen(function*() {
          const left = yield* queue.shutdownNow
          assert.strictEqual(handed + left.length, 3, at)
          yield* queue.join
        })
    }
  }))
)

sweeps(
  "WorkQueue.offer: an item is in the queue or was not offered",
  sweep(Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(1)
    yield* queue.offer(0)
    return {
      others: [Effect.andThen(Effect.yieldNow, queue.process(() => Effect.yieldNow))],
      victim: Effect.andThen(queue.offer(1), Effect.never),
      check: (at) =>
        Effect.gen(function*() {
          const { inFlight, queued } = yield* queue.stats
          assert.strictEqual(inFlight, 0, at)
          assert.isAtMost(queued, 1, at)
          for (let i = 0; i < queued; i++) yield* queue.process(() => Effect.void)
          yield* queue.join
        })
    }
  }))
)

sweeps(
  "WorkQueue.join",
  sweep(Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(1)
    yield* queue.offer(1)
    return {
      others: [queue.process(() => Effect.andThen(Effect.yieldNow, Effect.yieldNow)), queue.join],
      victim: queue.join,
      check: (at) =>
        Effect.map(
          queue.stats,
          (stats) => assert.deepStrictEqual(stats, { queued: 0, inFlight: 0, capacity: 1 }, at)
        )
    }
  }))
)
