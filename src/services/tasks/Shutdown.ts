import { Context, Deferred, Duration, Effect, Exit, type Fiber, Latch, type Scope } from "effect"
import { duration } from "./InvalidOption.ts"
import * as Tasks from "./Tasks.ts"

/** Why the program is asked to stop. */
export type Reason = "SIGINT" | "SIGTERM" | "request"

interface Step {
  readonly name: string
  readonly effect: Effect.Effect<void>
  fiber: Fiber.Fiber<void> | undefined
}

/**
 * How a program leaves. First it says so, and goes on for a while when a part of it asked for that: whoever sends it work
 * needs time to notice. Then every registered step drains (stop taking work, finish what was taken), all at once and
 * within a grace; then the program is interrupted. Long-running parts register a step; nobody needs to hear signals.
 */
export interface Shutdown {
  /** Whether the program is about to leave, draining or not yet: `readyz` fails from then on. */
  readonly isLeaving: Effect.Effect<boolean>
  /** Whether draining has begun. */
  readonly isDraining: Effect.Effect<boolean>
  /** Waits until draining begins, and gives the reason. */
  readonly awaitDraining: Effect.Effect<Reason>
  /**
   * Registers what to do when draining begins, until the scope closes. When it has begun already, the step begins at
   * once, beside what registered it.
   */
  readonly onDrain: (name: string, step: Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Asks, until the scope closes, that everything goes on for so long between the word and the drain: what a load balancer
   * needs to send its requests elsewhere. Of several the longest counts.
   *
   * @default no time
   */
  readonly goOnFor: (delay: Duration.Input) => Effect.Effect<void, never, Scope.Scope>
  /** Ends that time: draining begins at once. False when it was over, or there was none. */
  readonly hurryUnsafe: () => boolean
  /**
   * Begins; later calls wait for the same end. Returns when all steps have ended or the grace, which counts from the end of
   * the time that `goOnFor` asked for, is over. Draining goes on when a caller is interrupted.
   */
  readonly drain: (reason: Reason, grace: Duration.Input) => Effect.Effect<Drained>
}

/** What became of a drain. */
export interface Drained {
  readonly reason: Reason
  /** The steps that had not ended when the grace was over: they were interrupted. */
  readonly overstayed: ReadonlyArray<string>
}

/** Makes a shutdown that nobody else can begin: for a test, or for one of several programs in a process. */
export const make: Effect.Effect<Shutdown> = Effect.sync(() => makeUnsafe())

/**
 * The shutdown of the program that the current fiber belongs to.
 *
 * @default one that never begins, so that parts which register with it also work inside other programs
 */
export const CurrentShutdown = Context.Reference<Shutdown>("sluice/services/tasks/Shutdown", {
  defaultValue: () => makeUnsafe()
})

/** Registers a drain step with the current shutdown. */
export const onDrain = (name: string, step: Effect.Effect<void>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(CurrentShutdown, (shutdown) => shutdown.onDrain(name, step))

/** Waits until the current shutdown begins to drain. */
export const awaitDraining: Effect.Effect<Reason> = Effect.flatMap(
  CurrentShutdown,
  (shutdown) => shutdown.awaitDraining
)

/** Asks that the program goes on for so long before its current shutdown begins to drain. */
export const goOnFor = (delay: Duration.Input): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(CurrentShutdown, (shutdown) => shutdown.goOnFor(delay))

/** Whether the current shutdown was begun, draining or not yet. */
export const isLeaving: Effect.Effect<boolean> = Effect.flatMap(CurrentShutdown, (shutdown) => shutdown.isLeaving)

/** Whether the current shutdown has begun to drain. */
export const isDraining: Effect.Effect<boolean> = Effect.flatMap(CurrentShutdown, (shutdown) => shutdown.isDraining)

const makeUnsafe = (): Shutdown => {
  const draining = new Draining()
  return {
    isLeaving: Effect.sync(() => draining.isLeaving),
    isDraining: Effect.sync(() => draining.isBegun),
    awaitDraining: Deferred.await(draining.begun),
    onDrain: (name, effect) =>
      Effect.asVoid(
        Effect.acquireRelease(draining.register({ name, effect, fiber: undefined }), (step) =>
          Effect.sync(() => draining.forget(step)))
      ),
    goOnFor: (delay) =>
      Effect.suspend(() => {
        const asked = { millis: Duration.toMillis(duration("Shutdown delay", delay)) }
        return Effect.asVoid(Effect.acquireRelease(
          Effect.sync(() => draining.delays.add(asked)),
          () => Effect.sync(() => draining.delays.delete(asked))
        ))
      }),
    hurryUnsafe: () => draining.hurry(),
    drain: (reason, grace) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const time = duration("Shutdown grace", grace)
          // Begun and forked in one uninterruptible piece: whoever waits, waits for a fiber that will end.
          return Effect.andThen(draining.begin(reason, time), restore(Deferred.await(draining.ended)))
        })
      )
  }
}

