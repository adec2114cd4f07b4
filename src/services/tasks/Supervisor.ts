import { Cause, Clock, Duration, Effect, Exit, Pull, Schedule, Schema } from "effect"
import * as FanOut from "./FanOut.ts"
import { limit, period } from "./InvalidOption.ts"
import { CurrentTask, type Label, render } from "./TaskNode.ts"
import * as Tasks from "./Tasks.ts"

/** A child kept failing: the supervisor gives up and hands the last failure to whoever supervises it. */
export class RestartsExhausted extends Schema.TaggedError<RestartsExhausted>()("RestartsExhausted", {
  name: Schema.String,
  maxRestarts: Schema.Int,
  /** Infinity when all failures ever count. */
  windowMillis: Schema.Number,
  /** The last failure. */
  cause: Schema.Defect()
}) {
  override get message(): string {
    const window = Duration.format(Duration.millis(this.windowMillis))
    return `${this.name} failed more than ${this.maxRestarts} times within ${window}`
  }
}

/** When to restart, how often, and how fast. */
export interface Options {
  /** @default "supervised" */
  readonly name?: Label | undefined
  /**
   * `onFailure`: a child that succeeds is done; `always`: it is restarted too, with the same backoff. In both, only
   * failures count towards `maxRestarts`.
   *
   * @default "onFailure"
   */
  readonly restart?: "onFailure" | "always" | undefined
  /**
   * More failures than this within the window, and the supervisor gives up; Infinity: never.
   *
   * @default 5
   */
  readonly maxRestarts?: number | undefined
  /** @default "30 seconds" */
  readonly window?: Duration.Input | undefined
  /**
   * The delays between restarts; starts anew when a child was up for a whole window.
   *
   * @default exponential from 100 ms, at most 10 s, jittered
   */
  readonly backoff?: Schedule.Schedule<unknown> | undefined
}

/** A child of `all`. */
export interface Child<E, R> {
  readonly name: string
  readonly effect: Effect.Effect<unknown, E, R>
}

/**
 * Who is restarted when a child fails (OTP): that child; all; or that one and those listed after it, because they
 * depend on it.
 */
export type Strategy = "oneForOne" | "oneForAll" | "restForOne"

/** Failures in the sliding window; it never holds more than `maxRestarts + 1` times. */
class Intensity {
  private readonly times: Array<number> = []
  readonly maxRestarts: number
  readonly windowMillis: number
  /** Set once: the supervisors that share these counts give up together. */
  givenUp: RestartsExhausted | undefined = undefined

  constructor(options: Options | undefined) {
    this.maxRestarts = limit("Supervisor maxRestarts", options?.maxRestarts ?? 5, 0)
    this.windowMillis = Duration.toMillis(period("Supervisor window", options?.window ?? "30 seconds"))
  }

  isExceededBy(nowMillis: number): boolean {
    this.times.push(nowMillis)
    while ((this.times[0] ?? nowMillis) <= nowMillis - this.windowMillis) this.times.shift()
    if (this.times.length <= this.maxRestarts) return false
    this.times.length = this.maxRestarts
    return true
  }
}

const backoffDefault = Schedule.jittered(
  Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("10 seconds")])
)

/**
 * Runs the effect and restarts it when it fails or dies, with backoff, until it has failed too often: then fails with
 * `RestartsExhausted`. An interruption stops it.
 */
export const run = (options?: Options) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, RestartsExhausted, R> =>
  Effect.suspend(() => {
    const label = options?.name ?? "supervised"
    return Tasks.named(label)(supervise(self, label, options, new Intensity(options)))
  })

