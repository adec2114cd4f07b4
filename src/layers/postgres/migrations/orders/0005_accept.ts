/**
 * A batch of orders with their jobs in one statement. The caller has priced them from what it remembers of the catalog, and says what that was: when a product is
 * not so any more, nothing is written and `stale` names it. `known` are the orders whose keys were there before.
 */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

const statements: ReadonlyArray<string> = [
  `create function sluice.order_accept(
    ids uuid[], keys text[], customers text[], items text[], totals bigint[], currencies text[], payments text[], notes text[],
    queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[],
    skus text[], prices bigint[], sku_currencies text[], sellers text[], shipped boolean[],
    out accepted_at timestamptz, out known uuid[], out stale text[]
  ) language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
  declare fresh integer[];
  begin
  select array_agg(e.sku) into stale
  from unnest(skus, prices, sku_currencies, sellers, shipped) as e(sku, price, currency, seller, is_shipped)
  where not exists (
    select from sluice.products p where p.sku = e.sku and p.price = e.price and p.currency = e.currency
      and p.seller = e.seller and p.is_shipped = e.is_shipped
  );
  if stale is not null then return; end if;
  accepted_at := now();
  with given as materialized (
    select * from unnest(ids, keys, customers, items, totals, currencies, payments, notes) with ordinality
      as u(id, key, customer_id, items, total, currency, payment, note, n)
  ), accepted as (
    insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment, note)
    select g.id, g.key, g.customer_id, 'accepted', g.items::jsonb, g.total, g.currency, g.payment, g.note
    from given g order by g.key
    on conflict (key) do nothing returning id
  )
  select array_agg(g.n order by g.n) filter (where a.id is not null), array_agg(g.id) filter (where a.id is null)
  into fresh, known from given g left join accepted a using (id);
  if known is null then
    perform sluice.job_add(queues, kinds, payloads, priorities, attempts);
  elsif fresh is not null then
    perform sluice.job_add(array_agg(queues[f.n] order by f.n), array_agg(kinds[f.n] order by f.n), array_agg(payloads[f.n] order by f.n),
      array_agg(priorities[f.n] order by f.n), array_agg(attempts[f.n] order by f.n)) from unnest(fresh) as f(n);
  end if;
  end $$`
]

/** The fifth step. */
export const accept = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  for (const statement of statements) yield* sql.unsafe(statement)
})
