-- What the fleet of workers does beside its jobs: membership, heartbeats, timetables, counters, the partitions of the history.

-- A new member; answers its number.
create function sluice.job_join(label text, queues text[], lease_millis integer, beat_millis integer) returns integer language sql as $$
  insert into sluice.job_worker (label, queues, lease_millis, beat_millis) values (label, queues, lease_millis, beat_millis) returning id
$$;

-- Announces that a worker sleeps, and is to be woken, or is busy.
create function sluice.job_idle(me integer, is_idle boolean) returns void language sql as $$
  update sluice.job_worker w set idle = is_idle where w.id = me and w.lost_at is null
$$;

-- Leaves the fleet: what is still running here goes back to waiting.
create function sluice.job_leave(me integer, out recovered integer, out held integer) language plpgsql as $$
begin
  update sluice.job_worker w set lost_at = coalesce(w.lost_at, clock_timestamp()), look_at = '-infinity', idle = false where w.id = me;
  select r.recovered, r.held into recovered, held from sluice.job_recover(array[me]) r;
end $$;


-- One heartbeat: says we live and marks who does not. `lost` are the workers whose jobs are to be taken back, those of others' beats among
-- them; the next job is due in `next_due` milliseconds, and some are due already. It waits for nobody: what may wait (taking back,
-- promoting) is done after it, in transactions of their own.
create function sluice.job_beat(
  me integer, out alive boolean, out died integer, out lost integer[], out is_due boolean, out next_due double precision, out cancelled bigint[]
) language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  previous timestamptz;
  lease integer;
begin
  alive := true; died := 0;
  select w.beat_at, w.lease_millis into previous, lease from sluice.job_worker w
    where w.id = me and w.lost_at is null for no key update;
  if not found then alive := false; return; end if;
  update sluice.job_worker w set beat_at = clock_timestamp() where w.id = me;
  -- Who was cut off itself, or has just seen the server restart, gives the others the time to be heard.
  if clock_timestamp() - previous < make_interval(secs => lease / 2000.0) then
    with silent as (
      select w.id from sluice.job_worker w
      where w.id <> me and w.lost_at is null
        and pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => w.lease_millis / 1000.0) and (
        w.beat_at < clock_timestamp() - make_interval(secs => w.lease_millis / 1000.0)
        -- Looked up and not tried: this very session may hold the lock, when a pooler stands between.
        or (w.locked and w.beat_at < clock_timestamp() - make_interval(secs => w.beat_millis / 500.0)
          and not exists (select from pg_locks l where l.locktype = 'advisory' and l.granted and l.classid = 7210
            and l.objid = w.id and l.database = (select d.oid from pg_database d where d.datname = current_database()))))
      for no key update skip locked
    )
    update sluice.job_worker w set lost_at = clock_timestamp(), idle = false from silent s where w.id = s.id;
    get diagnostics died = row_count;
  end if;
  lost := array(select w.id from sluice.job_worker w where w.lost_at is not null);
  is_due := exists (select from sluice.job j where j.state = 'scheduled' and j.run_at <= now()) or exists (select from sluice.job_key_due)
    or exists (select from sluice.job_flow f where f.is_ending);
  select extract(epoch from j.run_at - clock_timestamp()) * 1000 into next_due
    from sluice.job j where j.state = 'scheduled' and j.run_at > now() order by j.run_at limit 1;
  select array_agg(j.id) into cancelled from sluice.job j where j.cancel_requested and j.worker = me;
end $$;

-- Jobs that are running for nobody: their worker is lost, or there is none of that number. They are taken back by the next beat of any
-- worker, unless somebody has them locked: `holder` is the pid of that session, where it can be told, and `doing` what it does.
-- `pg_terminate_backend(holder)` frees them.
create view sluice.job_stuck as
  select j.id, j.queue, j.kind, j.attempt, j.worker, j.started_at, w.lost_at, l.pid as holder,
    case when a.pid is not null then format('%s, %s since %s', a.application_name, a.state, a.state_change::timestamptz(0)) end as doing
  from sluice.job j left join sluice.job_worker w on w.id = j.worker
    left join pg_locks l on l.locktype = 'transactionid' and l.transactionid = j.xmax and l.granted
    left join pg_stat_activity a on a.pid = l.pid
  where j.state = 'running' and (w.id is null or w.lost_at is not null);

-- The names of a worker's timetables that want something done, while it is a member: new ones, due ones, and those whose row is of an older
-- worker or of one that has left. `now` is the database's clock in epoch milliseconds.
create function sluice.job_cron_look(me integer, the_names text[], signatures text[]) returns table (now double precision, names text[])
language sql stable as $$
  select extract(epoch from now())::double precision * 1000, array(
    select u.name from unnest(the_names, signatures) as u(name, signature) left join sluice.job_cron c using (name)
    where c.name is null or (c.signature = u.signature and c.next_at <= now()) or c.worker < me
      or not exists (select from sluice.job_worker w where w.id = c.worker and w.lost_at is null)
  ) from sluice.job_worker w where w.id = me and w.lost_at is null