const supervise = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  label: Label,
  options: Options | undefined,
  intensity: Intensity
): Effect.Effect<A, RestartsExhausted, R> =>
  Effect.gen(function*() {
    const schedule = options?.backoff ?? backoffDefault
    const clock = yield* Clock.Clock
    let step = yield* Schedule.toStep(schedule)
    while (true) {
      const startedAtMillis = clock.currentTimeMillisUnsafe()
      const exit = yield* Effect.exit(self)
      if (Exit.isSuccess(exit)) {
        if (options?.restart !== "always") return exit.value
      } else {
        // It was cancelled from within, or gave up below: both end this supervisor too.
        if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.andThen(notRestarted(label), Effect.interrupt)
        const given = intensity.givenUp
        if (
          given !== undefined &&
          exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error === given)
        ) {
          return yield* given
        }
        if (intensity.isExceededBy(clock.currentTimeMillisUnsafe())) {
          intensity.givenUp = new RestartsExhausted({
            name: render(label),
            maxRestarts: intensity.maxRestarts,
            windowMillis: intensity.windowMillis,
            cause: Cause.squash(exit.cause)
          })
          return yield* intensity.givenUp
        }
      }
      const nowMillis = clock.currentTimeMillisUnsafe()
      if (nowMillis - startedAtMillis >= intensity.windowMillis) step = yield* Schedule.toStep(schedule)
      const delay = yield* Pull.matchEffect(step(nowMillis, undefined), {
        onSuccess: ([, duration]) => Effect.succeed(duration),
        onFailure: Effect.failCause,
        onDone: () => Effect.succeed(Duration.zero)
      })
      if (Exit.isFailure(exit)) {
        const rounded = Duration.millis(Math.round(Duration.toMillis(delay)))
        yield* Effect.logWarning(`${render(label)} failed, restarting in ${Duration.format(rounded)}`, exit.cause)
      }
      yield* Tasks.backoff(delay)
    }
  })

/** A cancelled child is no failure and is not restarted; when only it was cancelled, that is worth a line. */
const notRestarted = (label: Label): Effect.Effect<void> =>
  Effect.logWarning(`${render(label)} was cancelled: it is not restarted`)

/** Says so when the child's own task was cancelled, and not the whole it belongs to. */
const watched = <A, E, R>(label: Label, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.onInterrupt(
    self,
    () =>
      Effect.flatMap(CurrentTask, (node) =>
        node.isCancelling && node.parent?.isCancelling === false ? notRestarted(label) : Effect.void)
  )

/**
 * Supervises several children, whose failures count together. Ends when all have succeeded or were cancelled (see
 * `Tasks.cancel`), or with `RestartsExhausted`.
 *
 * @default options.strategy "oneForOne"
 */
export const all = <E, R>(
  children: ReadonlyArray<Child<E, R>>,
  options?: Omit<Options, "restart"> & { readonly strategy?: Strategy | undefined }
): Effect.Effect<void, RestartsExhausted, R> =>
  Effect.suspend(() => {
    const intensity = new Intensity(options)
    const name = options?.name ?? "supervisor"
    const group = <E2>(members: ReadonlyArray<Child<E2, R>>): Effect.Effect<void, E2, R> =>
      FanOut.forEachDiscard(members, (child) => child.effect, {
        concurrency: "unbounded",
        name,
        taskName: (child) => child.name
      })
    const supervised = (child: Child<unknown, R>): Child<RestartsExhausted, R> => ({
      name: child.name,
      effect: watched(child.name, supervise(child.effect, child.name, options, intensity))
    })
    const strategy = options?.strategy ?? "oneForOne"
    if (strategy === "oneForOne") return group(children.map(supervised))
    if (strategy === "oneForAll") return supervise(group(children), name, options, intensity)
    // Built from the last: a failure of one restarts it with everything after it, which supervises itself.
    const restForOne = (index: number): Effect.Effect<void, RestartsExhausted, R> => {
      const child = children[index]
      if (child === undefined) return Effect.void
      const rest = { name: "and after", effect: Effect.suspend(() => restForOne(index + 1)) }
      const members = group<E | RestartsExhausted>(index + 1 < children.length ? [child, rest] : [child])
      return supervise(members, child.name, options, intensity)
    }
    return restForOne(0)
  })
