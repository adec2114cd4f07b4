/** Stock that comes and goes outside of orders: each adjustment once, by its key. */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

/** The sixth step. */
export const stock = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql.unsafe(`create table sluice.stock_adjustments (
    key text collate "C" primary key,
    sku text collate "C" not null references sluice.products,
    units integer not null check (units <> 0),
    on_hand integer not null,
    at timestamptz not null default now()
  )`)
})
