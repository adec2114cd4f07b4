import { Cause, Clock, type DateTime, Duration, Effect, Exit, Fiber, Option, Schema } from "effect"
import type { CallStack } from "./CallStack.ts"
import { because } from "./CancelReason.ts"
import { CurrentDeadline, type DeadlineNode, effectiveMillis, openBelow } from "./CurrentDeadline.ts"
import * as InvalidOption from "./InvalidOption.ts"
import { CurrentTask, type Label, render } from "./TaskNode.ts"

/** The work did not end by its deadline. */
export class DeadlineExceeded extends Schema.TaggedError<DeadlineExceeded>()("DeadlineExceeded", {
  name: Schema.String,
  /** How long the work was allowed to run, moves included. */
  afterMillis: Schema.Finite
}) {
  override get message(): string {
    return `${this.name} did not end within ${Duration.format(Duration.millis(this.afterMillis))}`
  }
}

/** A deadline in force: it can be asked and moved while the work runs. */
export interface Deadline {
  /** What is left until this deadline or an outer one that comes earlier; zero when it has passed. */
  readonly remaining: Effect.Effect<Duration.Duration>
  /**
   * Moves it: so long from now. Later than an outer deadline has no effect beyond that one. A deadline that has passed
   * stays where it was.
   */
  readonly move: (fromNow: Duration.Input) => Effect.Effect<void>
  /** Takes it away, unless it has passed; outer deadlines stay. */
  readonly lift: Effect.Effect<void>
}

/** What a deadline is called in its error, and how long its cleanup may take. */
export interface Options {
  /** @default "the work" */
  readonly name?: Label | undefined
  /**
   * How long cleanup may take after the deadline. Then the work is left behind (it goes on alone) and named in the log.
   *
   * @default Duration.infinity: wait for the cleanup
   */
  readonly grace?: Duration.Input | undefined
}

/**
 * What is left of the time that the current fiber has: infinite without a deadline, zero when it has passed. An HTTP
 * attempt or a SQL statement must not be given more.
 */
export const remaining: Effect.Effect<Duration.Duration> = Effect.withFiber((fiber) =>
  Effect.succeed(Duration.millis(remainingMillisUnsafe(fiber)))
)

/** `remaining` for hot paths: milliseconds, `Infinity` without a deadline. */
export const remainingMillisUnsafe = (fiber: Fiber.Fiber<unknown, unknown>): number => {
  const node = fiber.getRef(CurrentDeadline)
  if (node === undefined) return Number.POSITIVE_INFINITY
  return Math.max(0, effectiveMillis(node) - fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
}

/** The smaller of what is left and this limit: the timeout to hand to a foreign client. */
export const capped = (limit: Duration.Input): Effect.Effect<Duration.Duration> =>
  Effect.map(remaining, (left) => Duration.min(left, InvalidOption.duration("Deadline.capped limit", limit)))

/** When the current fiber must be done, in milliseconds of its clock; none without a deadline. */
export const current: Effect.Effect<Option.Option<number>> = Effect.withFiber((fiber) => {
  const at = effectiveMillis(fiber.getRef(CurrentDeadline))
  return Effect.succeed(Number.isFinite(at) ? Option.some(at) : Option.none())
})

/**
 * Runs the effect under a deadline that everything it starts inherits. At the deadline it is interrupted and the result
 * is `DeadlineExceeded`, unless it fails in its cleanup: that failure is kept. A value that an uninterruptible part still
 * gives after the deadline is dropped, as Effect drops the value of an interrupted fiber.
 *
 * It holds in a finalizer and in an uninterruptible region too, which shield from others and not from one's own
 * deadline; what must not be cut is uninterruptible inside of it. An outer deadline that has passed already does not
 * shorten one that is opened in the cleanup.
 *
 * @param duration so long from now; zero or less has passed already
 */
export const within = (duration: Duration.Input, options?: Options) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | DeadlineExceeded, R> => use(duration, () => self, options)

/**
 * `within`, until a point in time: in milliseconds of the clock, as `current` gives it, or a `DateTime`.
 *
 * @example Deadline.at(DateTime.add(received, { seconds: 30 }))
 */
export const at = (instant: DateTime.DateTime | number, options?: Options) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | DeadlineExceeded, R> =>
  open(() => InvalidOption.instantMillis("Deadline.at instant", instant), () => self, options)

/**
 * Puts the effect under a deadline that is only told, and not enforced: for hot paths whose waiting is bounded by what
 * they wait for, which asks {@link remainingMillisUnsafe}. It costs no timer and no fiber.
 */
export const marked = (millis: number) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    InvalidOption.timeLeft("Deadline.marked millis", millis)
    const parent = fiber.getRef(CurrentDeadline)
    const atMillis = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe() + millis
    const node: DeadlineNode = { parent, depth: parent === undefined ? 1 : parent.depth + 1, atMillis }
    return Effect.provideService(self, CurrentDeadline, node)
  })

