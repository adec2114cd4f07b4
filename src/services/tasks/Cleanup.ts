import { Cause, Effect, Exit, type Scope } from "effect"

/**
 * The rule of the house for cleanup that dies: a typed failure stays what it was and the defect is logged; after a
 * success, or when nothing typed would be lost, the defect is the outcome. (Plain `Effect.ensuring` turns the typed
 * failure into a defect, so `catchTag` no longer sees it.)
 */
export const onExit =
  <A, E, R2>(f: (exit: Exit.Exit<A, E>) => Effect.Effect<void, never, R2>) =>
  <R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | R2> =>
    Effect.onExit(self, (exit) =>
      Exit.isFailure(exit) && Cause.hasFails(exit.cause) && !Cause.hasDies(exit.cause)
        ? guarded(Effect.suspend(() => f(exit)))
        : Effect.suspend(() => f(exit)))

/** `Effect.ensuring` under the same rule. */
export const ensuring =
  <R2>(finalizer: Effect.Effect<void, never, R2>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | R2> => onExit<A, E, R2>(() => finalizer)(self)

/** `Effect.acquireRelease` whose release may die without hiding the failure of the scope: the defect is logged. */
export const acquireRelease = <A, E, R, R2>(
  acquire: Effect.Effect<A, E, R>,
  release: (resource: A, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, never, R2>
): Effect.Effect<A, E, R | R2 | Scope.Scope> =>
  Effect.acquireRelease(acquire, (resource, exit) =>
    Exit.isFailure(exit) && Cause.hasFails(exit.cause)
      ? guarded(Effect.suspend(() => release(resource, exit)))
      : release(resource, exit))

const guarded = <R>(finalizer: Effect.Effect<unknown, never, R>): Effect.Effect<void, never, R> =>
  Effect.catchCause(
    Effect.asVoid(finalizer),
    (cause) => Effect.logError("cleanup died; the failure before it is kept", cause)
  )
