-- Every change of a job's state, with the counters that it moves.
--
-- The hot statements fix their plans, so that these never depend on statistics: a queue's table swings between empty and millions of rows faster than it
-- is analyzed, and a plan made for one is a disaster for the other. Beside the settings of the functions: `= any (array[x])` is a join that only an index
-- can do, so that no plan reads the whole index instead, which is cheap on a table that was empty; `is not distinct from` keeps an index from being used.

-- How many of a queue may be claimed now behind a place in its order: all that was asked, none when paused, as many as tokens when rated.
create function sluice.job_allowance(the_queue text, wanted integer, behind_rank timestamptz, behind_id bigint)
returns integer language plpgsql as $$
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
    (select 1 from sluice.job j where j.queue = the_queue and j.state = 0 and (j.rank, j.id) > (behind_rank, behind_id)
      limit wanted) ready;
  if wanted = 0 then return 0; end if;
  -- Who waited here for another claim would hold the rows of other queues meanwhile, and two would wait for each other.
  select * into settings from sluice.job_queue q where q.queue = the_queue for update skip locked;
  if not found or settings.rate is null then return 0; end if;
  settings.tokens := least(greatest(1, settings.rate),
    settings.tokens + settings.rate * greatest(0, extract(epoch from clock_timestamp() - settings.tokens_at)));
  granted := least(wanted, floor(settings.tokens));
  update sluice.job_queue q set tokens = settings.tokens - granted, tokens_at = clock_timestamp()
    where q.queue = the_queue;
  return granted;
end $$;

-- The lock of a key makes count and change one step. Who takes it before locking a job of the key never waits in a circle.
create function sluice.job_key(kind text, key text) returns bigint language sql immutable as $$
  select hashtextextended(kind || chr(1) || key, 7210)
$$;

-- Whether a key's lock could be had within a moment: whoever enqueues a job of the key holds it as long as his transaction lasts.
create function sluice.job_key_lock(place bigint) returns boolean language plpgsql set lock_timeout = '50ms' as $$
begin
  perform pg_advisory_xact_lock(place);
  return true;
exception when lock_not_available then return false;
end $$;

-- Lets the next jobs of these keys through, up to their limits. The lock makes count and change one step per key. Nobody is held up for long by a key that
-- somebody else holds: it is written down, and let through with a later heartbeat. A job that was claimed before
-- and waits again keeps its place.
create function sluice.job_fill(kinds text[], keys text[]) returns text[]
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  pair record;
  candidate record;
  active integer;
  place bigint;
  patient boolean := true;
  woken text[] := '{}';
begin
  for pair in select distinct u.kind, u.key from unnest(kinds, keys) as u(kind, key) order by 1, 2 loop
    place := sluice.job_key(pair.kind, pair.key);
    if not pg_try_advisory_xact_lock(place) then
      patient := patient and sluice.job_key_lock(place);
      if not patient then
        insert into sluice.job_key_due (kind, key) values (pair.kind, pair.key);
        continue;
      end if;
    end if;
    select count(*) into active from sluice.job j
      where j.kind = pair.kind and j.key = pair.key and j.key is not null and j.state <> 3
        and (j.state in (0, 1) or j.fence is not null);
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
end $$;

-- Cancels a job: at once when it waits or when the worker that ran it is lost, by its worker when it runs. Keys as in a settle: of a job that was claimed the
-- job first and then its key; of one that never was the key first, as whoever lets it through has it.
create function sluice.job_cancel(the_id bigint, out outcome text) language plpgsql as $$
declare
  seen sluice.job;
begin
  select * into seen from sluice.job j where j.id = the_id;
  if seen.key is not null and seen.fence is null then perform pg_advisory_xact_lock(sluice.job_key(seen.kind, seen.key)); end if;
  select * into seen from sluice.job j where j.id = the_id for update;
  if not found then
    -- Asked only now: it may have ended while we waited.
    outcome := case when exists (select from sluice.job_dead d where d.id = the_id)
      or exists (select from sluice.job_history h where h.id = the_id) then 'finished' else 'unknown' end;
    return;
  end if;
  if exists (select from sluice.job_worker w where w.id = seen.worker and w.lost_at is null) then
    update sluice.job j set cancel_requested = true where j.id = the_id;
    perform pg_notify('sluice_jobs', format('c:%s:%s', seen.worker, the_id));
    outcome := 'requested';
    return;
  end if;
  delete from sluice.job j where j.id = the_id;
  insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
    error)
  values (seen.id, 6, seen.attempt, seen.max_attempts, seen.priority, seen.worker, seen.queue, seen.kind, seen.run_at, seen.enqueued_at, seen.started_at, now(),
    seen.key, seen.payload, seen.error);
  insert into sluice.job_delta (queue, ready, running, scheduled, blocked, cancelled)
  values (seen.queue, -(seen.state = 0)::integer, -(seen.state = 1)::integer, -(seen.state = 2)::integer, -(seen.state = 3)::integer, 1);
  if seen.key is not null then perform sluice.job_wake(sluice.job_fill(array[seen.kind], array[seen.key])); end if;
  outcome := 'cancelled';
