import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema } from "effect"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** What one client of a semaphore does: asks for so many, holds for so many turns, gives up after so many (0: never). */
const Client = Schema.Struct({ permits: int(1, 5), turns: int(0, 4), givesUpAfter: int(0, 6) })

const yields = (turns: number) =>
  Effect.forEach(Array.from({ length: turns }), () => Effect.yieldNow, { discard: true })

it.effect.prop(
  "FairSemaphore: never more taken than there are, everybody is served in order, all permits come back",
  { total: int(5, 8), clients: Schema.Array(Client).check(Schema.isMaxLength(12)) },
  ({ clients, total }) =>
    leakFree(Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(total)
      let taken = 0
      const served: Array<number> = []
      const fibers = yield* Effect.forEach(clients, (client, index) =>
        Effect.gen(function*() {
          served.push(index)
          taken += client.permits
          assert.isAtMost(taken, total)
          yield* Effect.ensuring(
            yields(client.turns),
            Effect.sync(() => {
              taken -= client.permits
            })
          )
        }).pipe(semaphore.withPermits(client.permits), Effect.forkChild({ startImmediately: true })))
      for (let turn = 1; turn <= 6; turn++) {
        yield* Effect.yieldNow
        for (const [index, client] of clients.entries()) {
          if (client.givesUpAfter === turn) fibers[index]?.interruptUnsafe()
        }
      }
      const exits = yield* Fiber.awaitAll(fibers)
      assert.deepStrictEqual(served, served.toSorted((a, b) => a - b))
      for (const [index, client] of clients.entries()) {
        if (client.givesUpAfter === 0) {
          assert.isTrue(Exit.isSuccess(exits[index] ?? Exit.interrupt()), `client ${index}`)
        }
      }
      assert.deepStrictEqual(yield* semaphore.stats, { total, taken: 0, waiting: 0 })
    })),
  { arbitrary: { runs: 200 } }
)

it.effect.prop(
  "FairSemaphore: resized at random, it never hands out more than the total of that moment",
  { totals: Schema.Array(int(0, 6)).check(Schema.isMaxLength(10)), clients: int(1, 20) },
  ({ clients, totals }) =>
    leakFree(Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(1)
      const fibers = yield* Effect.forEach(Array.from({ length: clients }), () =>
        Effect.forkChild(semaphore.withPermit(Effect.gen(function*() {
          const { taken, total } = yield* semaphore.stats
          assert.isAtMost(taken, Math.max(total, 6))
          yield* Effect.yieldNow
        }))))
      for (const total of totals) {
        yield* semaphore.resize(total)
        yield* Effect.yieldNow
      }
      yield* semaphore.resize(3)
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(yield* semaphore.stats, { total: 3, taken: 0, waiting: 0 })
    })),
  { arbitrary: { runs: 200 } }
)

it.effect.prop(
  "WorkQueue: every offered item is processed exactly once or given back, and join ends",
  { capacity: int(1, 5), items: int(0, 30), consumers: int(1, 4), stopAfter: int(0, 12) },
  ({ capacity, consumers, items, stopAfter }) =>
    leakFree(Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(capacity)
      const processed: Array<number> = []
      let offered = 0
      const producer = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: items }, (_, i) => i), (i) =>
          Effect.andThen(queue.offer(i), Effect.sync(() => void offered++)), { discard: true }).pipe(
            Effect.catchTag("QueueClosed", () =>
              Effect.void)
          )
      )
      const consuming = yield* Effect.forkChild(WorkQueue.consume(queue, (item) => {
        processed.push(item)
        return Effect.yieldNow
      }, { concurrency: consumers }))
      yield* yields(stopAfter)
      // Both ends: half of the runs stop at once, half let the readers finish.
      const back = stopAfter % 2 === 0 ? yield* queue.shutdownNow : []
      if (stopAfter % 2 === 1) {
        yield* Effect.andThen(Fiber.join(producer), queue.shutdown)
      }
      yield* Fiber.joinAll([producer, consuming])
      yield* queue.join
      const seen = [...processed, ...back].toSorted((a, b) =>
        a - b
      )
      assert.deepStrictEqual(seen, Array.from({ length: seen.length }, (_, i) => i))
      assert.isAtLeast(seen.length, offered)
      if (stopAfter % 2 === 1) assert.strictEqual(seen.length, items)
    })),
  { arbitrary: { runs: 200 } }
)

it.effect.prop(
  "FanOut.forEach is Array.map for any size, limit and order of completion",
  { delays: Schema.Array(int(0, 5)).check(Schema.isMaxLength(40)), concurrency: int(1, 10) },
  ({ concurrency, delays }) =>
    leakFree(Effect.gen(function*() {
      const results = yield* FanOut.forEach(delays, (delay, index) => Effect.as(yields(delay), index * 2), {
        concurrency
      })
      assert.deepStrictEqual(results, delays.map((_, index) => index * 2))
    })),
  { arbitrary: { runs: 100 } }
)