$$;

-- Moves a timetable on to `next`; answers whether a tick was due, which is this caller's to enqueue, in the same transaction. A new one, or
-- one with another signature, starts with the next tick and makes up for nothing. Of several timetables of one name, that of the worker
-- that joined last holds.
create function sluice.job_cron_tick(me integer, the_name text, the_signature text, next timestamptz) returns boolean language plpgsql as $$
begin
  insert into sluice.job_cron as c (name, signature, next_at, worker) values (the_name, the_signature, next, me)
  on conflict (name) do update set worker = excluded.worker, signature = excluded.signature,
    next_at = case when c.signature = excluded.signature then c.next_at else excluded.next_at end
  where c.worker < excluded.worker or not exists (select from sluice.job_worker w where w.id = c.worker and w.lost_at is null);
  update sluice.job_cron c set next_at = next
    where c.name = the_name and c.signature = the_signature and c.next_at <= now() and c.next_at < next;
  return found;
end $$;

-- Adds the differences up. One process at a time; answers how many rows it took.
create function sluice.job_fold() returns bigint language plpgsql as $$
declare folded bigint;
begin
  if not pg_try_advisory_xact_lock(7211, 0) then return 0; end if;
  with taken as (delete from sluice.job_delta returning *),
  summed as (
    select queue, count(*) as n, sum(ready) as ready, sum(scheduled) as scheduled, sum(blocked) as blocked,
      sum(waiting) as waiting, sum(running) as running, sum(succeeded) as succeeded, sum(cancelled) as cancelled, sum(dead) as dead,
      sum(retried) as retried from taken group by queue
  ), merged as (
    insert into sluice.job_count as c (queue, ready, scheduled, blocked, waiting, running, succeeded, cancelled, dead, retried)
    select queue, ready, scheduled, blocked, waiting, running, succeeded, cancelled, dead, retried from summed
    on conflict (queue) do update set ready = c.ready + excluded.ready, scheduled = c.scheduled + excluded.scheduled,
      blocked = c.blocked + excluded.blocked, waiting = c.waiting + excluded.waiting, running = c.running + excluded.running,
      succeeded = c.succeeded + excluded.succeeded, cancelled = c.cancelled + excluded.cancelled,
      dead = c.dead + excluded.dead, retried = c.retried + excluded.retried
  )
  select coalesce(sum(n), 0) into folded from summed;
  return folded;
end $$;

-- The partitions of today and of the next two days, in UTC whatever the time zone of the server. Who cannot have a lock at once comes
-- again: behind one that waits, everybody waits who writes or reads history. A day that has rows in the default partition already keeps
-- them there.
create function sluice.job_partitions() returns void
language plpgsql set lock_timeout = '50ms' set timezone = 'UTC' set datestyle = 'ISO' as $$
declare
  day date;
  name text;
begin
  if not pg_try_advisory_xact_lock(7211, 1) then return; end if;
  for day in select now()::date + n from generate_series(0, 2) as n loop
    name := 'job_history_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass('sluice.' || name) is not null
      or exists (select from sluice.job_history_other o where o.finished_at >= day and o.finished_at < day + 1);
    execute format('create table sluice.%I (like sluice.job_history including defaults)
      with (autovacuum_vacuum_insert_scale_factor = 0.5)', name);
    execute format('alter table sluice.job_history attach partition sluice.%I for values from (%L) to (%L)', name,
      day, day + 1);
  end loop;
end $$;

-- Takes away one day that is too old, or a chunk of old rows without a partition; answers whether there may be more. A day is emptied
-- first, which only its own readers can hold up; the empty table is dropped when nobody is at any other day either.
create function sluice.job_retire(keep_days integer) returns boolean
language plpgsql set lock_timeout = '50ms' set timezone = 'UTC' as $$
declare
  first_day date := now()::date - keep_days;
  old text;
  has_rows boolean;
  taken integer;
begin
  if not pg_try_advisory_xact_lock(7211, 1) then return false; end if;
  select c.relname, pg_relation_size(c.oid) > 0 into old, has_rows
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'sluice.job_history'::regclass and c.relname ~ '^job_history_\d{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < first_day
    order by 2 desc, 1 limit 1;
  if has_rows then
    execute format('truncate sluice.%I', old);
    return true;
  end if;
  delete from sluice.job_history_other o where o.ctid = any (array(
    select x.ctid from sluice.job_history_other x where x.finished_at < first_day limit 10000));
  get diagnostics taken = row_count;
  if taken > 0 then return true; end if;
  if old is null then return false; end if;
  execute format('drop table sluice.%I', old);
  return true;
end $$;

do $$ begin perform sluice.job_partitions(); end $$;
