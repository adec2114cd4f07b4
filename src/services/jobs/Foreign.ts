import { Cause, Effect, Exit, Fiber, Formatter, Result } from "effect"
/** Code that is not ours: what it throws, as text, and a fiber of its own to die in. */

/** What is thrown may throw while it is shown. */
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

/**
 * Runs an effect in a fiber of its own and waits for its end. JavaScript may give the runtime an effect that is none: that ends its fiber there and then, past
 * every handler and finalizer, which must not be those of the caller. One that interrupts itself has died.
 */
export const confined = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkChild(restore(self), { startImmediately: true }), (fiber) => {
      const ended = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> =>
        Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
          ? Effect.die(new Error("the handler interrupted itself"))
          : exit
      const exit = fiber.pollUnsafe()
      return exit !== undefined
        ? ended(exit)
        : Effect.flatMap(Effect.onInterrupt(restore(Fiber.await(fiber)), () => Fiber.interrupt(fiber)), ended)
    })
  )
