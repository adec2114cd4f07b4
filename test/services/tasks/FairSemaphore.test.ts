import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Scheduler from "effect/Scheduler"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import { leakFree } from "../../support/leakFree.ts"

/** Interrupts a waiter after every possible number of yields, under every small operation budget. */
it.effect("interrupted at any operation, withPermits leaks no permit and wakes the next in line", () =>
  leakFree(Effect.gen(function*() {
    for (let budget = 3; budget <= 40; budget++) {
      for (let yields = 0; yields <= 24; yields++) {
        const semaphore = yield* FairSemaphore.make(2)
        const order: Array<string> = []
        const holder = yield* Effect.forkChild(semaphore.withPermits(2)(Effect.yieldNow))
        const victim = yield* semaphore.withPermits(2)(Effect.yieldNow).pipe(
          Effect.provideService(Scheduler.MaxOpsBeforeYield, budget),
          Effect.forkChild
        )
        const next = yield* Effect.forkChild(semaphore.withPermit(Effect.sync(() => order.push("next"))))
        for (let i = 0; i < yields; i++) yield* Effect.yieldNow
        yield* Fiber.interrupt(victim)
        yield* Fiber.joinAll([holder, next])
        assert.deepStrictEqual(order, ["next"])
        assert.deepStrictEqual(yield* semaphore.stats, { total: 2, taken: 0, waiting: 0 }, `${budget}/${yields}`)
      }
    }
  })))
