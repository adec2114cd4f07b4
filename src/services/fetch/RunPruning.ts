/**
 * Removing runs that nobody needs any more: those that nobody has added to or worked on for some time.
 */
import { Clock, Duration, Effect } from "effect"
import { Frontier, type FrontierError, type RunSummary } from "./Frontier.ts"

/** Runs that are listed at once. */
const pageSize = 1000

/** Runs that nobody has added to or worked on for so long, the latest first, 10,000 at most. */
export const idle = (age: Duration.Input): Effect.Effect<ReadonlyArray<RunSummary>, FrontierError, Frontier> =>
  Effect.gen(function*() {
    const nowMillis = yield* Clock.currentTimeMillis
    return yield* (yield* Frontier).runs({ idleSinceMillis: nowMillis - Duration.toMillis(age) })
  })

/**
 * Removes them all, unfinished ones too, but for those that a process has open. Says how many were removed.
 *
 * @param onRemoved is told of each
 */
export const prune = Effect.fn("RunPruning.prune")(function*<R = never>(
  age: Duration.Input,
  onRemoved: (run: RunSummary) => Effect.Effect<void, never, R> = () => Effect.void
): Effect.fn.Return<number, FrontierError, Frontier | R> {
  const frontier = yield* Frontier
  const idleSinceMillis = (yield* Clock.currentTimeMillis) - Duration.toMillis(age)
  const remove = (run: RunSummary) =>
    frontier.remove(run.name).pipe(
      Effect.andThen(onRemoved(run)),
      Effect.as(1),
      // Another removes it, or works on it again.
      Effect.catchTag(["RunNotFound", "RunBusy"], () => Effect.succeed(0))
    )
  let removed = 0
  while (true) {
    const runs = yield* frontier.runs({ idleSinceMillis, most: pageSize })
    const counts = yield* Effect.forEach(runs, remove)
    const count = counts.reduce((sum, one) => sum + one, 0)
    removed += count
    if (count === 0) return removed
  }
})
