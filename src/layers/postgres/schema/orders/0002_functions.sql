-- What orders do in one statement.

-- Balances and stock in one statement that takes its locks in the one order (accounts, products; each by id) just
-- before it needs them. The plans never depend on statistics, as those of the job queue. Money and stock that have no
-- row to be on are an error, never left out.
create function sluice.write_books(accounts text[], balances bigint[], helds bigint[],
  skus text[], on_hands integer[], reserveds integer[], solds integer[]) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare written integer;
begin
  perform 1 from sluice.accounts a where a.id = any(accounts) order by a.id for no key update;
  update sluice.accounts a set balance = a.balance + d.balance, held = a.held + d.held, version = a.version + 1
    from unnest(accounts, balances, helds) d (id, balance, held) where a.id = d.id;
  get diagnostics written = row_count;
  if written <> cardinality(accounts) then
    raise exception 'of the accounts % only % are there', accounts, written using errcode = 'no_data_found';
  end if;
  perform 1 from sluice.products p where p.sku = any(skus) order by p.sku for no key update;
  update sluice.products p set on_hand = p.on_hand + d.on_hand, reserved = p.reserved + d.reserved, sold = p.sold + d.sold
    from unnest(skus, on_hands, reserveds, solds) d (sku, on_hand, reserved, sold) where p.sku = d.sku;
  get diagnostics written = row_count;
  if written <> cardinality(skus) then
    raise exception 'of the products % only % are there', skus, written using errcode = 'no_data_found';
  end if;
end $$;

-- Where orders have got to, with the entries of what was booked for them. Every order of the arrays is there.
create function sluice.write_orders(
  ids uuid[], statuses text[], failures text[], versions integer[], charged timestamptz[], paid timestamptz[], ended timestamptz[],
  entry_accounts text[], entry_sources uuid[], entry_kinds text[], entry_amounts bigint[]
) returns void language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  update sluice.orders o set status = n.status, failure = n.failure, version = n.version, charging_at = n.charged, paid_at = n.paid,
    ended_at = n.ended, cancelled = n.status = 'cancelled'
  from unnest(ids, statuses, failures, versions, charged, paid, ended) n (id, status, failure, version, charged, paid, ended)
  where o.id = n.id;
  if cardinality(entry_accounts) > 0 then
    insert into sluice.ledger_entries (account, source, kind, amount)
    select e.account, e.source, e.kind, e.amount
    from unnest(entry_accounts, entry_sources, entry_kinds, entry_amounts) e (account, source, kind, amount);
  end if;
end $$;

-- A transfer's balances and, when it is posted, its two entries.
create function sluice.write_transfer(transfer uuid, payer text, payee text, balances bigint[], held bigint, posted bigint) returns void
language plpgsql as $$
begin
  if posted <> 0 then
    insert into sluice.ledger_entries (account, source, kind, amount)
    values (payer, transfer, 'transfer', -posted), (payee, transfer, 'transfer', posted);
  end if;
  perform sluice.write_books(array[payer, payee], balances, array[held, 0], '{}', '{}', '{}', '{}');
end $$;

-- Whether the books hold, by currency: one statement, so one snapshot, which may be taken beside any traffic.
create view sluice.ledger_audit as
with e as (
  select account, sum(amount) as sum from sluice.ledger_entries group by account
), p as (
  select from_account, sum(amount) as sum from sluice.transfers where state = 'pending' group by from_account
)
select coalesce(a.currency, 'none') as currency, count(a.id) as accounts, coalesce(sum(e.sum), 0)::text as entries_sum,
  coalesce(sum(a.balance), 0)::text as balances_sum,
  count(*) filter (where coalesce(a.balance, 0) <> coalesce(e.sum, 0)) as unbalanced,
  count(*) filter (where coalesce(a.held, 0) <> coalesce(p.sum, 0)) as unheld,
  count(*) filter (where not a.allow_negative and a.balance - a.held < 0) as overdrawn,
  coalesce((array_agg(coalesce(e.account, p.from_account) order by coalesce(e.account, p.from_account))
    filter (where a.id is null))[:20], '{}') as unknown
from sluice.accounts a full join e on e.account = a.id full join p on p.from_account = coalesce(a.id, e.account)
group by a.currency;

-- A batch of orders with their jobs in one statement. The caller has priced them from what it remembers of the catalog,
-- and says what that was: when a product is not so any more, nothing is written and `stale` names it. `known` are the
-- orders whose keys were there before. The caller sorts by key, so that two batches with the same keys never wait for
-- each other in a circle.
create function sluice.order_accept(
  ids uuid[], keys text[], customers text[], items text[], totals bigint[], currencies text[], payments text[], notes text[],
  queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[],
  skus text[], prices bigint[], sku_currencies text[], sellers text[], shipped boolean[],
  out accepted_at timestamptz, out known uuid[], out stale text[]
) language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
declare inserted integer;
begin
accepted_at := now();
select array_agg(e.sku) into stale
from unnest(skus, prices, sku_currencies, sellers, shipped) as e(sku, price, currency, seller, is_shipped)
where not exists (
  select from sluice.products p where p.sku = e.sku and p.price = e.price and p.currency = e.currency
    and p.seller = e.seller and p.is_shipped = e.is_shipped
);
if stale is not null then return; end if;
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
end $$;