end $$;

-- Lets those keys through that were held by somebody when it was their turn.
create function sluice.job_fill_due() returns void language plpgsql as $$
declare
  kinds text[];
  keys text[];
begin
  with taken as (
    delete from sluice.job_key_due d where d.ctid = any (array(
      select x.ctid from sluice.job_key_due x limit 1000 for update skip locked)) returning d.kind, d.key
  )
  select array_agg(kind), array_agg(key) into kinds, keys from taken;
  if kinds is not null then perform sluice.job_wake(sluice.job_fill(kinds, keys)); end if;
end $$;

-- Tells sleeping workers of these queues, after the commit; says nothing when all are busy.
create function sluice.job_wake(queues text[]) returns void language sql as $$
  select pg_notify('sluice_jobs', 'w:' || q.queue)
  from (select distinct u.queue from unnest(queues) as u(queue)) q
  where exists (select 1 from sluice.job_worker w where w.idle and q.queue = any (w.queues))
$$;

-- Enqueueing from SQL, for functions and triggers that want a job in their own transaction without a round trip: plain jobs that are ready at once, one for
-- each place of the arrays. What keys and unique texts need stays with the library.
create function sluice.job_add(queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[])
returns void language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
begin
insert into sluice.job (state, queue, kind, payload, priority, max_attempts, run_at, rank)
select 0, u.queue, u.kind, u.payload::json, u.priority, u.max_attempts, now(), now() - u.priority * interval '1 minute'
from unnest(queues, kinds, payloads, priorities, attempts) as u(queue, kind, payload, priority, max_attempts);
insert into sluice.job_delta (queue, ready) select q.queue, count(*) from unnest(queues) as q(queue) group by q.queue;
perform sluice.job_wake(queues);
end $$;

-- The live jobs with these unique texts.
create function sluice.job_live(kinds text[], dedupes text[]) returns table (n integer, id bigint)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  return query select u.n::integer, j.id from unnest(kinds, dedupes) with ordinality as u(kind, dedupe, n)
    cross join lateral (
      select j.id from sluice.job j where j.kind = u.kind and j.dedupe = u.dedupe and j.dedupe is not null offset 0) j;
end $$;

-- Claims, best first, behind a place in the order of each queue. While someone holds an old snapshot, what was claimed since stays in the index as dead
-- entries, and every claim from the front would walk over all of them.
--
-- It begins by proving that it is wanted: a claim that comes late, when its worker is declared dead or has given it up, takes nothing. The lock keeps
-- the worker's row until the claim is committed or undone.
create function sluice.job_claim_from(me integer, nth integer, queues text[], limits integer[], ranks timestamptz[], ids bigint[])
returns table (id bigint, queue text, kind text, attempt smallint, max_attempts smallint, payload json,
  enqueued_at timestamptz, key text, floor text)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  perform from sluice.job_worker w where w.id = me and w.lost_at is null and w.sealed < nth for key share;
  if not found then return; end if;
  return query
with due as materialized (
  select d.place from unnest(queues, limits, ranks, ids) as q(queue, n, rank, id) cross join lateral (
    select j.ctid as place from sluice.job j
    where j.queue = q.queue and j.state = 0 and (j.rank, j.id) > (q.rank, q.id)
    order by j.rank, j.id limit sluice.job_allowance(q.queue, q.n, q.rank, q.id) for update skip locked
  ) d
), claimed as (
  update sluice.job j set state = 1, attempt = j.attempt + 1, worker = me, fence = nth, started_at = now()
  from due where j.ctid = due.place
  returning j.id, j.queue, j.kind, j.attempt, j.max_attempts, j.payload, j.enqueued_at, j.key, j.rank
), delta as (
  insert into sluice.job_delta (queue, ready, running) select c.queue, -count(*), count(*) from claimed c group by c.queue
)
select c.id, c.queue, c.kind, c.attempt, c.max_attempts, c.payload, c.enqueued_at, c.key,
  case when lead(c.id) over (partition by c.queue order by c.rank, c.id) is null then c.rank::text end
