-- What the fleet of workers does beside its jobs: heartbeats, counters, the partitions of the history.

-- One heartbeat: says we live and marks who does not. `lost` are the workers whose jobs are to be taken back, those of others' beats among them; the next
-- job is due in `next_due` milliseconds, or was so long ago. It waits for nobody: what may wait (taking back, promoting) is done after it, in transactions of their own.
create function sluice.job_beat(
  me integer, out alive boolean, out died integer, out lost integer[], out next_due double precision, out cancelled bigint[]
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
  select extract(epoch from j.run_at - clock_timestamp()) * 1000 into next_due
    from sluice.job j where j.state = 2 order by j.run_at limit 1;
  select array_agg(j.id) into cancelled from sluice.job j where j.cancel_requested and j.worker = me;
end $$;

-- Adds the differences up. One process at a time; answers how many rows it took.
create function sluice.job_fold() returns bigint language plpgsql as $$
declare folded bigint;
begin
  if not pg_try_advisory_xact_lock(7211, 0) then return 0; end if;
  with taken as (delete from sluice.job_delta returning *),
  summed as (
    select queue, count(*) as n, sum(ready) as ready, sum(scheduled) as scheduled, sum(blocked) as blocked,
      sum(running) as running, sum(succeeded) as succeeded, sum(cancelled) as cancelled, sum(dead) as dead,
      sum(retried) as retried from taken group by queue
  ), merged as (
    insert into sluice.job_count as c (queue, ready, scheduled, blocked, running, succeeded, cancelled, dead, retried)
    select queue, ready, scheduled, blocked, running, succeeded, cancelled, dead, retried from summed
    on conflict (queue) do update set ready = c.ready + excluded.ready, scheduled = c.scheduled + excluded.scheduled,
      blocked = c.blocked + excluded.blocked, running = c.running + excluded.running,
      succeeded = c.succeeded + excluded.succeeded, cancelled = c.cancelled + excluded.cancelled,
      dead = c.dead + excluded.dead, retried = c.retried + excluded.retried
  )
  select coalesce(sum(n), 0) into folded from summed;
  return folded;
end $$;

-- Makes the partitions of the next days and drops those that are too old; answers how many were dropped.
create function sluice.job_partitions(keep_days integer) returns integer language plpgsql as $$
declare
  day date;
  name text;
  old record;
  dropped integer := 0;
begin
  perform pg_advisory_xact_lock(7211, 1);
  for day in select generate_series(current_date, current_date + 2, interval '1 day')::date loop
    name := 'job_history_' || to_char(day, 'YYYYMMDD');
    if to_regclass('sluice.' || name) is not null then continue; end if;
    execute format('create table sluice.%I (like sluice.job_history including defaults)
      with (autovacuum_vacuum_insert_scale_factor = 0.5)', name);
    -- Rows of that day that had no partition yet.
    execute format('with moved as (delete from sluice.job_history_other where finished_at >= %L and finished_at < %L
      returning *) insert into sluice.%I select * from moved', day, day + 1, name);
    execute format('alter table sluice.job_history attach partition sluice.%I for values from (%L) to (%L)', name, day,
      day + 1);
  end loop;
  for old in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'sluice.job_history'::regclass and c.relname ~ '^job_history_\d{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep_days
  loop
    execute format('drop table sluice.%I', old.relname);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;

do $$ begin perform sluice.job_partitions(7); end $$;
