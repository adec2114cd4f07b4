-- Takes away orders that ended more than so many seconds ago: looks at up to so many that were accepted before that, in the order of their
-- ids (whose first 48 bits are the time), behind the last one of the call before. What an order has moved stays: its ledger entries,
-- balances, stock. One process at a time; for another there is nothing to look at. An order that somebody has locked is left for the next
-- round.
create function sluice.order_retire(behind uuid, keep_seconds double precision, most integer, out looked integer, out removed integer, out last uuid)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  ended_before timestamptz := now() - make_interval(secs => keep_seconds);
  ids uuid[] := '{}';
  bound uuid := rpad(lpad(to_hex((extract(epoch from ended_before) * 1000)::bigint), 12, '0'), 32, '0');
begin
  if pg_try_advisory_xact_lock(7212, 0) then
    ids := array(select o.id from sluice.orders o where o.id > behind and o.id < bound order by o.id limit most);
  end if;
  looked := cardinality(ids);
  last := ids[looked];
  with gone as (
    select o.id from sluice.orders o where o.id = any (ids) and o.ended_at < ended_before for update skip locked
  )
  delete from sluice.orders o using gone where o.id = gone.id;
  get diagnostics removed = row_count;
end $$;
