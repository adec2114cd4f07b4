/** How long orders are kept that have ended: what is too old is taken away, a bounded number of rows in each transaction. */
import { PgClient } from "@effect/sql-pg/PgClient"
import { Duration, Effect, type Layer } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as RetentionRounds from "../postgres/RetentionRounds.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"

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
  RetentionRounds.layer({ what: "orders", keep, round: Effect.flatMap(PgClient, (sql) => round(sql, keep)) })
