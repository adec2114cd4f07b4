import { Effect, Fiber } from "effect"
import * as Scheduler from "effect/Scheduler"

/** What one round of a sweep works with. */
export interface Round<A, E, R> {
  /** Runs under the small operation budget and is interrupted. */
  readonly victim: Effect.Effect<A, E, R>
  /** What else runs beside it; forked before, joined after. */
  readonly others?: ReadonlyArray<Effect.Effect<unknown, unknown, R>>
  /** Called when all have ended: nothing may still be acquired. */
  readonly check: (at: string) => Effect.Effect<void, unknown, R>
}

const isLong = process.env["SLUICE_LONG"] === "1"

/**
 * The operation sweep: makes a round afresh under every small operation budget, interrupts its victim after every number
 * of scheduler turns, and checks that nothing stays acquired. Gives how many rounds interrupted a victim that had not
 * ended, so that a sweep which never hits anything is seen.
 */
export const sweep = <A, E, R, E2, R2>(
  makeRound: Effect.Effect<Round<A, E, R>, E2, R2>,
  options?: { readonly budgets?: number; readonly turns?: number }
) =>
  Effect.gen(function*() {
    const budgets = (options?.budgets ?? 24) * (isLong ? 3 : 1)
    const turns = (options?.turns ?? 16) * (isLong ? 3 : 1)
    let hits = 0
    for (let budget = 3; budget < 3 + budgets; budget++) {
      for (let turn = 0; turn <= turns; turn++) {
        const round = yield* makeRound
        const others = yield* Effect.forEach(round.others ?? [], (other) => Effect.forkChild(other))
        const victim = yield* round.victim.pipe(
          Effect.provideService(Scheduler.MaxOpsBeforeYield, budget),
          Effect.forkChild
        )
        for (let i = 0; i < turn; i++) yield* Effect.yieldNow
        if (victim.pollUnsafe() === undefined) hits++
        yield* Fiber.interrupt(victim)
        yield* Fiber.awaitAll(others)
        yield* round.check(`budget ${budget}, turn ${turn}`)
      }
    }
    return hits
  })
