-- How a run is removed: first its name and its members, in one transaction, so that nobody finds it or records anything of it any more;
-- then its rows, a bounded number with each call, each call behind the last row of the one before: rows that are deleted and not yet
-- vacuumed are not read again. A run without a name is one whose removal is under way, or was cut short.

-- Takes a run's name and members away; not while processes work on it, unless that is forced. Says how many those are, in whose way it
-- would be. Whoever is silent and has no session, or is silent for long, is taken for dead, as by `fetch_bury`.
create function sluice.fetch_unname(run int, is_forced boolean, out busy int) language plpgsql as $$
begin
  perform from sluice.fetch_run r where r.id = run for update;
  select count(*) into busy from sluice.fetch_member m
  where m.run_id = run and case
    when m.seen_at > now() - interval '1 second' then true
    when m.seen_at < now() - interval '4 seconds' then false
    else not pg_try_advisory_xact_lock(sluice.fetch_lock_space(), m.id)
  end;
  if busy > 0 and not is_forced then return; end if;
  busy := 0;
  delete from sluice.fetch_member m where m.run_id = run;
  update sluice.fetch_run r set name = null where r.id = run;
end $$;

-- Deletes up to so many URLs behind a `hash` in hex. Says how many there were, and the last one. By this key alone: what is deleted and not
-- yet vacuumed lies behind it.
create function sluice.fetch_erase_urls(run int, behind text, most int) returns table (erased int, last text) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  return query with picked as materialized (
    select u.ctid as place, u.hash from sluice.fetch_url u
    where u.run_id = run and u.hash > decode(coalesce(behind, ''), 'hex') order by u.hash limit most
  ), gone as (
    delete from sluice.fetch_url u where u.ctid = any (array(select p.place from picked p))
  )
  select count(*)::int, max(encode(p.hash, 'hex')) from picked p;
end $$;

-- The same with outcomes, behind a `seq`.
create function sluice.fetch_erase_outcomes(run int, behind text, most int) returns table (erased int, last text) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  return query with picked as materialized (
    select o.ctid as place, o.seq from sluice.fetch_outcome o
    where o.run_id = run and o.seq > coalesce(behind::bigint, 0) order by o.seq limit most
  ), gone as (
    delete from sluice.fetch_outcome o where o.ctid = any (array(select p.place from picked p))
  )
  select count(*)::int, max(p.seq)::text from picked p;
end $$;

-- The same with lanes, behind a host.
create function sluice.fetch_erase_lanes(run int, behind text, most int) returns table (erased int, last text) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  return query with picked as materialized (
    select l.ctid as place, l.host from sluice.fetch_lane l
    where l.run_id = run and l.host > coalesce(behind, '') order by l.host limit most
  ), gone as (
    delete from sluice.fetch_lane l where l.ctid = any (array(select p.place from picked p))
  )
  select count(*)::int, max(p.host) from picked p;
end $$;

-- Deletes the run itself, of which nothing else is left.
create function sluice.fetch_erase_run(run int) returns void language sql as $$
  delete from sluice.fetch_run r where r.id = run and r.name is null
$$;
