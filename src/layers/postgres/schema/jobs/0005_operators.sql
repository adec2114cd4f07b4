-- What operators ask: jobs in one form, wherever they lie, counters, what ended, and the settings of queues.

-- Every job there is.
create view sluice.job_all as
  select 'live' as lies, id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at,
    null::timestamptz as finished_at, key, payload, null::json as result, to_json(failures) as failures, parent, progress, tenant from sluice.job
  union all
  select 'dead', id, 'dead', attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at,
    finished_at, key, payload, null, to_json(failures), parent, null, tenant from sluice.job_dead
  union all
  select 'ended', id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at,
    finished_at, key, payload, result, to_json(failures), parent, null, tenant from sluice.job_history;

-- The exact counters of each queue, and how old the job is that would be claimed next, in milliseconds. No job is counted.
create view sluice.job_stats as
  with summed as (
    select c.queue, sum(c.ready) as ready, sum(c.scheduled) as scheduled, sum(c.blocked) as blocked,
      sum(c.waiting) as waiting, sum(c.running) as running,
      sum(c.succeeded) as succeeded, sum(c.cancelled) as cancelled, sum(c.dead) as dead, sum(c.retried) as retried
    from (
      select queue, ready, scheduled, blocked, waiting, running, succeeded, cancelled, dead, retried from sluice.job_count
      union all
      select queue, ready, scheduled, blocked, waiting, running, succeeded, cancelled, dead, retried from sluice.job_delta
    ) c group by c.queue
  )
  select queue, coalesce(q.paused, false) as paused, coalesce(s.ready, 0)::bigint as ready, coalesce(s.scheduled, 0)::bigint as scheduled,
    coalesce(s.blocked, 0)::bigint as blocked, coalesce(s.waiting, 0)::bigint as waiting,
    coalesce(s.running, 0)::bigint as running, coalesce(s.succeeded, 0)::bigint as succeeded,
    coalesce(s.cancelled, 0)::bigint as cancelled, coalesce(s.dead, 0)::bigint as dead, coalesce(s.retried, 0)::bigint as retried,
    (select extract(epoch from clock_timestamp() - j.run_at)::double precision * 1000 from sluice.job j
      where j.queue = queue.queue and j.state = 'ready' order by j.rank, j.id limit 1) as oldest_ready_millis
  from (select queue from summed union select queue from sluice.job_queue) queue
  left join summed s using (queue) left join sluice.job_queue q using (queue);

-- A page of jobs below an id, newest first: `most` of those that are meant. So many rows of each table are looked at (`looks`), newest
-- first; where a table has more, all are told of only down to there: the `floor`, which every row has. A row without an id says that there
-- are no others.
--
-- The plan is made for each page with what is asked: conditions on what is not asked vanish from it, and so do whole tables.
create function sluice.job_page(before bigint, of_queue text, of_kind text, of_state sluice.job_state, most integer, looks integer)
returns table (id bigint, state sluice.job_state, attempt smallint, max_attempts smallint, priority smallint, worker integer, queue text, kind text,
  run_at timestamptz, enqueued_at timestamptz, started_at timestamptz, finished_at timestamptz, key text, payload json, result json,
  failures json, parent bigint, progress json, tenant text, floor bigint)
language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
begin
  return query
