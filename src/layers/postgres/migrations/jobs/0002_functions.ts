import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

const statements = [
  // How many of a queue may be claimed now: all that was asked, none when paused, as many as tokens when rated.
  `create function sluice.job_allowance(the_queue text, wanted integer) returns integer language plpgsql as $$
  declare
    settings sluice.job_queue;
    granted integer;
  begin
    select * into settings from sluice.job_queue q where q.queue = the_queue;
    if not found then return wanted; end if;
    if settings.paused then return 0; end if;
    if settings.rate is null then return wanted; end if;
    -- A token is spent only on a job that is there.
    select count(*) into wanted from
      (select 1 from sluice.job j where j.queue = the_queue and j.state = 0 limit wanted) ready;
    if wanted = 0 then return 0; end if;
    select * into settings from sluice.job_queue q where q.queue = the_queue for update;
    settings.tokens := least(greatest(1, settings.rate),
      settings.tokens + settings.rate * greatest(0, extract(epoch from clock_timestamp() - settings.tokens_at)));
    granted := least(wanted, floor(settings.tokens)::integer);
    update sluice.job_queue q set tokens = settings.tokens - granted, tokens_at = clock_timestamp()
      where q.queue = the_queue;
    return granted;
  end $$`,
  // Lets the next jobs of these keys through, up to their limits. The lock makes count and change one step per key.
  `create function sluice.job_fill(kinds text[], keys text[]) returns text[] language plpgsql as $$
  declare
    pair record;
    candidate record;
    active integer;
    woken text[] := '{}';
  begin
    for pair in select distinct u.kind, u.key from unnest(kinds, keys) as u(kind, key) order by 1, 2 loop
      perform pg_advisory_xact_lock(hashtextextended(pair.kind || chr(1) || pair.key, 7210));
      select count(*) into active from sluice.job j
        where j.kind = pair.kind and j.key = pair.key and j.key is not null and j.state <> 3
          and (j.state in (0, 1) or j.attempt > 0);
      for candidate in
        select j.id, j.queue, j.key_limit from sluice.job j
        where j.kind = pair.kind and j.key = pair.key and j.state = 3 order by j.rank, j.id for update
      loop
        exit when active >= candidate.key_limit;
        update sluice.job j set state = 0 where j.id = candidate.id;
        insert into sluice.job_delta (queue, ready, blocked) values (candidate.queue, 1, -1);
        woken := woken || candidate.queue;
        active := active + 1;
      end loop;
    end loop;
    return woken;
  end $$`,
  // Tells sleeping workers of these queues, after the commit; says nothing when all are busy.
  `create function sluice.job_wake(queues text[]) returns void language sql as $$
    select pg_notify('sluice_jobs', 'w:' || q.queue)
    from (select distinct u.queue from unnest(queues) as u(queue)) q
    where exists (select 1 from sluice.job_worker w where w.idle and q.queue = any (w.queues))
  $$`,
  // Takes back what a worker that is gone was running.
  `create function sluice.job_recover(lost integer) returns integer language plpgsql as $$
  declare
    recovered integer;
    kinds text[];
    keys text[];
    queues text[];
  begin
    with mine as (
      select j.id from sluice.job j where j.state = 1 and j.worker = lost for update skip locked
    ), verdict as (
      select j.*, case when j.cancel_requested then 6 when j.attempt >= j.max_attempts then 5 else 0 end as becomes,
        json_build_object('reason', 'WorkerLost', 'message', 'Worker ' || lost || ' died while running it') as failure
      from sluice.job j join mine using (id)
    ), gone as (
      delete from sluice.job j using verdict v where j.id = v.id and v.becomes <> 0 returning j.id
    ), dead as (
      insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at,
        started_at, finished_at, key, dedupe, payload, error)
      select id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at, now(),
        key, dedupe, payload, failure from verdict where becomes = 5
    ), cancelled as (
      insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at,
        started_at, finished_at, key, payload, error)
      select id, 6, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
        payload, error from verdict where becomes = 6
    ), again as (
      update sluice.job j set state = 0, worker = null, started_at = null, error = v.failure
      from verdict v where j.id = v.id and v.becomes = 0 returning j.id
    ), delta as (
      insert into sluice.job_delta (queue, running, ready, dead, cancelled, retried)
      select queue, -count(*), count(*) filter (where becomes = 0), count(*) filter (where becomes = 5),
        count(*) filter (where becomes = 6), count(*) filter (where becomes = 0) from verdict group by queue
    )
    select count(*), array_agg(kind) filter (where key is not null and becomes <> 0),
      array_agg(key) filter (where key is not null and becomes <> 0), array_agg(distinct queue)
    into recovered, kinds, keys, queues from verdict;
    if kinds is not null then queues := queues || sluice.job_fill(kinds, keys); end if;
    if recovered > 0 then perform sluice.job_wake(queues); end if;
    return recovered;
  end $$`,
  // Makes due jobs ready.
  `create function sluice.job_promote() returns void language plpgsql as $$
  declare
    kinds text[];
    keys text[];
    queues text[];
  begin
    with due as (
      select j.id from sluice.job j where j.state = 2 and j.run_at <= now() order by j.run_at limit 5000
      for update skip locked
    ), moved as (
      update sluice.job j set state = case when j.key is not null and j.attempt = 0 then 3 else 0 end
      from due where j.id = due.id returning j.queue, j.kind, j.key, j.state
    ), delta as (
      insert into sluice.job_delta (queue, scheduled, ready, blocked)
      select queue, -count(*), count(*) filter (where state = 0), count(*) filter (where state = 3) from moved group by queue
    )
    select array_agg(distinct queue), array_agg(kind) filter (where state = 3), array_agg(key) filter (where state = 3)
    into queues, kinds, keys from moved;
    if queues is null then return; end if;
    if kinds is not null then perform sluice.job_fill(kinds, keys); end if;
    perform sluice.job_wake(queues);
  end $$`,
  // One heartbeat: says we live, finds who does not, makes due jobs ready.
  `create function sluice.job_beat(
    me integer, out alive boolean, out dead_workers integer, out recovered integer, out next_due double precision,
    out cancelled bigint[]
  ) language plpgsql as $$
  declare
    previous timestamptz;
    lease integer;
    gone record;
  begin
    alive := true; dead_workers := 0; recovered := 0;
    select w.beat_at, w.lease_millis into previous, lease from sluice.job_worker w where w.id = me for update;
    if not found then alive := false; return; end if;
    update sluice.job_worker w set beat_at = clock_timestamp() where w.id = me;
    -- Who was cut off itself, or has just seen the server restart, gives the others the time to be heard.
    if clock_timestamp() - previous < make_interval(secs => lease / 2000.0)
      and clock_timestamp() - pg_postmaster_start_time() > make_interval(secs => lease / 1000.0) then
      for gone in
        select w.id from sluice.job_worker w
        where w.id <> me and (
          w.beat_at < clock_timestamp() - make_interval(secs => w.lease_millis / 1000.0)
          or (w.locked and w.beat_at < clock_timestamp() - make_interval(secs => w.beat_millis / 500.0)
            and pg_try_advisory_xact_lock(7210, w.id)))
        for update skip locked
      loop
        delete from sluice.job_worker w where w.id = gone.id;
        recovered := recovered + sluice.job_recover(gone.id);
        dead_workers := dead_workers + 1;
      end loop;
    end if;
    perform sluice.job_promote();
    select extract(epoch from j.run_at - clock_timestamp()) * 1000 into next_due
      from sluice.job j where j.state = 2 order by j.run_at limit 1;
    select array_agg(j.id) into cancelled from sluice.job j
      where j.cancel_requested and j.worker = me and j.state = 1;
  end $$`,
  // Adds the differences up. One process at a time; answers how many rows it took.
  `create function sluice.job_fold() returns bigint language plpgsql as $$
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
  end $$`,
  // Makes the partitions of the next days and drops those that are too old; answers how many were dropped.
  `create function sluice.job_partitions(keep_days integer) returns integer language plpgsql as $$
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
      where i.inhparent = 'sluice.job_history'::regclass and c.relname ~ '^job_history_\\d{8}$'
        and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep_days
    loop
      execute format('drop table sluice.%I', old.relname);
      dropped := dropped + 1;
    end loop;
    return dropped;
  end $$`,
  `select sluice.job_partitions(7)`
]

export const functions = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
})
