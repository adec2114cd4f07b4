import { assert } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Logger, Option } from "effect"
import { TestClock } from "effect/testing"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import { Boom, failuresOf, isInterrupted, makeTrace, scenario } from "../../support/scenario.ts"

const exceeded = (afterMillis: number, name = "the work") =>
  Exit.fail(new Deadline.DeadlineExceeded({ name, afterMillis }))

/** Forks, lets so many seconds pass one by one, and gives the exit. */
const after = <A, E>(seconds: number, effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let i = 0; i < seconds; i++) yield* TestClock.adjust("1 second")
    return yield* Fiber.await(fiber)
  })

scenario(
  "78 CPython test_nested_timeouts",
  "nested deadlines: the one that passes first is the one that is named",
  Effect.gen(function*() {
    const nested = (outer: Duration.Input, inner: Duration.Input) =>
      after(5, Effect.never.pipe(Deadline.within(inner, { name: "inner" }), Deadline.within(outer, { name: "outer" })))
    assert.deepStrictEqual(yield* nested("3 seconds", "2 seconds"), exceeded(2000, "inner"))
    assert.deepStrictEqual(yield* nested("2 seconds", "3 seconds"), exceeded(2000, "outer"))
  })
)

scenario(
  "79 CPython test_timeout_zero/_in_the_past",
  "a deadline that has passed already: work that needs no time is kept, work that waits is cut at once",
  Effect.gen(function*() {
    assert.strictEqual(yield* Deadline.within(0)(Effect.succeed("at once")), "at once")
    assert.deepStrictEqual(yield* Effect.exit(Deadline.within(0)(Effect.never)), exceeded(0))
    const { events, mark } = makeTrace()
    yield* Effect.exit(Deadline.within(0)(Effect.andThen(Effect.yieldNow, mark("ran on"))))
    assert.deepStrictEqual(events, [])
  })
)

scenario(
  "80 CPython test_foreign_exception_on_timeout",
  "a failure of the work during its cancellation is kept, and is not the deadline's",
  Effect.gen(function*() {
    const work = Effect.uninterruptibleMask((restore) =>
      Effect.catchCause(restore(Effect.never), () => new Boom({ who: "work" }))
    )
    assert.deepStrictEqual(failuresOf(yield* after(1, Deadline.within("1 second")(work))), ["work"])
  })
)

scenario(
  "81 CPython test_foreign_cancel_doesnt_timeout_if_not_expired",
  "an interruption from outside is an interruption, not a deadline",
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Deadline.within("10 seconds")(Effect.never), { startImmediately: true })
    yield* Fiber.interrupt(fiber)
    assert.isTrue(isInterrupted(yield* Fiber.await(fiber)))
  })
)

scenario(
  "82 CPython test_outer_task_is_not_cancelled",
  "after the deadline the caller goes on",
  Effect.gen(function*() {
    const exit = yield* after(
      2,
      Effect.andThen(
        Effect.exit(Deadline.within("1 second")(Effect.never)),
        Effect.andThen(Effect.sleep("1 second"), Effect.succeed("went on"))
      )
    )
    assert.deepStrictEqual(exit, Exit.succeed("went on"))
  })
)

scenario(
  "83 CPython test_nested_timeouts_concurrent",
  "both pass at the same moment: one of them, once, and the outer call has ended",
  Effect.gen(function*() {
    const exit = yield* after(
      1,
      Effect.never.pipe(Deadline.within("1 second", { name: "inner" }), Deadline.within("1 second", { name: "outer" }))
    )
    assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.length === 1)
  })
)

scenario(
  "84 CPython test_reschedule",
  "a deadline can be moved out, moved in and lifted while the work runs",
  Effect.gen(function*() {
    const out = yield* after(
      5,
      Deadline.use("2 seconds", (deadline) =>
        Effect.gen(function*() {
          yield* Effect.sleep("1 second")
          yield* deadline.move("3 seconds")
          assert.strictEqual(Duration.toMillis(yield* Deadline.remaining), 3000)
          return yield* Effect.never
        }))
    )
    assert.deepStrictEqual(out, exceeded(4000))
    const sooner = yield* after(
      2,
      Deadline.use("1 hour", (deadline) => Effect.andThen(deadline.move("1 second"), Effect.never))
    )
    assert.deepStrictEqual(sooner, exceeded(1000))
    const lifted = yield* after(
      5,
      Deadline.use(
        "1 second",
        (deadline) => Effect.andThen(deadline.lift, Effect.as(Effect.sleep("5 seconds"), "free"))
      )
    )
    assert.deepStrictEqual(lifted, Exit.succeed("free"))
  })
)

