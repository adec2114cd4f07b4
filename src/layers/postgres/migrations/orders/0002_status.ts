/**
 * Lists by status without an index on the status. Such an index changes with every step of every order, and takes the cheap kind of update (HOT) from the
 * whole table: a quarter of all orders per second, measured. What is rare and looked for (failed, cancelled, paid by card) has indexes that the usual
 * order never touches; the rest is found among the latest orders.
 */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

const statements: ReadonlyArray<string> = [
  "drop index sluice.orders_in_status",
  "alter table sluice.orders add column cancelled boolean not null default false",
  "update sluice.orders set cancelled = true where status = 'cancelled'",
  "create index orders_failed on sluice.orders (id) where failure is not null",
  "create index orders_cancelled on sluice.orders (id) where cancelled",
  "create index orders_by_card on sluice.orders (id) where charging_at is not null"
]

/** The second step. */
export const status = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  for (const statement of statements) yield* sql.unsafe(statement)
})
