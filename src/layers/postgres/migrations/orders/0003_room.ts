/**
 * Room for an order's next state beside it. All orders of a page are settled in one transaction or in few, so nothing can be pruned in between: with less
 * than half of the page free the last of them move to another page, and each of those adds an entry to every index.
 */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

/** The third step. */
export const room = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`alter table sluice.orders set (fillfactor = 45)`
})