with live as materialized (
  -- Few among many that wait, with an index of their own.
  select j.id, j.queue, j.kind, j.state from sluice.job j
  where j.id < before and (of_state is distinct from 'running' or j.state = 'running')
    and (of_state is null or of_state in ('ready', 'scheduled', 'blocked', 'waiting', 'running'))
  order by j.id desc limit looks
), dead as materialized (
  -- One of the two names is in an index; the other is looked at.
  select d.id, d.queue, d.kind from sluice.job_dead d
  where d.id < before and (of_kind is null or d.kind = of_kind) and (of_kind is not null or of_queue is null or d.queue = of_queue)
    and (of_state is null or of_state = 'dead')
  order by d.id desc limit looks
), ended as materialized (
  select h.id, h.queue, h.kind, h.state from sluice.job_history h
  where h.id < before and (of_state is null or of_state in ('succeeded', 'cancelled'))
  order by h.id desc limit looks
), floor as materialized (
  select max(f.id) as id from (
    select min(id) as id from live having count(*) = looks
    union all select min(id) from dead having count(*) = looks
    union all select min(id) from ended having count(*) = looks
  ) f
), page as materialized (
  select m.id, m.lies from (
    select 'live' as lies, id, queue, kind, state from live
    union all select 'dead', id, queue, kind, 'dead' from dead
    union all select 'ended', id, queue, kind, state from ended
  ) m
  where m.id >= coalesce((select f.id from floor f), 0) and (of_queue is null or m.queue = of_queue)
    and (of_kind is null or m.kind = of_kind) and (of_state is null or m.state = of_state)
  order by m.id desc limit most
)
select a.id, a.state, a.attempt, a.max_attempts, a.priority, a.worker, a.queue, a.kind, a.run_at, a.enqueued_at, a.started_at, a.finished_at, a.key,
  a.payload, a.result, a.failures, a.parent, a.progress, a.tenant, f.id
from floor f left join (page p cross join lateral (select * from sluice.job_all w where w.lies = p.lies and w.id = p.id limit 1) a) on true
order by a.id desc;
end $$;

-- What a redrive would take at this moment, how many are held back, and the first ten.
create function sluice.job_preview(of_queue text, of_kind text, of_reason text, of_ids bigint[], most integer, out matched integer, out held integer,
  out first bigint[]) language sql stable as $$
  select count(*) filter (where c.n < most)::integer, count(*) filter (where c.is_held)::integer,
    array_agg(c.id order by c.id) filter (where c.n < least(most, 10))
  from sluice.job_redrivable(of_queue, of_kind, of_reason, of_ids, most) c
$$;

-- What ended behind a place (transaction and id), in the order of transactions. Only those below every running one are told of, so that
-- none is ever missed.
create function sluice.job_ended(after_tx bigint, after_id bigint, most integer)
returns table (id bigint, queue text, kind text, state sluice.job_state, attempt smallint, at timestamptz, tx text) language sql stable as $$
  select e.id, e.queue, e.kind, e.state, e.attempt, e.at, e.tx::text from (
    (select h.id, h.queue, h.kind, h.state, h.attempt, h.finished_at as at, h.tx from sluice.job_history h
      where h.tx >= after_tx and h.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        and (h.tx > after_tx or h.id > after_id) order by h.tx, h.id limit most)
    union all
    (select d.id, d.queue, d.kind, 'dead', d.attempt, d.finished_at, d.tx from sluice.job_dead d
      where d.tx >= after_tx and d.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        and (d.tx > after_tx or d.id > after_id) order by d.tx, d.id limit most)
  ) e order by e.tx, e.id limit most
$$;

-- The settings of a queue: what is null stays as it is, but for a rate of null when `has_rate`, which is none.
create function sluice.job_configure(the_queue text, is_paused boolean, has_rate boolean, new_rate double precision) returns void language plpgsql as $$
begin
  insert into sluice.job_queue (queue) values (the_queue) on conflict (queue) do nothing;
  update sluice.job_queue q set paused = is_paused where q.queue = the_queue and is_paused is not null;
  update sluice.job_queue q set rate = new_rate, tokens = greatest(1, new_rate), tokens_at = clock_timestamp()
    where q.queue = the_queue and has_rate;
  perform sluice.job_wake(array[the_queue]);
end $$;

-- The children of a job, oldest first: those that live, and how the others ended.
create function sluice.job_children(the_id bigint) returns table (id bigint, kind text, state sluice.job_state, result json, error json)
language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  return query
    select j.id, j.kind, j.state, null::json, j.failures[cardinality(j.failures)] from sluice.job j where j.parent = the_id and j.parent is not null
    union all
    select c.child, c.kind, c.state, c.result, c.error from sluice.job_child c where c.parent = the_id
    order by 1;
end $$;
