/**
 * Time for code that is called back and not run as an effect: the clock of the layer, and its fibers as timers. They end with the scope.
 */
import { Clock, Duration, Effect, FiberSet, type Scope } from "effect"
import type { Cancel } from "./Answer.ts"

export interface Timers {
  /** Monotonic: a wall clock that jumps moves nothing. */
  readonly nowMillis: () => number
  /** Calls once, unless it is cancelled before. */
  readonly after: (millis: number, call: () => void) => Cancel
}

export const make: Effect.Effect<Timers, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const fork = yield* FiberSet.runtime(yield* FiberSet.make<void>())()
  return {
    nowMillis: () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
    after: (millis, call) => {
      const fiber = fork(Effect.andThen(clock.sleep(Duration.millis(millis)), Effect.sync(call)))
      return () => fiber.interruptUnsafe()
    }
  }
})
