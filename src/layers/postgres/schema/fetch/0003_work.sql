-- What a run's processes do to its URLs: add, take, read, settle, free; and what is read of it afterwards.
--
-- Each is one statement for its client and begins with its member's row, the fence: where that is gone it does nothing and gives back no
-- row. Locks are taken in the order run, member, lanes by id, hosts by name.
--
-- Plans are fixed for the hot ones, so that they never depend on statistics: a run grows from nothing to millions of rows before anybody
-- has analyzed it, and a plan that was made for an empty table reads all of a full one. Without other joins than nested loops each batch
-- finds its rows by index; and `= any (array[x])`, sorted by what it is joined with, is a join that only an index can do, where `=` may be
-- answered by reading the whole index. For a key of two columns a lateral subquery with `offset 0` says as much: on an empty table the
-- first column alone is as good. Where a lane's owner is checked, `is not distinct from` keeps the planner from reading all of an owner's
-- lanes for each one of a batch.

-- Notes with some more noted over them, name by name; null takes a name away.
create function sluice.fetch_noted(notes jsonb, more jsonb) returns jsonb language sql immutable as $$
  select coalesce(jsonb_object_agg(n.key, n.value) filter (where n.value <> 'null'), '{}') from jsonb_each(notes || more) n
$$;

-- Opens a run, new or known, and notes what there is to note.
create function sluice.fetch_open(run_name text, more text) returns table (id int, next_seq float8, notes jsonb) language sql as $$
  insert into sluice.fetch_run as r (name, notes) values (run_name, sluice.fetch_noted('{}', more::jsonb))
    on conflict (name) do update set updated_at = now(), notes = sluice.fetch_noted(r.notes, more::jsonb)
    returning r.id, r.next_seq::float8, r.notes
$$;

-- Drops what is stale of hosts, up to so many; what others are writing stays.
create function sluice.fetch_sweep(most int) returns void language sql as $$
  delete from sluice.fetch_host where host in (
    select h.host from sluice.fetch_host h where h.stale_at < now() order by h.stale_at limit most for update skip locked
  ) and stale_at < now()
$$;

-- The lanes of these hosts, made where there are none. No rows: the run was removed.
create function sluice.fetch_lanes(run int, hosts text[]) returns table (id bigint, host text) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform from sluice.fetch_run r where r.id = run and r.name is not null for key share;
  if not found then return; end if;
  insert into sluice.fetch_lane (run_id, host) select run, t.host from unnest(hosts) t(host) order by t.host on conflict do nothing;
  -- Sees what others have added meanwhile.
  return query select l.id, l.host from unnest(hosts) t(host)
    cross join lateral (select l.id, l.host from sluice.fetch_lane l where l.run_id = run and l.host = t.host offset 0) l;
end $$;

-- Adds URLs that the run does not know; says how many were new in each lane, and in a last row (of lane 0) how many of the rest repeat what
-- was added since the member came. Adders of a run go one after another, so the order of `seq` is that of commits.
create function sluice.fetch_add(run int, member int, is_untrusted boolean, lanes bigint[], hashes bytea[], urls text[], requests text[],
  sources text[], lines int[], ids text[], inputs text[])
returns table (lane bigint, added int, repeated int) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  base bigint;
  since bigint;
  before bigint;
  fresh int;