from claimed c order by c.rank, c.id;
end $$;

-- All succeeded, nothing but the outcome to write: the statement of the fast path.
--
-- A settle proves nothing about its worker: a job that is still held by this worker's claim was not taken back, and ends best by its own outcome.
create function sluice.job_succeed(me integer, ids bigint[], fences integer[], out settled integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
with u as materialized (select * from unnest(ids::int8[], fences::int4[]) as u(id, fence)),
done as (
  delete from sluice.job j using u where j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me returning j.*
),
history as (
  insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
    result, error)
  select id, 4, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
    payload, null, null from done
), delta as (
  insert into sluice.job_delta (queue, running, succeeded) select queue, -count(*), count(*) from done group by queue
)
select count(*)::int4 into settled from done;
end $$;

-- `states` is what each becomes (4, 5, 6); `keeps` what history keeps (0 all, 1 the outcome, 2 nothing).
create function sluice.job_end(me integer, ids bigint[], fences integer[], states integer[], keeps integer[],
  outcomes text[], failures text[], out settled integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
with u as materialized (
  select * from unnest(ids::int8[], fences::int4[], states::int4[], keeps::int4[], outcomes::text[], failures::text[])
    as u(id, fence, becomes, keep, outcome, failure)
), done as (
  delete from sluice.job j using u where j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me
  returning j.*, u.becomes, u.keep, u.outcome, u.failure
),
history as (
  insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
    result, error)
  select id, becomes, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
    case when keep = 0 then payload end, case when keep = 0 then outcome::json end, coalesce(failure::json, error)
  from done where becomes <> 5 and keep < 2
), dead as (
  insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at,
    started_at, finished_at, key, dedupe, payload, error)
  select id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at, now(),
    key, dedupe, payload, failure::json from done where becomes = 5
), delta as (
  insert into sluice.job_delta (queue, running, succeeded, dead, cancelled)
  select queue, -count(*), count(*) filter (where becomes = 4), count(*) filter (where becomes = 5),
    count(*) filter (where becomes = 6) from done group by queue
)
select count(*)::int4 into settled from done;
end $$;

-- Back to waiting. Who asked meanwhile for a cancellation gets it: those rows do not match here.
create function sluice.job_again(me integer, ids bigint[], fences integer[], delays double precision[],
  refunds integer[], failures text[]) returns table (id bigint)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  return query
with u as materialized (
  select * from unnest(ids::int8[], fences::int4[], delays::float8[], refunds::int4[], failures::text[])
    as u(id, fence, delay, refund, failure)
), moved as (
  update sluice.job j set
    state = case when u.delay > 0 then 2 else 0 end,
    attempt = j.attempt - u.refund,
    worker = null,
    started_at = null,
    run_at = case when u.delay > 0 then now() + make_interval(secs => u.delay / 1000) else j.run_at end,
    rank = case when u.delay > 0 then now() + make_interval(secs => u.delay / 1000) - j.priority * interval '1 minute' else j.rank end,
    error = coalesce(u.failure::json, j.error)
  from u
  where j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me and not j.cancel_requested
  returning j.id, j.queue, j.state, u.refund
), delta as (
  insert into sluice.job_delta (queue, running, ready, scheduled, retried)
  select queue, -count(*), count(*) filter (where state = 0), count(*) filter (where state = 2),
    count(*) filter (where refund = 0) from moved group by queue
), wake as materialized (
  select sluice.job_wake(array_agg(distinct queue)) from moved where state = 0 having count(*) > 0
)
select m.id from moved m where (select count(*) from wake) >= 0;
end $$;

-- What these workers hold. It reads the whole table: an index would cost every claim a tenth more, for what is asked when a worker is lost.
create function sluice.job_held(workers integer[]) returns table (id bigint) language plpgsql set enable_seqscan = on as $$
#variable_conflict use_column
begin
  return query select j.id from sluice.job j where j.worker = any (workers);
end $$;