scenario(
  "85 CPython test_nested_timeout_in_finally",
  "cleanup after a deadline may have a deadline of its own",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const cleanup = Effect.andThen(
      Effect.exit(Deadline.within("1 second", { name: "cleanup" })(Effect.interruptible(Effect.never))),
      mark("cleanup was cut")
    )
    const exit = yield* after(3, Deadline.within("1 second", { name: "work" })(Effect.ensuring(Effect.never, cleanup)))
    assert.deepStrictEqual(exit, exceeded(1000, "work"))
    assert.deepStrictEqual(events, ["cleanup was cut"])
  })
)

scenario(
  "86 CPython test_timeout_after_cancellation",
  "work that is being cancelled already is not cut a second time by its deadline",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* Effect.forkChild(
      Deadline.within("1 second")(
        Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("2 seconds"), mark("cleaned up")))
      ),
      { startImmediately: true }
    )
    const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(interruption)
    assert.deepStrictEqual(events, ["cleaned up"])
    assert.isTrue(isInterrupted(yield* Fiber.await(fiber)))
  })
)

scenario(
  "87 CPython test_timeout_taskgroup",
  "a deadline around a group cancels all its children",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    const exit = yield* after(
      1,
      TaskGroup.use()((group) =>
        Effect.andThen(group.spawn(untilCancelled("a")), Effect.andThen(group.spawn(untilCancelled("b")), Effect.never))
      ).pipe(Deadline.within("1 second"))
    )
    assert.deepStrictEqual(exit, exceeded(1000))
    assert.sameMembers(events, ["a cancelled", "b cancelled"])
  })
)

scenario(
  "88 CPython test_wait_for_waits_for_task_cancellation",
  "the deadline waits for the cleanup of what it cut",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const work = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("1 second"), mark("cleaned up")))
    const exit = yield* after(2, Effect.ensuring(Deadline.within("1 second")(work), mark("returned")))
    assert.deepStrictEqual(exit, exceeded(1000))
    assert.deepStrictEqual(events, ["cleaned up", "returned"])
  })
)

scenario(
  "88b own: grace after a deadline",
  "cleanup that outlives its grace is left behind and named",
  Effect.gen(function*() {
    const lines: Array<string> = []
    const release = yield* Deferred.make<void>()
    const exit = yield* after(
      3,
      Effect.uninterruptible(Deferred.await(release)).pipe(
        Deadline.within("1 second", { name: "stubborn", grace: "2 seconds" }),
        Effect.provide(Logger.layer([Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))]))
      )
    )
    assert.deepStrictEqual(exit, exceeded(1000, "stubborn"))
    assert.include(lines[0], "stubborn: left behind")
    yield* Deferred.succeed(release, undefined)
  })
)

scenario(
  "89 CPython test_wait_for_cancellation_race_condition",
  "work that ends in the very moment it is interrupted leaves no timer",
  Effect.gen(function*() {
    const gate = yield* Deferred.make<number>()
    const fiber = yield* Effect.forkChild(Deadline.within("1 hour")(Deferred.await(gate)), { startImmediately: true })
    yield* Deferred.succeed(gate, 1)
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(yield* Fiber.await(fiber), Exit.succeed(1))
  })
)

scenario(
  "90 Trio test_move_on_after_moves_on_even_if_shielded",
  "differs: an uninterruptible part is waited for (give a grace to move on), then the deadline is the outcome",
  Effect.gen(function*() {
    const exit = yield* after(
      2,
      Deadline.within("1 second")(Effect.uninterruptible(Effect.as(Effect.sleep("2 seconds"), "value")))
    )
    assert.deepStrictEqual(exit, exceeded(1000))
  })
)

