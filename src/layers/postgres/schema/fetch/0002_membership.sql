-- How memberships in a run go on and end. Each is one statement for its client, so that no transaction waits for a client that is gone,
-- and several for the server: what comes after a lock is taken sees what others did before. Plans are fixed, as those of the work are.

-- Makes a process a member of a run. No row: the run was removed.
create function sluice.fetch_join(run int, is_sealed boolean) returns table (id int) language sql as $$
  insert into sluice.fetch_member (run_id, sealed, since)
    select r.id, is_sealed, r.next_seq from sluice.fetch_run r where r.id = run and r.name is not null for key share
    returning id
$$;

-- The first key of the session locks by which a process shows that it lives; the second is its member's id.
create function sluice.fetch_lock_space() returns int language sql immutable as 'select 721041411';

-- Takes the lock that shows that a member's process lives, for as long as the session does; not while a session that went before still has
-- it.
create function sluice.fetch_hold(member int) returns table (held boolean) language plpgsql as $$
begin
  perform pg_advisory_unlock_all();
  return query select pg_try_advisory_lock(sluice.fetch_lock_space(), member);
end $$;

-- No more will be added by this member. No row: it is none.
create function sluice.fetch_seal(member int) returns setof int language sql as $$
  update sluice.fetch_member set sealed = true where id = member returning id
$$;

-- Ends memberships: their tallies go to the run. Then every lane without a living owner is free, however it came to be so, and its next
-- owner looks again at all that may have an outcome. Gives back how many lanes were freed. The caller holds the run.
create function sluice.fetch_dismiss(run int, members int[], out freed int) language plpgsql set enable_sort = off
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  with gone as (
    delete from sluice.fetch_member where run_id = run and id = any(members) returning *
  )
  update sluice.fetch_run r set added = r.added + g.added, done = r.done + g.done, failed = r.failed + g.failed,
    deferred = r.deferred + g.deferred, updated_at = now()
  from (select sum(added) as added, sum(done) as done, sum(failed) as failed, sum(deferred) as deferred from gone) g
  where r.id = run and g.added is not null;
  -- The order of the owners is that of the partial index, and leads the planner to it: every other one has all lanes of the run.
  with owned as materialized (
    select l.id, l.owner from sluice.fetch_lane l where l.run_id = run and l.owner is not null order by l.owner
  ), locked as (
    select o.id from owned o join sluice.fetch_lane l on l.id = any (array[o.id])
    where l.owner is not distinct from o.owner and not exists (select from sluice.fetch_member m where m.id = any (array[o.owner]))
    order by o.id for no key update of l
  )
  update sluice.fetch_lane l set owner = null, redo = greatest(l.redo, l.tail) from locked x where l.id = any (array[x.id]);
  get diagnostics freed = row_count;
end $$;

-- A sign of life. No row: this member was taken for dead. "gone": someone else may be, or a lane has no living owner.
-- Silence counts from when another member sees it: while the database itself stood still, everybody was silent.
create function sluice.fetch_beat(run int, member int) returns table (gone boolean, due boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  update sluice.fetch_member set seen_at = now() where id = member;
  if not found then return; end if;
  update sluice.fetch_member m set suspect_at = now() from (
    select id from sluice.fetch_member
    where run_id = run and id <> member and seen_at < now() - interval '500 milliseconds'
      and (suspect_at is null or suspect_at < seen_at)
    for no key update skip locked
  ) silent where m.id = silent.id;
  return query with recursive owners (owner) as (
    (select l.owner from sluice.fetch_lane l where l.run_id = run and l.owner is not null order by l.owner limit 1)
    union all
    select (select l.owner from sluice.fetch_lane l where l.run_id = run and l.owner > o.owner order by l.owner limit 1)
    from owners o where o.owner is not null
  )
  select
    exists (
      select from sluice.fetch_member m
      where m.run_id = run and m.id <> member and m.seen_at < m.suspect_at and m.suspect_at < now() - interval '1 second'
    ) or exists (
      select from owners o where o.owner is not null and not exists (select from sluice.fetch_member m where m.id = o.owner)
    ),
    coalesce((
      select o.due_at from sluice.fetch_outcome o where o.run_id = run and o.state = 'deferred' order by o.due_at limit 1
    ) <= now(), false);
end $$;

-- Takes for dead who has been silent for a second of a living member's, if its session is gone (a killed process), and else for four
-- seconds (a frozen one). Says whether anything was freed.
create function sluice.fetch_bury(run int, out freed boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare dead int[];
begin
  perform from sluice.fetch_run r where r.id = run for no key update;
  select array_agg(silent.id) into dead from (
    select m.id from sluice.fetch_member m
    where m.run_id = run and m.seen_at < m.suspect_at and m.suspect_at < now() - interval '1 second'
      and case when m.seen_at < now() - interval '4 seconds' then true else pg_try_advisory_xact_lock(sluice.fetch_lock_space(), m.id) end
    for update
  ) silent;
  freed := sluice.fetch_dismiss(run, coalesce(dead, '{}')) > 0 or dead is not null;
end $$;

-- A member goes on under another id, with its tallies and the lanes that it knows of: what it sent before and is still on its way finds
-- no member. Gives back the new id; null: it was taken for dead.
create function sluice.fetch_renew(run int, old int, known bigint[], out renewed int) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform from sluice.fetch_run r where r.id = run for no key update;
  perform from sluice.fetch_member m where m.id = old for update;
  if not found then
    select m.id into renewed from sluice.fetch_member m where m.run_id = run and m.formerly = old;
    return;
  end if;
  insert into sluice.fetch_member (run_id, formerly, sealed, added, done, failed, deferred, taken, since)
    select m.run_id, m.id, m.sealed, m.added, m.done, m.failed, m.deferred, m.taken, m.since from sluice.fetch_member m where m.id = old
    returning id into renewed;
  delete from sluice.fetch_member m where m.id = old;
  with locked as (
    select x.id from unnest(known) x(id) join sluice.fetch_lane l on l.id = any (array[x.id])
    where l.owner is not distinct from old order by x.id for no key update of l
  )
  update sluice.fetch_lane l set owner = renewed from locked x where l.id = any (array[x.id]);
  perform sluice.fetch_dismiss(run, '{}');
end $$;

-- A member leaves, with word on how far its lanes are; the run is dropped if nothing was ever added to it and nobody has it open.
create function sluice.fetch_leave(run int, member int, lanes bigint[], heads bigint[], reads bigint[]) returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  perform from sluice.fetch_run r where r.id = run for no key update;
  perform from sluice.fetch_member m where m.id = member for update;
  if not found then return; end if;
  with locked as (
    select x.id, x.head, x.read from unnest(lanes, heads, reads) x(id, head, read) join sluice.fetch_lane l on l.id = any (array[x.id])
    where l.owner is not distinct from member order by x.id for no key update of l
  )
  update sluice.fetch_lane l set owner = null, head = x.head, redo = greatest(l.redo, x.read) from locked x
  where l.id = any (array[x.id]);
  perform sluice.fetch_dismiss(run, array[member]);
  delete from sluice.fetch_run r where r.id = run and r.next_seq = 1
    and not exists (select from sluice.fetch_member m where m.run_id = r.id);
end $$;