-- Gives back, unspent, what this worker holds by its claims up to `nth` and does not know of, and refuses those claims from now on: one of them was not
-- answered, and may still come. Who waits here waits for a claim that is being made.
create function sluice.job_give_back(me integer, nth integer, known bigint[], out given integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  given := 0;
  perform from sluice.job_worker w where w.id = me and w.sealed < nth for update;
  if not found then return; end if;
  update sluice.job_worker w set sealed = nth where w.id = me;
  with moved as (
    update sluice.job j set state = 0, attempt = j.attempt - 1, worker = null, started_at = null
    from sluice.job_held(array[me]) h
    where j.id = any (array[h.id]) and j.worker is not distinct from me and j.fence <= nth and not (j.id = any (known)) returning j.queue
  ), delta as (
    insert into sluice.job_delta (queue, running, ready) select queue, -count(*), count(*) from moved group by queue
  )
  select count(*) into given from moved;
end $$;

-- Makes due jobs ready; answers in how many milliseconds the next will be due. A key that somebody enqueues to at this moment is left for the next time:
-- who does this for everybody waits for nobody.
create function sluice.job_promote(out next_due double precision)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  kinds text[];
  keys text[];
  queues text[];
begin
  perform sluice.job_fill_due();
  with due as materialized (
    select j.id, j.kind, j.key, j.fence from sluice.job j where j.state = 2 and j.run_at <= now() order by j.run_at limit 5000
    for update skip locked
  ), free as materialized (
    select d.id from due d where d.key is null or d.fence is not null or pg_try_advisory_xact_lock(sluice.job_key(d.kind, d.key))
  ), moved as (
    update sluice.job j set state = case when j.key is not null and j.fence is null then 3 else 0 end
    from free where j.id = any (array[free.id]) returning j.queue, j.kind, j.key, j.state
  ), delta as (
    insert into sluice.job_delta (queue, scheduled, ready, blocked)
    select queue, -count(*), count(*) filter (where state = 0), count(*) filter (where state = 3) from moved group by queue
  )
  select array_agg(distinct queue), array_agg(kind) filter (where state = 3), array_agg(key) filter (where state = 3)
  into queues, kinds, keys from moved;
  if kinds is not null then perform sluice.job_fill(kinds, keys); end if;
  if queues is not null then perform sluice.job_wake(queues); end if;
  select extract(epoch from j.run_at - clock_timestamp()) * 1000 into next_due
    from sluice.job j where j.state = 2 and j.run_at > now() order by j.run_at limit 1;
end $$;

-- Takes back what lost workers were running, as far as nobody has it locked, and forgets those of whom nothing is left. Answers how many jobs it took back
-- and how many are still held; one process at a time for each worker.
create function sluice.job_recover(workers integer[], out recovered integer, out held integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  begun timestamptz := clock_timestamp();
  lost integer[];
  quiet integer[];
  kinds text[];
  keys text[];
  queues text[];
begin
  recovered := 0; held := 0;
  lost := array(select w.id from sluice.job_worker w where w.id = any (workers) and w.lost_at is not null and w.look_at <= begun
    for no key update skip locked);
  if cardinality(lost) = 0 then return; end if;
  with mine as materialized (
    select j.* from sluice.job_held(lost) h join sluice.job j on j.id = any (array[h.id])
    where j.worker = any (lost) for update of j skip locked
  ), judged as materialized (
    select m.*, case when m.cancel_requested then 6 when m.attempt >= m.max_attempts then 5 else 0 end as becomes,
      json_build_object('reason', 'WorkerLost', 'message', 'Worker ' || m.worker || ' died while running it') as failure
    from mine m
  ), verdict as materialized (
    -- What ends lets the next of its key through: not while somebody else has the key, whom nobody shall wait for here.
    select * from judged where becomes = 0 or key is null or pg_try_advisory_xact_lock(sluice.job_key(kind, key))
  ), gone as (
    delete from sluice.job j using verdict v where j.id = any (array[v.id]) and v.becomes <> 0
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
    from verdict v where j.id = any (array[v.id]) and v.becomes = 0
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
  -- A claim that is being made keeps its worker's row; after this lock, what was claimed is seen.
  quiet := array(select w.id from sluice.job_worker w where w.id = any (lost) for update skip locked);
  select count(*) into held from sluice.job_held(lost);
  delete from sluice.job_worker w where w.id = any (quiet)
    and (held = 0 or not exists (select from sluice.job_held(lost) h join sluice.job j on j.id = any (array[h.id]) where j.worker = w.id));
  -- Looking takes a small part of the time, and nobody waits longer than a second for the next look.
  update sluice.job_worker w set look_at = clock_timestamp() + least(interval '1 second', 20 * (clock_timestamp() - begun)) where w.id = any (lost);
end $$;

-- Leaves the fleet: what is still running here goes back to waiting.
create function sluice.job_leave(me integer, out recovered integer, out held integer) language plpgsql as $$
begin
  update sluice.job_worker w set lost_at = coalesce(w.lost_at, clock_timestamp()), look_at = '-infinity', idle = false where w.id = me;
  select r.recovered, r.held into recovered, held from sluice.job_recover(array[me]) r;
end $$;
