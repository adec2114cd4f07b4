import { Context, Deferred, Duration, Effect, Exit, Fiber, type Scope } from "effect"
import * as Tasks from "./Tasks.ts"

/** Why the program is asked to stop. */
export type Reason = "SIGINT" | "SIGTERM" | "request"

interface Step {
  readonly name: string
  readonly effect: Effect.Effect<void>
}

/**
 * How a program leaves: first every registered step drains (stop taking work, finish what was taken), all at once and
 * within a grace; then the program is interrupted. Long-running parts register a step; nobody needs to hear signals.
 */
export interface Shutdown {
  /** Whether draining has begun: `readyz` fails from then on. */
  readonly isDraining: Effect.Effect<boolean>
  /** Waits until draining begins, and gives the reason. */
  readonly awaitDraining: Effect.Effect<Reason>
  /** Registers what to do when draining begins, until the scope closes. */
  readonly onDrain: (name: string, step: Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
  /** Begins; later calls wait for the same end. Returns when all steps have ended or the grace is over. */
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

/** Whether the current shutdown has begun to drain. */
export const isDraining: Effect.Effect<boolean> = Effect.flatMap(CurrentShutdown, (shutdown) => shutdown.isDraining)

const makeUnsafe = (): Shutdown => {
  const begun = Deferred.makeUnsafe<Reason>()
  const ended = Deferred.makeUnsafe<Drained>()
  const steps = new Set<Step>()

  const run = Effect.fnUntraced(function*(reason: Reason, grace: Duration.Duration) {
    const running = new Set(steps)
    const all = Effect.forEach(
      running,
      (step) =>
        step.effect.pipe(
          Effect.catchCause((cause) => Effect.logError(`drain step ${step.name} died`, cause)),
          Effect.andThen(Effect.sync(() => running.delete(step))),
          Tasks.named(`drain ${step.name}`)
        ),
      { concurrency: "unbounded", discard: true }
    )
    // In a fiber of its own that is not waited for: a step that cannot be interrupted must not hold up the shutdown.
    const fiber = yield* Effect.forkDetach(all, { startImmediately: true })
    yield* Effect.timeoutOption(Fiber.await(fiber), grace)
    fiber.interruptUnsafe(undefined)
    return { reason, overstayed: Array.from(running, (step) => step.name) }
  })

  return {
    isDraining: Effect.sync(() => Deferred.isDoneUnsafe(begun)),
    awaitDraining: Deferred.await(begun),
    onDrain: (name, effect) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => {
            const step = { name, effect }
            steps.add(step)
            return step
          }),
          (step) => Effect.sync(() => steps.delete(step))
        )
      ),
    drain: (reason, grace) =>
      Effect.suspend(() => {
        if (!Deferred.doneUnsafe(begun, Exit.succeed(reason))) return Deferred.await(ended)
        return Effect.tap(
          run(reason, Duration.fromInputUnsafe(grace)),
          (drained) => Deferred.succeed(ended, drained)
        )
      })
  }
}
