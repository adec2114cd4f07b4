import { type Duration, Effect, Exit, Fiber, type Option } from "effect"

/**
 * Waits for the effect, at most so long, also from where nothing can be interrupted any more (a finalizer, an
 * interrupted fiber): `None` when it was not done by then. The wait goes on in a fiber of its own, which is interrupted.
 */
export const atMost = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  grace: Duration.Input
): Effect.Effect<Option.Option<A>, E, R> =>
  Effect.flatMap(
    Effect.forkDetach(Effect.timeoutOption(self, grace), { startImmediately: true }),
    (fiber) =>
      Effect.flatMap(Fiber.await(fiber), (exit): Effect.Effect<Option.Option<A>, E> =>
        Exit.isSuccess(exit) ? Effect.succeed(exit.value) : Effect.failCause(exit.cause))
  )
