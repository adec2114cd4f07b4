/** The progress of fetch runs for whoever follows them: however many follow a run, the store is asked about it once each time. */
import { Effect, PubSub, RcMap, Schedule, type Scope, Stream } from "effect"
import { Frontier, type RunSummary } from "../../services/fetch/Frontier.ts"

/** Between two looks at a run. */
const everyMillis = 500

/** Whether nothing is left to do now: what is deferred waits for its time, and for who asks for it then. */
const isOver = ({ counts: { deferred, leased, pending } }: RunSummary): boolean =>
  pending - deferred === 0 && leased === 0

/** Where a run is, told anew when it has moved; ends when nothing is left to do. */
export type FetchWatch = (name: string) => Stream.Stream<RunSummary>

/** A watch over this frontier; it looks only at runs that somebody follows. */
export const make: Effect.Effect<FetchWatch, never, Frontier | Scope.Scope> = Effect.gen(function*() {
  const frontier = yield* Frontier
  const watched = yield* RcMap.make({
    lookup: (name: string) =>
      Effect.gen(function*() {
        // The latest is all that counts: who is slow misses what was in between.
        const seen = yield* PubSub.sliding<RunSummary>({ capacity: 1, replay: 1 })
        yield* frontier.find(name, { patience: 0 }).pipe(
          Effect.flatMap((summary) => PubSub.publish(seen, summary)),
          // A store that does not answer now will later.
          Effect.catch((error) => Effect.logDebug("cannot look at a followed run", error)),
          Effect.repeat(Schedule.spaced(everyMillis)),
          Effect.forkScoped
        )
        return seen
      })
  })
  return (name) =>
    Stream.unwrap(Effect.map(RcMap.get(watched, name), (seen) => Stream.fromPubSub(seen))).pipe(
      Stream.changesWith((a, b) => JSON.stringify(a) === JSON.stringify(b)),
      Stream.takeUntil(isOver)
    )
})
