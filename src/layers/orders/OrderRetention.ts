/** How long orders are kept that have ended: what is too old is taken away, a bounded number of rows in each transaction. */
import { PgClient } from "@effect/sql-pg/PgClient"
import { Duration, Effect, Layer } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { Outage } from "../../services/postgres/Outage.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"

/** A round looks through all that is too old, and the next one follows after so long. */
const everyRound = Duration.hours(1)
/** Rows in one transaction, and the pause after each: 20,000 orders a minute at most, whatever is waiting. */
const batch = 500
const pause = Duration.millis(1_500)

/** No id comes before it. */
const first = "00000000-0000-0000-0000-000000000000"

interface Step {
  readonly looked: number
  readonly removed: number
  readonly last: string | null
}

/**
 * One round: takes away the orders that ended more than `keep` ago, and says how many there were. Their ledger entries stay, and with them
 * every balance; what goes is who ordered what, and the idempotency key, which from then on begins a new order.
 */
export const round = Effect.fnUntraced(function*(
  sql: PgClient,
  keep: Duration.Duration
): Effect.fn.Return<number, SqlError> {
  const seconds = Duration.toSeconds(keep)
  let behind = first
  let removed = 0
  while (true) {
    const [step] = yield* SqlFunction.call<Step>(sql, "order_retire", { behind, keep_seconds: seconds, most: batch })
    removed += step?.removed ?? 0
    if (step === undefined || step.last === null || step.looked < batch) return removed
    behind = step.last
    yield* Effect.sleep(pause)
  }
})

/** Keeps orders for so long after their end, as long as the layer is open. Any number of processes may do so. */
export const layer = (keep: Duration.Duration): Layer.Layer<never, never, PgClient> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const sql = yield* PgClient
    const outage = new Outage("orders that are too old are not taken away")
    yield* Effect.matchCauseEffect(round(sql, keep), {
      onFailure: (cause) => outage.failed("taking orders away", cause),
      onSuccess: (removed) =>
        Effect.andThen(
          outage.worked,
          removed === 0
            ? Effect.void
            : Effect.logInfo(`${removed} orders were older than ${Duration.format(keep)}: taken away`)
        )
    }).pipe(
      Effect.andThen(Effect.sleep(everyRound)),
      Effect.forever,
      Effect.ensuring(Effect.sync(() => outage.forget())),
      Tasks.named("retention of orders"),
      Effect.forkScoped
    )
  }))
