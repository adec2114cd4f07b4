import { Clock, Duration, Effect, Fiber } from "effect"
import type * as TestClock from "effect/testing/TestClock"
import { JobTestError } from "./JobTestError.ts"

/** How far time may be moved. */
export interface FastForwardOptions {
  /** So much virtual time may pass. @default "1 hour" */
  readonly within?: Duration.Input
}

/** Turns of the scheduler before the clock is moved: what can go on without time goes on first. */
const turns = 10
/** The first step of the clock. Each is twice as long as the one before, up to a second or a part of what has passed. */
const stepMillis = 1
const stepMaxMillis = 1_000
const stepMaxPart = 1 / 64

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "adjust" in clock && "withLive" in clock

/** The `TestClock` of a test. */
export const testClock: Effect.Effect<TestClock.TestClock, JobTestError> = Effect.flatMap(
  Clock.Clock,
  (clock) =>
    isTestClock(clock) ? Effect.succeed(clock) : Effect.fail(
      new JobTestError({
        detail: "time is moved on a TestClock, and there is none: use it.effect, or provide JobTest.layer"
      })
    )
)

/** Moves time until an effect has ended, and does `each` before every step. */
export const forward = Effect.fnUntraced(function*<A, E, R, E2, R2>(
  self: Effect.Effect<A, E, R>,
  withinMillis: number,
  each: Effect.Effect<unknown, E2, R2>
): Effect.fn.Return<A, E | E2 | JobTestError, R | R2> {
  const clock = yield* testClock
  const begin = clock.currentTimeMillisUnsafe()
  const fiber = yield* Effect.forkChild(self, { startImmediately: true })
  const isOver = () => fiber.pollUnsafe() !== undefined
  for (let step = stepMillis;; step *= 2) {
    for (let turn = 0; turn < turns && !isOver(); turn++) yield* Effect.yieldNow
    // A promise that waits for no timer of ours gets a moment of real time.
    if (!isOver()) yield* clock.withLive(Effect.sleep(1))
    if (isOver()) return yield* Fiber.join(fiber)
    yield* each
    const passed = clock.currentTimeMillisUnsafe() - begin
    if (passed >= withinMillis) {
      yield* Fiber.interrupt(fiber)
      return yield* new JobTestError({
        detail: `not over within ${Duration.format(Duration.millis(withinMillis))} of virtual time`
      })
    }
    step = Math.min(step, Math.max(stepMaxMillis, passed * stepMaxPart))
    // The clock stands still as soon as it is over.
    yield* Effect.raceFirst(clock.adjust(Math.min(step, withinMillis - passed)), Fiber.await(fiber))
  }
})

/**
 * Runs an effect and moves the `TestClock` whenever it waits, until it has ended: sleeps, retries and timeouts take no
 * real time. Fails with `JobTestError` when it has not ended `within` so much virtual time; it is interrupted then.
 *
 * For what waits for the real world (a socket, a file) use the live clock: virtual time would run away from it.
 *
 * @example const info = yield* JobTest.fastForward(queue.ended(id))
 */
export const fastForward = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: FastForwardOptions = {}
): Effect.Effect<A, E | JobTestError, R> =>
  forward(self, Duration.toMillis(Duration.fromInputUnsafe(options.within ?? "1 hour")), Effect.void)