/** `within`, for work that wants to move its deadline. */
export const use = <A, E, R>(
  duration: Duration.Input,
  body: (deadline: Deadline) => Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<A, E | DeadlineExceeded, R> =>
  open(
    (nowMillis) => nowMillis + Duration.toMillis(InvalidOption.timeLeft("Deadline duration", duration)),
    body,
    options
  )

const open = <A, E, R>(
  atMillis: (nowMillis: number) => number,
  body: (deadline: Deadline) => Effect.Effect<A, E, R>,
  options: Options | undefined
): Effect.Effect<A, E | DeadlineExceeded, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((owner) => {
      const { stack } = owner.getRef(CurrentTask)
      const timer = new Timer(owner.getRef(Clock.Clock), atMillis, owner.getRef(CurrentDeadline), options)
      const work = Effect.provideService(
        // Only the timer and the owner can interrupt this fiber, and they must, also where the owner is uninterruptible.
        Effect.interruptible(Effect.andThen(timer.hop, Effect.suspend(() => body(timer)))),
        CurrentDeadline,
        timer.node
      )
      return Effect.flatMap(
        Effect.forkDetach(work, { startImmediately: true, uninterruptible: true }),
        (fiber) =>
          Effect.flatMap(timer.start(fiber), () =>
            Effect.matchCauseEffect(restore(timer.awaitOr(stack.exitOf(fiber))), {
              onFailure: (cause) => Effect.andThen(timer.stop, abandon(stack, fiber, cause)),
              onSuccess: (exit) => Effect.andThen(timer.stop, timer.outcome(exit))
            }))
      )
    })
  )

/** Interrupted from outside: the work is interrupted too, its cleanup is waited for, and what fails in it is kept. */
const abandon = <A, E>(
  stack: CallStack,
  work: Fiber.Fiber<A, E>,
  cause: Cause.Cause<never>
): Effect.Effect<never, E> =>
  Effect.andThen(
    stack.interrupt(work),
    Effect.flatMap(Fiber.await(work), (exit) => {
      const failures = Exit.isSuccess(exit)
        ? []
        : exit.cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))
      return Effect.failCause(Cause.fromReasons<E>([...cause.reasons, ...failures]))
    })
  )

class Timer implements Deadline {
  readonly node: DeadlineNode
  private readonly clock: Clock.Clock
  private readonly startedAtMillis: number
  private readonly name: Label
  private readonly grace: Duration.Duration
  private work: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private sleeper: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private isStopped = false
  /** How long the work was allowed to run, from when the deadline has passed. */
  private expiredAfterMillis: number | undefined = undefined
  private onExpired: (() => void) | undefined = undefined

  constructor(
    clock: Clock.Clock,
    atMillis: (nowMillis: number) => number,
    parent: DeadlineNode | undefined,
    options: Options | undefined
  ) {
    this.clock = clock
    this.name = options?.name ?? "the work"
    this.grace = options?.grace === undefined
      ? Duration.infinity
      : InvalidOption.duration("Deadline grace", options.grace)
    this.startedAtMillis = clock.currentTimeMillisUnsafe()
    this.node = openBelow(parent, this.startedAtMillis, atMillis(this.startedAtMillis))
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.sync(() =>
      Duration.millis(Math.max(0, effectiveMillis(this.node) - this.clock.currentTimeMillisUnsafe()))
    )
  }