class Draining {
  readonly begun = Deferred.makeUnsafe<Reason>()
  readonly ended = Deferred.makeUnsafe<Drained>()
  private readonly registered = new Set<Step>()
  private readonly running = new Set<Step>()
  private readonly idle = Latch.makeUnsafe(true)
  /** What parts asked for before the steps begin. */
  readonly delays = new Set<{ readonly millis: number }>()
  private readonly hurried = Latch.makeUnsafe(false)
  isLeaving = false

  get isBegun(): boolean {
    return Deferred.isDoneUnsafe(this.begun)
  }

  register(step: Step): Effect.Effect<Step> {
    return Effect.suspend(() => {
      this.registered.add(step)
      return this.isBegun ? Effect.as(this.start(step), step) : Effect.succeed(step)
    })
  }

  forget(step: Step): void {
    this.registered.delete(step)
    // Nobody else ends a step that began when the grace was over.
    if (Deferred.isDoneUnsafe(this.ended)) step.fiber?.interruptUnsafe(undefined)
  }

  begin(reason: Reason, grace: Duration.Duration): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.isLeaving) return Effect.void
      this.isLeaving = true
      const all = Effect.onExit(
        Effect.andThen(this.delay, Effect.suspend(() => this.run(reason, grace))),
        (exit) => Deferred.done(this.ended, exit)
      )
      return Effect.asVoid(Effect.forkDetach(all, { startImmediately: true, uninterruptible: true }))
    })
  }

  hurry(): boolean {
    if (!this.isLeaving || this.isBegun) return false
    this.hurried.openUnsafe()
    return true
  }

  private get delay(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const millis = Math.max(0, ...Array.from(this.delays, (asked) => asked.millis))
      return millis === 0 ? Effect.void : Effect.asVoid(Effect.timeoutOption(this.hurried.await, millis))
    })
  }

  private run(reason: Reason, grace: Duration.Duration): Effect.Effect<Drained> {
    return Effect.gen({ self: this }, function*() {
      Deferred.doneUnsafe(this.begun, Exit.succeed(reason))
      for (const step of Array.from(this.registered)) yield* this.start(step)
      yield* Effect.timeoutOption(this.idle.await, grace)
      const overstayed = Array.from(this.running)
      // Not waited for: a step that cannot be interrupted must not hold up the shutdown.
      for (const step of overstayed) step.fiber?.interruptUnsafe(undefined)
      return { reason, overstayed: overstayed.map((step) => step.name) }
    })
  }

  private start(step: Step): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.running.add(step)
      this.idle.closeUnsafe()
      const effect = Effect.suspend(() => step.effect).pipe(
        Effect.catchCause((cause) => Effect.logError(`drain step ${step.name} died`, cause)),
        Tasks.named(`drain ${step.name}`),
        Effect.onExit(() => Effect.sync(() => this.stepEnded(step)))
      )
      return Effect.map(Effect.forkDetach(effect, { startImmediately: true }), (fiber) => {
        step.fiber = fiber
      })
    })
  }

  private stepEnded(step: Step): void {
    this.running.delete(step)
    if (this.running.size === 0) this.idle.openUnsafe()
  }
}