begin
  update sluice.fetch_run r set next_seq = r.next_seq + cardinality(hashes), updated_at = now() where r.id = run
    returning r.next_seq - cardinality(hashes) into base;
  select m.since, m.added into since, before from sluice.fetch_member m where m.id = member for no key update;
  if not found then return; end if;
  if not is_untrusted then
    update sluice.fetch_url u set untrusted = false from (
      select x.place from unnest(hashes) t(hash)
      cross join lateral (select x.ctid as place from sluice.fetch_url x where x.run_id = run and x.hash = t.hash and x.untrusted offset 0) x
    ) known where u.ctid = known.place;
  end if;
  return query with fresh as (
    insert into sluice.fetch_url (run_id, lane_id, seq, hash, url, request, untrusted, source, line, id, input)
    select run, t.lane, base + t.n - 1, t.hash, t.url, t.request, is_untrusted, t.source, t.line, t.id::json, t.input::json
    from unnest(lanes, hashes, urls, requests, sources, lines, ids, inputs) with ordinality
      t(lane, hash, url, request, source, line, id, input, n)
    on conflict do nothing returning lane_id, seq
  ), tally as (
    update sluice.fetch_member m set added = m.added + (select count(*) from fresh) where m.id = member
  ), ends as (
    select f.lane_id, max(f.seq) as seq, count(*)::int as fresh from fresh f group by f.lane_id
  ), locked as (
    select e.lane_id, e.seq from ends e join sluice.fetch_lane l on l.id = any (array[e.lane_id]) order by e.lane_id for no key update of l
  ), grown as (
    update sluice.fetch_lane l set tail = x.seq from locked x where l.id = any (array[x.lane_id])
  )
  select e.lane_id, e.fresh, 0 from ends e;
  select m.added - before into fresh from sluice.fetch_member m where m.id = member;
  lane := 0;
  added := 0;
  repeated := cardinality(hashes) - fresh;
  -- What is known from before is looked up where there is any.
  if repeated > 0 and since > 1 then
    select repeated - count(*) into repeated from unnest(hashes) t(hash)
    cross join lateral (select from sluice.fetch_url x where x.run_id = run and x.hash = t.hash and x.seq < since offset 0) x;
  end if;
  return next;
end $$;

-- Takes up to so many hosts that nobody works on, with what is known of them. Those that are closed are looked up in a hash: they may be
-- thousands.
create function sluice.fetch_take(run int, member int, closed text[], most int)
returns table (id bigint, host text, head float8, redo float8, known json) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform from sluice.fetch_member m where m.id = member for key share;
  if not found then return; end if;
  return query with free as (
    select l.id, (select h.state from sluice.fetch_host h where h.host = l.host and h.stale_at > now()) as known
    from sluice.fetch_lane l
    where l.run_id = run and l.owner is null and l.tail > l.head and l.host not in (select c.host from unnest(closed) c(host))
    order by l.id limit most for no key update of l skip locked
  )
  update sluice.fetch_lane l set owner = member from free where l.id = any (array[free.id])
  returning l.id, l.host, l.head::float8, l.redo::float8, free.known;
end $$;