  /** Deep nests start synchronously: every so many levels the chain goes through the scheduler. */
  get hop(): Effect.Effect<void> {
    return this.node.depth % 32 === 0 ? Effect.yieldNow : Effect.void
  }

  start(work: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> {
    this.work = work
    return this.restart
  }

  /** Whether there is nothing left to watch: the work has ended, was cut, or was left behind. */
  private get isOver(): boolean {
    return this.isStopped || this.expiredAfterMillis !== undefined || this.work?.pollUnsafe() !== undefined
  }

  private get restart(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.sleeper?.interruptUnsafe(undefined)
      this.sleeper = undefined
      if (this.isOver || this.work === undefined || !Number.isFinite(this.node.atMillis)) return Effect.void
      const left = this.node.atMillis - this.clock.currentTimeMillisUnsafe()
      if (left <= 0) return Effect.sync(() => this.expire())
      return Effect.asVoid(Effect.forkDetach(this.sleep(left), { startImmediately: true, uninterruptible: false }))
    })
  }

  /** Registers in its first step: whoever moves or stops the timer meanwhile finds it. */
  private sleep(millis: number): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      if (this.isOver) return Effect.void
      this.sleeper?.interruptUnsafe(undefined)
      this.sleeper = fiber
      return Effect.andThen(this.clock.sleep(Duration.millis(millis)), Effect.sync(() => this.expire()))
    })
  }

  private expire(): void {
    this.sleeper = undefined
    if (this.isOver || this.work === undefined) return
    this.expiredAfterMillis = Math.max(0, this.node.atMillis - this.startedAtMillis)
    this.onExpired?.()
    const after = Duration.format(Duration.millis(this.expiredAfterMillis))
    this.work.interruptUnsafe(undefined, because(`deadline of ${after} passed`))
  }

  get stop(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.sleeper?.interruptUnsafe(undefined)
      this.sleeper = undefined
      this.isStopped = true
    })
  }

  move(fromNow: Duration.Input): Effect.Effect<void> {
    return Effect.uninterruptible(Effect.suspend(() => {
      const millis = Duration.toMillis(InvalidOption.timeLeft("Deadline move", fromNow))
      // What has passed has passed: its error says how long the work had, and its cleanup cannot call it back.
      if (this.isOver) return Effect.void
      this.node.atMillis = this.clock.currentTimeMillisUnsafe() + millis
      return this.restart
    }))
  }

  get lift(): Effect.Effect<void> {
    return this.move(Duration.infinity)
  }

  /** The exit of the work, or none when it outlived the grace after the deadline. */
  awaitOr<A, E>(exit: Effect.Effect<Exit.Exit<A, E>>): Effect.Effect<Option.Option<Exit.Exit<A, E>>> {
    const ended = Effect.asSome(exit)
    if (!Duration.isFinite(this.grace)) return ended
    const expired = Effect.callback<void>((resume) => {
      if (this.expiredAfterMillis !== undefined) return resume(Effect.void)
      this.onExpired = () => resume(Effect.void)
    })
    const graceOver = Effect.andThen(expired, Effect.as(this.clock.sleep(this.grace), Option.none()))
    return Effect.raceFirst(ended, graceOver)
  }

  outcome<A, E>(exit: Option.Option<Exit.Exit<A, E>>): Effect.Effect<A, E | DeadlineExceeded> {
    const exceeded = Effect.suspend(() =>
      new DeadlineExceeded({ name: render(this.name), afterMillis: this.expiredAfterMillis ?? 0 })
    )
    if (Option.isNone(exit)) {
      const leftBehind = `${render(this.name)}: left behind, its cleanup outlived the grace after the deadline`
      return Effect.andThen(Effect.logWarning(leftBehind), exceeded)
    }
    const isCut = this.expiredAfterMillis !== undefined && Exit.isFailure(exit.value) &&
      Cause.hasInterruptsOnly(exit.value.cause)
    return isCut ? exceeded : exit.value
  }
}
