-- How memberships in a run go on and end. Each is one statement for its client, so that no transaction waits for a client that is gone,
-- and several for the server: what comes after a lock is taken sees what others did before.

-- Ends memberships: their tallies go to the run. Then every lane without a living owner is free, however it came to be so, and its next
-- owner looks again at all that may have an outcome. Gives back how many lanes were freed. The caller holds the run.
create function sluice.fetch_dismiss(of_run int, members int[]) returns int language plpgsql as $$
declare freed int;
begin
  with gone as (
    delete from sluice.fetch_member where run_id = of_run and id = any(members) returning *
  )
  update sluice.fetch_run r set added = r.added + g.added, done = r.done + g.done, failed = r.failed + g.failed,
    deferred = r.deferred + g.deferred, updated_at = now()
  from (select sum(added) as added, sum(done) as done, sum(failed) as failed, sum(deferred) as deferred from gone) g
  where r.id = of_run and g.added is not null;
  with locked as (
    select l.id from sluice.fetch_lane l where l.run_id = of_run and l.owner is not null
      and not exists (select from sluice.fetch_member m where m.id = l.owner)
    order by l.id for no key update
  )
  update sluice.fetch_lane l set owner = null, redo = greatest(l.redo, l.tail) from locked where l.id = locked.id;
  get diagnostics freed = row_count;
  return freed;
end $$;

-- A sign of life. No row: this member was taken for dead. "gone": someone else may be, or a lane has no living owner.
-- Silence counts from when another member sees it: while the database itself stood still, everybody was silent.
create function sluice.fetch_beat(of_run int, me int) returns table (gone boolean, due boolean) language plpgsql as $$
begin
  update sluice.fetch_member set seen_at = now() where id = me;
  if not found then return; end if;
  update sluice.fetch_member m set suspect_at = now() from (
    select id from sluice.fetch_member
    where run_id = of_run and id <> me and seen_at < now() - interval '500 milliseconds'
      and (suspect_at is null or suspect_at < seen_at)
    for no key update skip locked
  ) silent where m.id = silent.id;
  return query with recursive owners (owner) as (
    (select l.owner from sluice.fetch_lane l where l.run_id = of_run and l.owner is not null order by l.owner limit 1)
    union all
    select (select l.owner from sluice.fetch_lane l where l.run_id = of_run and l.owner > o.owner order by l.owner limit 1)
    from owners o where o.owner is not null
  )
  select
    exists (
      select from sluice.fetch_member m
      where m.run_id = of_run and m.id <> me and m.seen_at < m.suspect_at and m.suspect_at < now() - interval '1 second'
    ) or exists (
      select from owners o where o.owner is not null and not exists (select from sluice.fetch_member m where m.id = o.owner)
    ),
    coalesce((
      select o.due_at from sluice.fetch_outcome o where o.run_id = of_run and o.state = 2 order by o.due_at limit 1
    ) <= now(), false);
end $$;

-- Takes for dead who has been silent for a second of a living member's, if its session is gone (a killed process), and else for four
-- seconds (a frozen one). Says whether anything was freed.
create function sluice.fetch_bury(of_run int, lock_space int) returns boolean language plpgsql as $$
declare dead int[];
begin
  perform from sluice.fetch_run r where r.id = of_run for no key update;
  select array_agg(silent.id) into dead from (
    select m.id from sluice.fetch_member m
    where m.run_id = of_run and m.seen_at < m.suspect_at and m.suspect_at < now() - interval '1 second'
      and case when m.seen_at < now() - interval '4 seconds' then true else pg_try_advisory_xact_lock(lock_space, m.id) end
    for update
  ) silent;
  return sluice.fetch_dismiss(of_run, coalesce(dead, '{}')) > 0 or dead is not null;
end $$;

