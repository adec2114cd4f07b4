/**
 * A batch of orders with their jobs in one statement. The caller has priced them from what it remembers of the catalog, and says what that was: when a product is
 * not so any more, nothing is written and `stale` names it. `known` are the orders whose keys were there before.
 * The caller sorts by key, so that two batches with the same keys never wait for each other in a circle.
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
  declare inserted integer;
  begin
  select array_agg(e.sku) into stale
  from unnest(skus, prices, sku_currencies, sellers, shipped) as e(sku, price, currency, seller, is_shipped)
  where not exists (
    select from sluice.products p where p.sku = e.sku and p.price = e.price and p.currency = e.currency
      and p.seller = e.seller and p.is_shipped = e.is_shipped
  );
  if stale is not null then return; end if;
  accepted_at := now();
  insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment, note)
  select u.id, u.key, u.customer_id, 'accepted', u.items::jsonb, u.total, u.currency, u.payment, u.note
  from unnest(ids, keys, customers, items, totals, currencies, payments, notes)
    as u(id, key, customer_id, items, total, currency, payment, note)
  on conflict (key) do nothing;
  get diagnostics inserted = row_count;
  if inserted = cardinality(ids) then
    perform sluice.job_add(queues, kinds, payloads, priorities, attempts);
    return;
  end if;
  select array_agg(u.id) into known from unnest(ids) as u(id)
  where not exists (select from sluice.orders o where o.id = u.id);
  if inserted > 0 then
    perform sluice.job_add(array_agg(u.queue), array_agg(u.kind), array_agg(u.payload), array_agg(u.priority), array_agg(u.attempt))
    from unnest(ids, queues, kinds, payloads, priorities, attempts) as u(id, queue, kind, payload, priority, attempt)
    where u.id <> all (known);
  end if;
  end $$`
]

/** The fifth step. */
export const accept = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  for (const statement of statements) yield* sql.unsafe(statement)
})
