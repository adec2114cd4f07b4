/** What is too old is taken away: a round now, and one each hour. */
import { Duration, Effect, Layer } from "effect"
import { Outage } from "../../services/postgres/Outage.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"

const everyRound = Duration.hours(1)

/** What is kept for how long. */
export interface Retention<E, R> {
  /** In the plural: "orders". */
  readonly what: string
  readonly keep: Duration.Duration
  /** Takes away what is older, in small transactions, and says how many there were. Any number of processes may do so at once. */
  readonly round: Effect.Effect<number, E, R>
}

/** Keeps to it as long as the layer is open. */
export const layer = <E, R>({ keep, round, what }: Retention<E, R>): Layer.Layer<never, never, R> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const outage = new Outage(`${what} that are too old are not taken away`)
    yield* Effect.matchCauseEffect(round, {
      onFailure: (cause) => outage.failed(`taking ${what} away`, cause),
      onSuccess: (removed) =>
        Effect.andThen(
          outage.worked,
          removed === 0
            ? Effect.void
            : Effect.logInfo(`${removed} ${what} were older than ${Duration.format(keep)}: taken away`)
        )
    }).pipe(
      Effect.andThen(Effect.sleep(everyRound)),
      Effect.forever,
      Effect.ensuring(Effect.sync(() => outage.forget())),
      Tasks.named(`retention of ${what}`),
      Effect.forkScoped
    )
  }))