scenario(
  "91 Trio test_context_shields_from_outer",
  "what does not belong to the deadline's work is not cut: a child of an outer group goes on",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const exit = yield* after(
      2,
      TaskGroup.use()((outer) =>
        Effect.exit(
          Deadline.within("1 second")(Effect.andThen(
            outer.spawn(Effect.andThen(Effect.sleep("2 seconds"), mark("outer child ended"))),
            Effect.never
          ))
        )
      )
    )
    assert.isTrue(Exit.isSuccess(exit))
    assert.deepStrictEqual(events, ["outer child ended"])
  })
)

scenario(
  "92 Kotlin WithTimeoutTest.testSuppressExceptionWithResult",
  "differs: a value that comes out of a swallowed interruption is dropped, as Effect drops that of an interrupted fiber",
  Effect.gen(function*() {
    const work = Effect.uninterruptibleMask((restore) =>
      Effect.catchCause(restore(Effect.never), () => Effect.succeed("rescued"))
    )
    assert.deepStrictEqual(yield* after(1, Deadline.within("1 second")(work)), exceeded(1000))
  })
)

scenario(
  "93 Kotlin WithTimeoutTest.testExceptionOnTimeout",
  "the deadline is a typed error that says who and how long",
  Effect.gen(function*() {
    const exit = yield* after(
      1,
      Deadline.within("1 second", { name: "GET /a" })(Effect.never).pipe(
        Effect.catchTag("DeadlineExceeded", (error) => Effect.succeed(error.message))
      )
    )
    assert.deepStrictEqual(exit, Exit.succeed("GET /a did not end within 1s"))
  })
)

scenario(
  "94 tokio simultaneous_deadline_future_completion",
  "work that completes exactly at its deadline is kept when it was first in the queue",
  Effect.gen(function*() {
    const exit = yield* after(
      1,
      Deadline.use("1 hour", (deadline) => {
        // The work's own timer is set before the deadline's.
        const work = Effect.as(Effect.sleep("1 second"), "in time")
        return Effect.flatMap(
          Effect.forkChild(work, { startImmediately: true }),
          (fiber) => Effect.andThen(deadline.move("1 second"), Fiber.join(fiber))
        )
      })
    )
    assert.deepStrictEqual(exit, Exit.succeed("in time"))
  })
)

scenario(
  "95 tokio completed_future_past_deadline",
  "a value that is there is given even when the deadline has passed long ago",
  Effect.gen(function*() {
    assert.strictEqual(yield* Deadline.within(Duration.zero)(Effect.succeed(1)), 1)
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(yield* Deadline.within(-1000)(Effect.succeed(2)), 2)
  })
)

scenario(
  "own: remaining crosses into fan-out",
  "every task of a fan-out can ask what is left, and cap a foreign timeout by it",
  Effect.gen(function*() {
    const exit = yield* after(
      3,
      Effect.gen(function*() {
        yield* Effect.sleep("3 seconds")
        return yield* FanOut.all([
          Effect.map(Deadline.remaining, Duration.toMillis),
          Effect.map(Deadline.capped("2 seconds"), Duration.toMillis),
          Effect.map(Deadline.capped("1 minute"), Duration.toMillis),
          Effect.map(
            Effect.zip(Deadline.current, Clock.currentTimeMillis),
            ([at, now]) => Option.getOrElse(at, () => 0) - now
          )
        ])
      }).pipe(Deadline.within("10 seconds"))
    )
    assert.deepStrictEqual(exit, Exit.succeed([7000, 2000, 7000, 7000]))
  })
)

scenario(
  "own: one timer",
  "ten thousand tasks under one deadline need one timer",
  Effect.gen(function*() {
    let sleeps = 0
    const clock = yield* Clock.Clock
    const counting: Clock.Clock = {
      ...clock,
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
      sleep: (duration) => {
        sleeps++
        return clock.sleep(duration)
      }
    }
    yield* FanOut.forEachDiscard(Array.from({ length: 10_000 }), () => Deadline.remaining).pipe(
      Deadline.within("10 seconds"),
      Effect.provideService(Clock.Clock, counting)
    )
    assert.strictEqual(sleeps, 1)
  })
)
