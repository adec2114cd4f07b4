import { type Duration, Effect, Exit, Fiber, Option } from "effect"
import * as InvalidOption from "./InvalidOption.ts"

/**
 * Waits for the effect, at most so long, also from where nothing can be interrupted any more (a finalizer, an
 * interrupted fiber): `None` when it was not done by then. It runs in a fiber of its own, which is then interrupted and
 * not waited for.
 */
export const atMost = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  grace: Duration.Input
): Effect.Effect<Option.Option<A>, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const time = InvalidOption.duration("grace", grace)
      return Effect.flatMap(Effect.forkDetach(self, { startImmediately: true }), (fiber) =>
        restore(Effect.timeoutOption(Fiber.await(fiber), time)).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (Exit.isFailure(exit) || Option.isNone(exit.value)) fiber.interruptUnsafe(undefined)
            })
          ),
          Effect.flatMap((ended): Effect.Effect<Option.Option<A>, E> =>
            Option.isNone(ended) ? Effect.succeedNone : Effect.asSome(ended.value)
          )
        ))
    })
  )
