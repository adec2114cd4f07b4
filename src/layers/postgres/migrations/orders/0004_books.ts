/**
 * Balances and stock in one statement that takes its locks in the one order (accounts, products; each by id) just before it needs them. The plans never
 * depend on statistics, as those of the job queue.
 */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

/** The fourth step. */
export const books = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql.unsafe(`create function sluice.write_books(accounts text[], balances bigint[], helds bigint[],
    skus text[], on_hands integer[], reserveds integer[], solds integer[]) returns void
  language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
  set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
  begin
    perform 1 from sluice.accounts a where a.id = any(accounts) order by a.id for no key update;
    update sluice.accounts a set balance = a.balance + d.balance, held = a.held + d.held, version = a.version + 1
      from unnest(accounts, balances, helds) d (id, balance, held) where a.id = d.id;
    perform 1 from sluice.products p where p.sku = any(skus) order by p.sku for no key update;
    update sluice.products p set on_hand = p.on_hand + d.on_hand, reserved = p.reserved + d.reserved, sold = p.sold + d.sold
      from unnest(skus, on_hands, reserveds, solds) d (sku, on_hand, reserved, sold) where p.sku = d.sku;
  end $$`)
})
