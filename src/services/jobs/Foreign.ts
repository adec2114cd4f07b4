/** Code that is not ours: what it throws, as text, and a fiber of its own to die in. */
import { Cause, Effect, Exit, Fiber, Formatter, Result } from "effect"

/** An error may itself throw while it is turned into text. */
const shown = (show: () => string): string => Result.getOrElse(Result.try(show), () => "an error that cannot be shown")

/** The text of an error. */
export const textOf = (error: unknown): string =>
  shown(() => {
    if (typeof error === "string") return error
    return error instanceof Error && error.message !== "" ? `${error.name}: ${error.message}` : Formatter.format(error)
  })

/** The text of a cause, with its stacks. */
export const prettyOf = (cause: Cause.Cause<unknown>): string => shown(() => Cause.pretty(cause))

/** What a synchronous codec threw; Schema throws an error of its own around it. */
export const thrown = (error: unknown): string => {
  const cause = error instanceof Error ? error.cause : undefined
  return Cause.isCause(cause) ? textOf(Cause.squash(cause)) : textOf(error)
}

/** The defect of a handler that was interrupted, and by nobody of ours. */
export const selfInterrupted = (): Error => new Error("the handler interrupted itself")

/**
 * Whether fibers that a handler has forked from its own live on. Effect shows no children in its types: should it one day
 * keep them elsewhere, they live until the slot of the handler is given up.
 */
export const hasChildren = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  "_children" in fiber && fiber._children instanceof Set && fiber._children.size > 0

/**
 * Runs an effect in a fiber of its own and waits for its end. What JavaScript code returns may only look like an
 * effect: the runtime then ends the fiber on the spot and skips its handlers and finalizers, which must not be those of
 * the caller. An effect that interrupts itself has died.
 */
export const confined = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkChild(restore(self), { startImmediately: true }), (fiber) => {
      const ended = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> =>
        Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
          ? Effect.die(selfInterrupted())
          : exit
      const exit = fiber.pollUnsafe()
      return exit !== undefined
        ? ended(exit)
        : Effect.flatMap(Effect.onInterrupt(restore(Fiber.await(fiber)), () => Fiber.interrupt(fiber)), ended)
    })
  )
