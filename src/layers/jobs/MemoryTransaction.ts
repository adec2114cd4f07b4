/** Transactions of the in-memory queue: what is written waits for the commit of the outermost one. */
import { Clock, Context, Effect, Exit } from "effect"

/** Undone when the transaction fails, done when it commits. `now` is in epoch milliseconds. */
interface Transaction {
  readonly commits: Array<(now: number) => void>
  readonly rollbacks: Array<() => void>
}

const Current = Context.Reference<Transaction | undefined>("sluice/layers/jobs/MemoryTransaction/Current", {
  defaultValue: () => undefined
})

/** What one write does, when it commits and when it is undone. */
export interface Write {
  readonly commit: (now: number) => void
  readonly rollback: () => void
  /** Done at once when there is a transaction to wait for. */
  readonly hold?: () => void
}

/** Writes now, or with the transaction that is open. */
export const write = ({ commit, hold, rollback }: Write): Effect.Effect<void> =>
  Effect.gen(function*() {
    const transaction = yield* Current
    if (transaction === undefined) commit(yield* Clock.currentTimeMillis)
    else {
      hold?.()
      transaction.commits.push(commit)
      transaction.rollbacks.push(rollback)
    }
  })

/** Runs an effect in a transaction: an inner one is part of the outer one, once it has succeeded. */
export const transact = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const outer = yield* Current
    const transaction: Transaction = { commits: [], rollbacks: [] }
    return yield* Effect.provideService(effect, Current, transaction).pipe(
      Effect.onExit((exit) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          if (Exit.isFailure(exit)) { for (const rollback of transaction.rollbacks) rollback() }
          else if (outer === undefined) { for (const commit of transaction.commits) commit(now) }
          else {
            outer.commits.push(...transaction.commits)
            outer.rollbacks.push(...transaction.rollbacks)
          }
        })
      )
    )
  })