-- A member goes on under another id, with its tallies and the lanes that it knows of: what it sent before and is still on its way finds
-- no member. Gives back the new id; null: it was taken for dead.
create function sluice.fetch_renew(of_run int, old int, known bigint[]) returns int language plpgsql as $$
declare renewed int;
begin
  perform from sluice.fetch_run r where r.id = of_run for no key update;
  perform from sluice.fetch_member m where m.id = old for update;
  if not found then return (select m.id from sluice.fetch_member m where m.run_id = of_run and m.formerly = old); end if;
  insert into sluice.fetch_member (run_id, formerly, sealed, added, done, failed, deferred, taken)
    select m.run_id, m.id, m.sealed, m.added, m.done, m.failed, m.deferred, m.taken from sluice.fetch_member m where m.id = old
    returning id into renewed;
  delete from sluice.fetch_member m where m.id = old;
  with locked as (
    select l.id from sluice.fetch_lane l where l.run_id = of_run and l.owner = old and l.id = any(known) order by l.id for no key update
  )
  update sluice.fetch_lane l set owner = renewed from locked where l.id = locked.id;
  perform sluice.fetch_dismiss(of_run, '{}');
  return renewed;
end $$;

-- A member leaves, with word on how far its lanes are; the run is dropped if nothing was ever added to it and nobody has it open.
create function sluice.fetch_leave(of_run int, me int, lanes bigint[], heads bigint[], reads bigint[]) returns void language plpgsql as $$
begin
  perform from sluice.fetch_run r where r.id = of_run for no key update;
  perform from sluice.fetch_member m where m.id = me for update;
  if not found then return; end if;
  with locked as (
    select l.id, x.head, x.read from unnest(lanes, heads, reads) x(id, head, read) join sluice.fetch_lane l on l.id = x.id
    where l.owner is not distinct from me order by l.id for no key update of l
  )
  update sluice.fetch_lane l set owner = null, head = x.head, redo = greatest(l.redo, x.read) from locked x where l.id = x.id;
  perform sluice.fetch_dismiss(of_run, array[me]);
  delete from sluice.fetch_run r where r.id = of_run and r.next_seq = 1
    and not exists (select from sluice.fetch_member m where m.run_id = r.id);
end $$;

-- Makes up to so many recorded URLs pending again, behind all others: those that are due, or the failed ones that meet the filter. Gives
-- back how many.
create function sluice.fetch_reopen(of_run int, is_due boolean, of_tag text, of_host text, at_most int) returns int language plpgsql as $$
declare reopened int;
begin
  perform from sluice.fetch_run r where r.id = of_run for no key update;
  with picked as (
    select o.seq from sluice.fetch_outcome o
    where o.run_id = of_run and case when is_due then o.state = 2 and o.due_at <= now() else o.state = 1 end
      and (of_tag is null or o.tag = of_tag)
      and (of_host is null or o.lane_id = (select id from sluice.fetch_lane where run_id = of_run and host = of_host))
    order by o.seq limit at_most
  ), gone as (
    delete from sluice.fetch_outcome o using picked where o.run_id = of_run and o.seq = picked.seq
    returning o.lane_id, o.seq, o.state
  ), fresh as (
    select gone.lane_id, gone.seq as old, r.next_seq + row_number() over (order by gone.seq) - 1 as seq
    from gone, sluice.fetch_run r where r.id = of_run
  ), moved as (
    update sluice.fetch_url u set seq = fresh.seq from fresh where u.lane_id = fresh.lane_id and u.seq = fresh.old
  ), ends as (
    select lane_id, max(seq) as seq from fresh group by lane_id
  ), locked as (
    select l.id, ends.seq from ends join sluice.fetch_lane l on l.id = ends.lane_id order by l.id for no key update of l
  ), grown as (
    update sluice.fetch_lane l set tail = locked.seq from locked where l.id = locked.id
  ), tally as (
    update sluice.fetch_run set next_seq = next_seq + (select count(*) from gone), updated_at = now(),
      failed = failed - (select count(*) from gone where state = 1),
      deferred = deferred - (select count(*) from gone where state = 2)
    where id = of_run
  )
  select count(*)::int into reopened from gone;
  return reopened;
end $$;