-- Reads on in the logs of lanes that a member owns: up to so many rows of each, and a row without `seq` for a lane that has none.
-- last: the last row of the lane's log. taken: URLs that this member has read before; told and not counted on, so that a read that is sent
-- again changes nothing.
create function sluice.fetch_read(run int, member int, lanes bigint[], reads bigint[], redos bigint[], most int, taken bigint)
returns table (
  lane bigint, last float8, seq float8, url text, request text, untrusted boolean, source text, line int, id json, input json
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  return query with got as materialized (
    select l.id, l.last, x.seq, x.url, x.request, x.untrusted, x.source, x.line, x.id as label, x.input
    from (
      select t.id, t.read, t.redo, (select max(u.seq) from sluice.fetch_url u where u.lane_id = t.id) as last
      from unnest(lanes, reads, redos) t(id, read, redo) offset 0
    ) l left join lateral (
      select u.seq, u.url, u.request, u.untrusted, u.source, u.line, u.id, u.input from sluice.fetch_url u
      where u.lane_id = l.id and u.seq > l.read and (
        u.seq > l.redo or (select o.seq from sluice.fetch_outcome o where o.run_id = run and o.seq = u.seq) is null
      )
      order by u.seq limit most
    ) x on true
  ), tally as (
    update sluice.fetch_member m set taken = fetch_read.taken + (select count(g.seq) from got g) where m.id = member returning m.id
  )
  select g.id, coalesce(g.last, 0)::float8, g.seq::float8, g.url, g.request, coalesce(g.untrusted, false), g.source, g.line, g.label, g.input
  from got g, tally;
end $$;

-- Notes how far lanes of a member are, and lets go of those that it leaves.
create function sluice.fetch_head(member int, lanes bigint[], heads bigint[], is_leaving boolean) returns setof int language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform from sluice.fetch_member m where m.id = member for key share;
  if not found then return; end if;
  with locked as (
    select x.id, x.head from unnest(lanes, heads) x(id, head) join sluice.fetch_lane l on l.id = any (array[x.id])
    where l.owner is not distinct from member order by x.id for no key update of l
  )
  update sluice.fetch_lane l set head = x.head, owner = case when is_leaving then null else member end from locked x
  where l.id = any (array[x.id]);
  return next member;
end $$;

-- Records outcomes and what they say of their hosts, and lets go of the lanes that are done with.
-- is_again: a try before may have come through. What it has recorded counts and stays, and what was made pending again since then has
-- moved on.
create function sluice.fetch_settle(
  run int, member int, is_again boolean, leaving bigint[], heads bigint[],
  seqs bigint[], lanes bigint[], states text[], statuses smallint[], attempts int[], bytes bigint[], durations float8[],
  starts timestamptz[], dues timestamptz[], digests text[], tags text[], content_types text[], final_urls text[], saved_tos text[],
  errors text[], hosts text[], host_states text[], host_shuts timestamptz[], host_stales timestamptz[]
) returns setof int language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform from sluice.fetch_member m where m.id = member for no key update;
  if not found then return; end if;
  with recorded as (
    insert into sluice.fetch_outcome (run_id, seq, lane_id, state, status, attempts, bytes, duration_ms, started_at, due_at,
      sha256, tag, content_type, final_url, saved_to, error)
    select run, t.seq, t.lane, t.state::sluice.fetch_state, t.status, t.attempts, t.bytes, t.duration, t.started, t.due,
      decode(t.sha256, 'hex'), t.tag, t.content_type, t.final_url, t.saved_to, t.error::json
    from unnest(seqs, lanes, states, statuses, attempts, bytes, durations, starts, dues, digests, tags, content_types, final_urls,
        saved_tos, errors)
      t(seq, lane, state, status, attempts, bytes, duration, started, due, sha256, tag, content_type, final_url, saved_to, error)
    -- Lookups, where a bare `exists` may be answered by hashing the whole table.
    where not is_again or (
      (select u.seq from sluice.fetch_url u where u.lane_id = any (array[t.lane]) and u.seq = t.seq limit 1) is not null
      and (select o.seq from sluice.fetch_outcome o where o.run_id = run and o.seq = t.seq) is null
    )
    returning state
  )
  update sluice.fetch_member m
  set seen_at = now(), done = m.done + c.done, failed = m.failed + c.failed, deferred = m.deferred + c.deferred
  from (
    select count(*) filter (where state = 'done') as done, count(*) filter (where state = 'failed') as failed,
      count(*) filter (where state = 'deferred') as deferred
    from recorded
  ) c where m.id = member;
  if cardinality(leaving) > 0 then perform sluice.fetch_head(member, leaving, heads, true); end if;
  -- Runs of other names may write the same hosts: all do so in the same order. A block under way that ends later stays.
  if cardinality(hosts) > 0 then
    insert into sluice.fetch_host (host, state, shut_until, stale_at)
    select t.host, t.state::json, t.shut_until, t.stale_at
    from unnest(hosts, host_states, host_shuts, host_stales) t(host, state, shut_until, stale_at) order by t.host
    on conflict (host) do update
      set state = excluded.state, shut_until = excluded.shut_until, stale_at = excluded.stale_at
      where fetch_host.shut_until <= greatest(excluded.shut_until, now());
  end if;
  return next member;
end $$;

-- What a pull needs to know when it found nothing: whether something deferred is due, and whether all is done that anybody may still do.
create function sluice.fetch_status(run int) returns table (due boolean, done boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  -- The orders are those of the partial indexes.
  return query select
    coalesce((select o.due_at from sluice.fetch_outcome o where o.run_id = run and o.state = 'deferred' order by o.due_at limit 1) <= now(), false),
    (select l.id from sluice.fetch_lane l where l.run_id = run and l.owner is null and l.tail > l.head order by l.id limit 1) is null
      and (select l.owner from sluice.fetch_lane l where l.run_id = run and l.owner is not null order by l.owner limit 1) is null
      and not exists (select from sluice.fetch_member m where m.run_id = run and not m.sealed);
end $$;

-- Makes up to so many recorded URLs pending again, behind all others: those that are due, or those that meet the filter and are not
-- deferred. Gives back how many.
-- below: what was made pending again since then stays as it is, also when it has been fetched again meanwhile.
create function sluice.fetch_reopen(
  run int, is_due boolean, below bigint, only_failed boolean, only_tag text, least_status int, most_status int, only_host text, most int,
  out reopened int
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare picked tid[];
begin
  perform from sluice.fetch_run r where r.id = run for no key update;
  -- An outcome is never updated, and only deleted here: its place is its name for as long as the run is held.
  if is_due then
    picked := array(
      select o.ctid from sluice.fetch_outcome o where o.run_id = run and o.state = 'deferred' and o.due_at <= now() order by o.due_at limit most
    );
  elsif only_failed or only_tag is not null then
    picked := array(
      select o.ctid from sluice.fetch_outcome o where o.run_id = run and o.seq < below and o.state <> 'done' and o.state = 'failed'
        and (only_tag is null or o.tag = only_tag)
        and (least_status is null or o.status between least_status and most_status)
        and (only_host is null or o.lane_id = (select l.id from sluice.fetch_lane l where l.run_id = run and l.host = only_host))
      order by o.seq limit most
    );
  else
    picked := array(
      select o.ctid from sluice.fetch_outcome o where o.run_id = run and o.seq < below and o.state <> 'deferred'
        and (least_status is null or o.status between least_status and most_status)
        and (only_host is null or o.lane_id = (select l.id from sluice.fetch_lane l where l.run_id = run and l.host = only_host))
      order by o.seq limit most
    );
  end if;
  with gone as (
    delete from sluice.fetch_outcome o where o.ctid = any (picked) returning o.lane_id, o.seq, o.state
  ), fresh as (
    select g.lane_id, g.seq as old, r.next_seq + row_number() over (order by g.seq) - 1 as seq
    from gone g, sluice.fetch_run r where r.id = run
  ), moved as (
    update sluice.fetch_url u set seq = f.seq from fresh f where u.lane_id = any (array[f.lane_id]) and u.seq = f.old
  ), ends as (
    select f.lane_id, max(f.seq) as seq from fresh f group by f.lane_id
  ), locked as (
    select e.lane_id, e.seq from ends e join sluice.fetch_lane l on l.id = any (array[e.lane_id]) order by e.lane_id for no key update of l
  ), grown as (
    update sluice.fetch_lane l set tail = x.seq from locked x where l.id = any (array[x.lane_id])
  ), tally as (
    update sluice.fetch_run r set next_seq = r.next_seq + (select count(*) from gone), updated_at = now(),
      done = r.done - (select count(*) from gone where state = 'done'),
      failed = r.failed - (select count(*) from gone where state = 'failed'),
      deferred = r.deferred - (select count(*) from gone where state = 'deferred')
    where r.id = run
  )
  select count(*) into reopened from gone;
end $$;

-- How many outcomes that are not done ended how.
create function sluice.fetch_tags(run int) returns table (tag text, count int) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  return query select o.tag, count(*)::int from sluice.fetch_outcome o where o.run_id = run and o.state <> 'done' group by o.tag;
end $$;

-- A page of a run's outcomes, in the order of `seq`. The plan is made for each page, when it is known by what it filters: the partial
-- index of failures is of use to those that do not ask for what is done.
create function sluice.fetch_page(
  run int, behind bigint, only_failed boolean, only_tag text, least_status int, most_status int, only_host text, most int
) returns table (
  seq float8, url text, state text, status smallint, attempts int, bytes float8, duration_ms float8, started_millis float8, sha256 text,
  content_type text, final_url text, saved_to text, error json, method text, source text, line int, id json, input json
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off set plan_cache_mode = force_custom_plan as $$
begin
  return query
  select o.seq::float8, u.url, o.state::text, o.status, o.attempts, o.bytes::float8, o.duration_ms,
    (extract(epoch from o.started_at) * 1000)::float8, encode(o.sha256, 'hex'), o.content_type, o.final_url, o.saved_to, o.error,
    coalesce(substring(u.request from '^\{"method":"([A-Z]+)"'), 'GET'), u.source, u.line, u.id, u.input
  from sluice.fetch_outcome o join sluice.fetch_url u on u.lane_id = any (array[o.lane_id]) and u.seq = o.seq
  where o.run_id = run and o.seq > behind
    and (not (only_failed or only_tag is not null) or o.state <> 'done')
    and (only_tag is null or o.tag = only_tag)
    and (least_status is null or o.status between least_status and most_status)
    and (only_host is null or o.lane_id = (select l.id from sluice.fetch_lane l where l.run_id = run and l.host = only_host))
  order by o.seq limit most;
end $$;
