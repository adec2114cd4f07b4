/**
 * Lets the test clock run until a fiber has ended: a second at a time, so that whatever a second has set going is done before the next.
 */
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"

/** What the fiber ends with; dies when it has not after so many seconds. @default an hour */
export const join = <A, E>(fiber: Fiber.Fiber<A, E>, secondsMax = 3600): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    for (let second = 0; second < secondsMax && fiber.pollUnsafe() === undefined; second++) {
      yield* TestClock.adjust("1 second")
    }
    return fiber.pollUnsafe() === undefined
      ? yield* Effect.die(`not done after ${secondsMax} seconds of the test clock`)
      : yield* Fiber.join(fiber)
  })
