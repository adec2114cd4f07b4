-- Every change of a job's state, with the counters that it moves: nothing else writes either.
--
--                             ┌──────────── job_again: with a delay ────────────┐
--                             ▼                                                 │
--                    ┌── scheduled ──┐                                          │      ┌──► succeeded
--   new ─────────────┤               ├───► ready ───────── job_claim ──────► running ──┼──► cancelled (from every live state)
--   dead: redriven ──┴──► blocked ───┘       ▲                                  │      └──► dead
--                                            └── job_again, _give_back, _recover ┘
--
-- Each transition and the functions that make it; test/layers/jobs/Transitions.test.ts holds them to this table.
--
--   from        to          by
--   new         ready       job_insert, job_add
--   new         scheduled   job_insert
--   new         blocked     job_insert
--   scheduled   ready       job_promote
--   scheduled   blocked     job_promote
--   scheduled   cancelled   job_cancel_held
--   blocked     ready       job_fill
--   blocked     cancelled   job_cancel_held
--   ready       running     job_claim
--   ready       cancelled   job_cancel_held
--   running     ready       job_again, job_give_back, job_recover
--   running     scheduled   job_again
--   running     succeeded   job_succeed, job_end
--   running     dead        job_end, job_recover
--   running     cancelled   job_end, job_recover, job_cancel_held
--   dead        ready       job_redrive
--   dead        scheduled   job_redrive
--   dead        blocked     job_redrive
--
-- and what operators and producers change of jobs that nobody runs:
--
--   scheduled   ready       job_replace, job_change
--   scheduled   blocked     job_replace, job_change
--   ready       scheduled   job_replace, job_change
--   blocked     scheduled   job_replace, job_change
--   ready       nowhere     job_delete
--   scheduled   nowhere     job_delete
--   blocked     nowhere     job_delete
--   dead        nowhere     job_delete
--
-- and those of flows, whose parents wait for their children:
--
--   new         ready       job_insert_flow
--   new         scheduled   job_insert_flow
--   new         blocked     job_insert_flow
--   new         waiting     job_insert_flow
--   waiting     ready       job_flow_decide
--   waiting     scheduled   job_flow_decide
--   waiting     blocked     job_flow_decide
--   waiting     dead        job_flow_decide
--   waiting     cancelled   job_cancel_held
--   dead        waiting     job_redrive, job_flow_again
--
-- `sluice.job` holds what lives; a job that ends leaves it for `sluice.job_history`, or for `sluice.job_dead` until it is redriven.
--
-- The hot statements fix their plans, so that these never depend on statistics: a queue's table swings between empty and millions of rows
-- faster than it is analyzed, and a plan made for one is a disaster for the other. Beside the settings of the functions: `= any (array[x])`
-- is a join that only an index can do, so that no plan reads the whole index instead, which is cheap on a table that was empty; `is not
-- distinct from` keeps an index from being used.

-- Stores jobs, a place of the arrays for each; answers their ids in that order. `delays` (milliseconds from now) or `ats` (epoch
-- milliseconds, which win) say when one may run. A job whose unique text a live job has gets the id of that one; it is null when such jobs
-- came and went in each of five rounds. What that live job becomes say `modes`, one for each place (null: 'keep', as it is); `kept` and
-- `replaced` are the places of those that were not inserted, null when there are none.
create function sluice.job_insert(queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[],
  delays double precision[], ats double precision[], dedupes text[], keys text[], key_limits integer[], modes text[] default null,
  tenants text[] default null, out ids bigint[], out kept integer[], out replaced integer[])
language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  fresh bigint[];
  has_keys boolean := false;
  turns timestamptz[];
  place record;
begin
  if tenants is not null then
    -- What is not ready yet has no turn, and a job of a key gets it when it is let through.
    turns := sluice.job_turns(queues, array(
      select case when u.key is null and coalesce(to_timestamp(u.at / 1000), now() + make_interval(secs => u.delay / 1000)) <= now() then u.tenant end
      from unnest(tenants, keys, delays, ats) with ordinality as u(tenant, key, delay, at, n) order by u.n), priorities);
  end if;
  for round in 1..5 loop
    with given as materialized (
      select nextval(pg_get_serial_sequence('sluice.job', 'id')) as id, u.*,
        greatest(now(), coalesce(to_timestamp(u.at / 1000), now() + make_interval(secs => u.delay / 1000))) as run_at
      from unnest(queues, kinds, payloads, priorities, attempts, delays, ats, dedupes, keys, key_limits, tenants, turns)
        with ordinality as u(queue, kind, payload, priority, max_attempts, delay, at, dedupe, key, key_limit, tenant, turn, n)
      where ids is null or ids[u.n::integer] is null
    ), inserted as (
      insert into sluice.job (id, state, queue, kind, payload, priority, max_attempts, run_at, rank, dedupe, key, key_limit, tenant, turn)
      select id, case when run_at > now() then 'scheduled'::sluice.job_state when key is not null then 'blocked' else 'ready' end,
        queue, kind, payload::json, priority, max_attempts, run_at, sluice.job_rank(coalesce(turn, run_at), priority), dedupe, key, key_limit,
        tenant, turn
      from given order by n
      on conflict (kind, dedupe) where dedupe is not null do nothing
      returning id, queue, state
    ), delta as (
      insert into sluice.job_delta (queue, ready, scheduled, blocked)
      select queue, count(*) filter (where state = 'ready'), count(*) filter (where state = 'scheduled'),
        count(*) filter (where state = 'blocked') from inserted group by queue
    ), wake as materialized (
      select sluice.job_wake(array_agg(distinct queue)) from inserted where state = 'ready' having count(*) > 0
    )
    -- The first condition makes the CTEs run, which nobody else asks; the last is looked at for unique texts only.
    select array_agg(case when g.dedupe is null or g.id in (select i.id from inserted i) then g.id end order by g.n),
      has_keys or coalesce(bool_or(g.key is not null), false)
      into fresh, has_keys from given g where (select count(*) from wake) >= 0;
    if ids is null then ids := fresh;
    else
      for place in select u.n::integer, row_number() over (order by u.n) as m from unnest(ids) with ordinality as u(id, n) where u.id is null loop
        ids[place.n] := fresh[place.m];
      end loop;
    end if;
    exit when array_position(ids, null) is null;
    -- Refused: the live job that has the text. It may have ended since, and then this one is inserted again.
    for place in select l.n, l.id from sluice.job_live(kinds, dedupes, ids) l loop
      if modes is null or modes[place.n] = 'keep' then
        ids[place.n] := place.id;
        kept := kept || place.n;
      elsif sluice.job_replace(place.id, modes[place.n], payloads[place.n], priorities[place.n], attempts[place.n],
        coalesce(to_timestamp(ats[place.n] / 1000), now() + make_interval(secs => delays[place.n] / 1000)))
      then
        ids[place.n] := place.id;
        replaced := replaced || place.n;
      end if;
    end loop;
    exit when array_position(ids, null) is null;
  end loop;
  if has_keys then
    perform sluice.job_wake(sluice.job_fill(array_agg(u.kind), array_agg(u.key))) from unnest(kinds, keys) as u(kind, key) where u.key is not null;
  end if;
end $$;

-- Puts a job in the place of the live one that has its unique text, when that waits: 'debounce' moves its run time only, 'replace' gives it
-- payload, priority and fresh attempts as well. One that is due keeps its place when the new one is due too. False: it runs already, and
-- what came now must not get lost with it. It lets go of the text and ends by itself, so that the new job can be inserted beside it.
--
-- The row's lock decides against a claim of the same moment. Its key is only let go of here, never taken, which needs no lock beforehand.
create function sluice.job_replace(the_id bigint, mode text, new_payload text, new_priority integer, new_attempts integer, at timestamptz)
returns boolean language plpgsql as $$
declare
  seen sluice.job;
  becomes sluice.job_state;
begin
  select * into seen from sluice.job j where j.id = the_id and j.dedupe is not null for update;
  if not found then return false; end if;
  if seen.state = 'running' then
    update sluice.job j set dedupe = null where j.id = the_id;
    return false;
  end if;
  if mode = 'debounce' then new_priority := seen.priority; end if;
  at := case when at > now() then at else least(seen.run_at, now()) end;
  becomes := sluice.job_becomes(seen.state, at, seen.key, seen.fence);
  if at > now() then seen.turn := null; end if;
  update sluice.job j set state = becomes, run_at = at, turn = seen.turn, rank = sluice.job_rank(coalesce(seen.turn, at), new_priority),
    priority = new_priority,
    payload = case when mode = 'replace' then new_payload::json else j.payload end,
    max_attempts = case when mode = 'replace' then new_attempts else j.max_attempts end,
    attempt = case when mode = 'replace' then 0 else j.attempt end
  where j.id = the_id;
  if becomes <> seen.state then
    insert into sluice.job_delta (queue, ready, scheduled, blocked)
    values (seen.queue, (becomes = 'ready')::integer - (seen.state = 'ready')::integer,
      (becomes = 'scheduled')::integer - (seen.state = 'scheduled')::integer,
      (becomes = 'blocked')::integer - (seen.state = 'blocked')::integer);
    if seen.key is not null then perform sluice.job_wake(sluice.job_fill(array[seen.kind], array[seen.key])); end if;
    if becomes = 'ready' then perform sluice.job_wake(array[seen.queue]); end if;
  end if;
  return true;
end $$;

-- Enqueueing from SQL, for functions and triggers that want a job in their own transaction without a round trip: plain jobs that are ready
-- at once, one for each place of the arrays. What keys and unique texts need stays with the library.
create function sluice.job_add(queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[],
  tenants text[] default null)
returns void language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  turns timestamptz[] := case when tenants is not null then sluice.job_turns(queues, tenants, priorities) end;
begin
insert into sluice.job (state, queue, kind, payload, priority, max_attempts, run_at, rank, tenant, turn)
select 'ready', u.queue, u.kind, u.payload::json, u.priority, u.max_attempts, now(), sluice.job_rank(coalesce(u.turn, now()), u.priority), u.tenant, u.turn
from unnest(queues, kinds, payloads, priorities, attempts, tenants, turns) as u(queue, kind, payload, priority, max_attempts, tenant, turn);
insert into sluice.job_delta (queue, ready) select q.queue, count(*) from unnest(queues) as q(queue) group by q.queue;
perform sluice.job_wake(queues);
end $$;

-- Enqueues one job with all its options, in the transaction of whoever calls it, and answers its id: for clients of any kind, which have no
-- kind to ask. What the library would refuse by name is refused here as well. `payload` is as the kind's schema encodes it.
create function sluice.job_add(kind text, payload json, queue text default null, priority integer default 0, max_attempts integer default 10,
  delay interval default null, run_at timestamptz default null, unique_text text default null, key text default null,
  key_concurrency integer default 1, tenant text default null, out id bigint)
language plpgsql as $$
declare
  wrong text := case
    when kind is null or length(kind) not between 1 and 200 then 'kind: expected 1 to 200 characters'
    when payload is null then 'payload: expected JSON; a payload that is null is ''null''::json'
    when length(queue) not between 1 and 200 then 'queue: expected 1 to 200 characters'
    when priority is null or priority not between -1000 and 1000 then 'priority: expected -1000 to 1000'
    when max_attempts is null or max_attempts not between 1 and 32767 then 'max_attempts: expected 1 to 32767'
    when delay < interval '0' or delay > interval '100 years' then 'delay: expected zero to 100 years'
    when not isfinite(run_at) then 'run_at: expected an instant'
    when octet_length(unique_text) > 1800 then 'unique_text: expected at most 1800 bytes'
    when octet_length(key) > 1800 then 'key: expected at most 1800 bytes'
    when key_concurrency is null or key_concurrency not between 1 and 32767 then 'key_concurrency: expected 1 to 32767'
    when length(tenant) not between 1 and 200 then 'tenant: expected 1 to 200 characters'
  end;
begin
  if wrong is not null then raise exception 'sluice.job_add: %', wrong using errcode = 'invalid_parameter_value'; end if;
  select i.ids[1] into id from sluice.job_insert(queues => array[coalesce(queue, kind)], kinds => array[kind],
    payloads => array[payload::text], priorities => array[priority], attempts => array[max_attempts],
    delays => array[coalesce(extract(epoch from delay) * 1000, 0)::double precision],
    ats => array[(extract(epoch from run_at) * 1000)::double precision],
    dedupes => array[unique_text], keys => array[key], key_limits => array[key_concurrency],
    tenants => case when tenant is not null then array[tenant] end) as i;
  if id is null then
    raise exception 'sluice.job_add: jobs of this unique_text came and went' using errcode = 'serialization_failure';
  end if;
end $$;

-- Lets the next jobs of these keys through, up to their limits. The lock makes count and change one step per key. Nobody is held up for
-- long by a key that somebody else holds: it is written down, and let through with a later heartbeat. A job that was claimed before and
-- waits again keeps its place.
create function sluice.job_fill(kinds text[], keys text[]) returns text[]
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  pair record;
  candidate record;
  active integer;
  place bigint;
  patient boolean := true;
  turns timestamptz[];
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
      where j.kind = pair.kind and j.key = pair.key and j.key is not null and j.state <> 'blocked'
        and (j.state in ('ready', 'running') or j.fence is not null);
    for candidate in
      select j.id, j.queue, j.key_limit, j.tenant, j.priority from sluice.job j
      where j.kind = pair.kind and j.key = pair.key and j.state = 'blocked' order by j.rank, j.id for update
    loop
      exit when active >= candidate.key_limit;
      if candidate.tenant is null then
        update sluice.job j set state = 'ready' where j.id = candidate.id;
      else
        turns := sluice.job_turns(array[candidate.queue], array[candidate.tenant], array[candidate.priority::integer]);
        update sluice.job j set state = 'ready', turn = turns[1], rank = sluice.job_rank(turns[1], j.priority) where j.id = candidate.id;
      end if;
      insert into sluice.job_delta (queue, ready, blocked) values (candidate.queue, 1, -1);
      woken := woken || candidate.queue;
      active := active + 1;
    end loop;
  end loop;
  return woken;
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

-- Makes due jobs ready; answers in how many milliseconds the next will be due. A key that somebody enqueues to at this moment is left for
-- the next time: who does this for everybody waits for nobody.
create function sluice.job_promote(out next_due double precision)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  kinds text[];
  keys text[];
  queues text[];
begin
  perform sluice.job_fill_due();
  perform sluice.job_flow_sweep();
  with due as materialized (
    select j.id, j.kind, j.key, j.fence from sluice.job j where j.state = 'scheduled' and j.run_at <= now() order by j.run_at limit 5000
    for update skip locked
  ), free as materialized (
    select d.id from due d where d.key is null or d.fence is not null or pg_try_advisory_xact_lock(sluice.job_key(d.kind, d.key))
  ), moved as (
    update sluice.job j set state = case when j.key is not null and j.fence is null then 'blocked'::sluice.job_state else 'ready' end
    from free where j.id = any (array[free.id]) returning j.queue, j.kind, j.key, j.state
  ), delta as (
    insert into sluice.job_delta (queue, scheduled, ready, blocked)
    select queue, -count(*), count(*) filter (where state = 'ready'), count(*) filter (where state = 'blocked') from moved group by queue
  )
  select array_agg(distinct queue), array_agg(kind) filter (where state = 'blocked'), array_agg(key) filter (where state = 'blocked')
  into queues, kinds, keys from moved;
  if kinds is not null then perform sluice.job_fill(kinds, keys); end if;
  if queues is not null then perform sluice.job_wake(queues); end if;
  select extract(epoch from j.run_at - clock_timestamp()) * 1000 into next_due
    from sluice.job j where j.state = 'scheduled' and j.run_at > now() order by j.run_at limit 1;
end $$;

-- Claims, best first, behind a place in the order of each queue. While someone holds an old snapshot, what was claimed since stays in the
-- index as dead entries, and every claim from the front would walk over all of them.
--
-- It begins by proving that it is wanted: a claim that comes late, when its worker is declared dead or has given it up, takes nothing. The
-- lock keeps the worker's row until the claim is committed or undone.
create function sluice.job_claim(me integer, nth integer, queues text[], limits integer[], ranks timestamptz[], ids bigint[])
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
    where j.queue = q.queue and j.state = 'ready' and (j.rank, j.id) > (q.rank, q.id)
    order by j.rank, j.id limit sluice.job_allowance(q.queue, q.n, q.rank, q.id) for update skip locked
  ) d
), claimed as (
  update sluice.job j set state = 'running', attempt = j.attempt + 1, worker = me, fence = nth, started_at = now()
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
-- A settle proves nothing about its worker: a job that is still held by this worker's claim was not taken back, and ends best by its own
-- outcome.
create function sluice.job_succeed(me integer, ids bigint[], fences integer[], out settled integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  kinds text[];
  keys text[];
  relatives sluice.job_relative[];
begin
with u as materialized (select * from unnest(ids::int8[], fences::int4[]) as u(id, fence)),
done as (
  delete from sluice.job j using u where j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me returning j.*
),
history as (
  insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
    result, failures, parent, tenant)
  select id, 'succeeded', attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
    payload, null, failures, parent, tenant from done
), delta as (
  insert into sluice.job_delta (queue, running, succeeded) select queue, -count(*), count(*) from done group by queue
)
select count(*)::int4, array_agg(kind) filter (where key is not null), array_agg(key) filter (where key is not null),
  array_agg(row(id, parent, children is not null, kind, 'succeeded', null, null)::sluice.job_relative)
    filter (where parent is not null or children is not null)
into settled, kinds, keys, relatives from done;
if kinds is not null then perform sluice.job_wake(sluice.job_fill(kinds, keys)); end if;
if relatives is not null then perform sluice.job_flow_end(relatives); end if;
end $$;

-- What each becomes ('succeeded', 'dead', 'cancelled'), and what history keeps of it ('full', 'outcome', 'none').
create function sluice.job_end(me integer, ids bigint[], fences integer[], verdicts text[], keeps text[],
  outcomes text[], faults text[], out settled integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  kinds text[];
  keys text[];
  relatives sluice.job_relative[];
begin
with u as materialized (
  select * from unnest(ids::int8[], fences::int4[], verdicts::sluice.job_state[], keeps::text[], outcomes::text[], faults::text[])
    as u(id, fence, becomes, keep, outcome, failure)
), done as (
  delete from sluice.job j using u where j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me
  returning j.*, u.becomes, u.keep, u.outcome,
    case when u.failure is null then j.failures else sluice.job_failed(j.failures, j.attempt, u.failure) end as told
),
history as (
  insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
    result, failures, parent, tenant)
  select id, becomes, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
    case when keep = 'full' then payload end, case when keep = 'full' then outcome::json end, told, parent, tenant
  from done where becomes <> 'dead' and keep <> 'none'
), dead as (
  insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at,
    started_at, finished_at, key, dedupe, payload, failures, parent, children, tenant)
  select id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at, now(),
    key, dedupe, payload, told, parent, children, tenant from done where becomes = 'dead'
), delta as (
  insert into sluice.job_delta (queue, running, succeeded, dead, cancelled)
  select queue, -count(*), count(*) filter (where becomes = 'succeeded'), count(*) filter (where becomes = 'dead'),
    count(*) filter (where becomes = 'cancelled') from done group by queue
)
select count(*)::int4, array_agg(kind) filter (where key is not null), array_agg(key) filter (where key is not null),
  array_agg(row(id, parent, children is not null, kind, becomes, outcome,
    case when becomes <> 'succeeded' then told[cardinality(told)]::text end)::sluice.job_relative)
    filter (where parent is not null or children is not null)
into settled, kinds, keys, relatives from done;
if kinds is not null then perform sluice.job_wake(sluice.job_fill(kinds, keys)); end if;
if relatives is not null then perform sluice.job_flow_end(relatives); end if;
end $$;

-- Back to waiting, now or after a delay in milliseconds; `refunds`: whether the attempt is given back, unspent. Who asked meanwhile for a
-- cancellation gets it.
create function sluice.job_again(me integer, ids bigint[], fences integer[], delays double precision[],
  refunds boolean[], faults text[], out settled integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare done bigint[];
begin
with u as materialized (
  select *, now() + make_interval(secs => u.delay / 1000) as later
  from unnest(ids, fences, delays, refunds, faults) as u(id, fence, delay, is_refunded, failure)
), moved as (
  update sluice.job j set
    state = case when u.delay > 0 then 'scheduled'::sluice.job_state else 'ready' end,
    attempt = j.attempt - u.is_refunded::integer,
    worker = null,
    started_at = null,
    run_at = case when u.delay > 0 then u.later else j.run_at end,
    turn = case when u.delay > 0 then null else j.turn end,
    -- One that is given back at once keeps its place.
    rank = case when u.delay > 0 then sluice.job_rank(u.later, j.priority) else j.rank end,
    failures = case when u.failure is null then j.failures else sluice.job_failed(j.failures, j.attempt, u.failure) end
  from u
  where j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me and not j.cancel_requested
  returning j.id, j.queue, j.state, u.is_refunded
), delta as (
  insert into sluice.job_delta (queue, running, ready, scheduled, retried)
  select queue, -count(*), count(*) filter (where state = 'ready'), count(*) filter (where state = 'scheduled'),
    count(*) filter (where not is_refunded) from moved group by queue
), wake as materialized (
  select sluice.job_wake(array_agg(distinct queue)) from moved where state = 'ready' having count(*) > 0
)
select array_agg(m.id) into done from moved m where (select count(*) from wake) >= 0;
settled := coalesce(cardinality(done), 0);
if settled < cardinality(ids) then
  select settled + sluice.job_end(me, array_agg(u.id), array_agg(u.fence), array_agg('cancelled'::text), array_agg('full'::text),
    array_agg(null::text), array_agg(u.failure)) into settled
  from unnest(ids, fences, faults) as u(id, fence, failure) where done is null or u.id <> all (done);
end if;
end $$;

-- Writes how far running jobs are (JSON text), as far as they are this worker's, it is a member, and nobody is settling them. No state
-- changes.
create function sluice.job_report(me integer, ids bigint[], fences integer[], reports text[], out reported integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  with free as materialized (
    select j.id, u.report::json as report from unnest(ids, fences, reports) as u(id, fence, report)
      join sluice.job j on j.id = any (array[u.id]) and j.fence = u.fence and j.worker is not distinct from me
    where exists (select from sluice.job_worker w where w.id = me and w.lost_at is null) for update of j skip locked
  ), written as (
    update sluice.job j set progress = json_build_object('attempt', j.attempt, 'at', floor(extract(epoch from clock_timestamp()) * 1000),
      'fraction', f.report->'fraction', 'detail', f.report->'detail')
    from free f where j.id = any (array[f.id]) returning j.id
  )
  select count(*) into reported from written;
end $$;

-- Gives back, unspent, what this worker holds by its claims up to `nth` and does not know of, and refuses those claims from now on: one of
-- them was not answered, and may still come. Who waits here waits for a claim that is being made.
create function sluice.job_give_back(me integer, nth integer, known bigint[], out given integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
  given := 0;
  perform from sluice.job_worker w where w.id = me and w.sealed < nth for update;
  if not found then return; end if;
  update sluice.job_worker w set sealed = nth where w.id = me;
  with moved as (
    update sluice.job j set state = 'ready', attempt = j.attempt - 1, worker = null, started_at = null
    from sluice.job_held(array[me]) h
    where j.id = any (array[h.id]) and j.worker is not distinct from me and j.fence <= nth and not (j.id = any (known)) returning j.queue
  ), delta as (
    insert into sluice.job_delta (queue, running, ready) select queue, -count(*), count(*) from moved group by queue
  )
  select count(*) into given from moved;
end $$;

-- Takes back what lost workers were running, as far as nobody has it locked, and forgets those of whom nothing is left. Answers how many
-- jobs it took back and how many are still held; one process at a time for each worker.
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
  relatives sluice.job_relative[];
begin
  recovered := 0; held := 0;
  lost := array(select w.id from sluice.job_worker w where w.id = any (workers) and w.lost_at is not null and w.look_at <= begun
    for no key update skip locked);
  if cardinality(lost) = 0 then return; end if;
  with mine as materialized (
    select j.* from sluice.job_held(lost) h join sluice.job j on j.id = any (array[h.id])
    where j.worker = any (lost) for update of j skip locked
  ), judged as materialized (
    select m.*, case when m.cancel_requested then 'cancelled'::sluice.job_state when m.attempt >= m.max_attempts then 'dead' else 'ready' end as becomes,
      sluice.job_failed(m.failures, m.attempt,
        json_build_object('reason', 'WorkerLost', 'message', 'Worker ' || m.worker || ' died while running it')::text) as told
    from mine m
  ), verdict as materialized (
    -- What ends lets the next of its key through, and tells its flow: not while somebody else has one, whom nobody shall wait for here.
    select * from judged where becomes = 'ready'
      or ((key is null or pg_try_advisory_xact_lock(sluice.job_key(kind, key))) and (parent is null or sluice.job_flow_lock(parent)))
  ), gone as (
    delete from sluice.job j using verdict v where j.id = any (array[v.id]) and v.becomes <> 'ready'
  ), dead as (
    insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at,
      started_at, finished_at, key, dedupe, payload, failures, parent, children, tenant)
    select id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at, now(),
      key, dedupe, payload, told, parent, children, tenant from verdict where becomes = 'dead'
  ), cancelled as (
    insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at,
      started_at, finished_at, key, payload, failures, parent, tenant)
    select id, 'cancelled', attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
      payload, failures, parent, tenant from verdict where becomes = 'cancelled'
  ), again as (
    update sluice.job j set state = 'ready', worker = null, started_at = null, failures = v.told
    from verdict v where j.id = any (array[v.id]) and v.becomes = 'ready'
  ), delta as (
    insert into sluice.job_delta (queue, running, ready, dead, cancelled, retried)
    select queue, -count(*), count(*) filter (where becomes = 'ready'), count(*) filter (where becomes = 'dead'),
      count(*) filter (where becomes = 'cancelled'), count(*) filter (where becomes = 'ready') from verdict group by queue
  )
  select count(*), array_agg(kind) filter (where key is not null and becomes <> 'ready'),
    array_agg(key) filter (where key is not null and becomes <> 'ready'), array_agg(distinct queue),
    array_agg(row(id, parent, children is not null, kind, becomes, null, case when becomes = 'dead' then told[cardinality(told)]
      else failures[cardinality(failures)] end::text)::sluice.job_relative)
      filter (where becomes <> 'ready' and (parent is not null or children is not null))
  into recovered, kinds, keys, queues, relatives from verdict;
  if relatives is not null then perform sluice.job_flow_end(relatives); end if;
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

-- Cancels a job: at once when it waits or when the worker that ran it is lost, by its worker when it runs. Keys as in a settle: of a job
-- that was claimed the job first and then its key; of one that never was the key first, as whoever lets it through has it.
create function sluice.job_cancel(the_id bigint, out outcome text) language plpgsql as $$
declare
  seen sluice.job;
begin
  select * into seen from sluice.job j where j.id = the_id;
  if seen.key is not null and seen.fence is null then perform pg_advisory_xact_lock(sluice.job_key(seen.kind, seen.key)); end if;
  -- Its children's settles lock the flow first, and then the parent that waits.
  if seen.children is not null then perform from sluice.job_flow f where f.parent = the_id for update; end if;
  select * into seen from sluice.job j where j.id = the_id for update;
  if not found then
    -- Asked only now: it may have ended while we waited.
    outcome := case when exists (select from sluice.job_dead d where d.id = the_id)
      or exists (select from sluice.job_history h where h.id = the_id) then 'finished' else 'unknown' end;
    return;
  end if;
  outcome := sluice.job_cancel_held(seen);
  if seen.children is not null then perform sluice.job_flow_sweep(); end if;
end $$;

-- Cancels a job that this transaction has locked.
create function sluice.job_cancel_held(seen sluice.job, out outcome text) language plpgsql as $$
begin
  if exists (select from sluice.job_worker w where w.id = seen.worker and w.lost_at is null) then
    update sluice.job j set cancel_requested = true where j.id = seen.id;
    perform pg_notify('sluice_jobs', format('c:%s:%s', seen.worker, seen.id));
    outcome := 'requested';
    return;
  end if;
  delete from sluice.job j where j.id = seen.id;
  insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
    failures, parent, tenant)
  values (seen.id, 'cancelled', seen.attempt, seen.max_attempts, seen.priority, seen.worker, seen.queue, seen.kind,
    seen.run_at, seen.enqueued_at, seen.started_at, now(),
    seen.key, seen.payload, seen.failures, seen.parent, seen.tenant);
  insert into sluice.job_delta (queue, ready, running, scheduled, blocked, waiting, cancelled)
  values (seen.queue, -(seen.state = 'ready')::integer, -(seen.state = 'running')::integer, -(seen.state = 'scheduled')::integer,
    -(seen.state = 'blocked')::integer, -(seen.state = 'waiting')::integer, 1);
  if seen.key is not null then perform sluice.job_wake(sluice.job_fill(array[seen.kind], array[seen.key])); end if;
  outcome := 'cancelled';
  if seen.parent is not null or seen.children is not null then
    perform sluice.job_flow_end(array[row(seen.id, seen.parent, seen.children is not null, seen.kind, 'cancelled', null,
      seen.failures[cardinality(seen.failures)]::text)::sluice.job_relative]);
  end if;
end $$;

-- Makes dead letters live again with fresh attempts, oldest first, the n-th after n / `rate` seconds; answers their ids.
create function sluice.job_redrive(of_queue text, of_kind text, of_reason text, of_ids bigint[], most integer, rate double precision, out ids bigint[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_custom_plan as $$
declare
  kinds text[];
  keys text[];
  above bigint[];
  flows bigint[];
begin
with locked as materialized (
  select d.*, now() + make_interval(secs => coalesce(c.n / rate, 0)) as at
  from sluice.job_redrivable(of_queue, of_kind, of_reason, of_ids, most) c join sluice.job_dead d on d.id = any (array[c.id])
  where c.n < most for update of d skip locked
), inserted as (
  insert into sluice.job (id, state, max_attempts, priority, key_limit, queue, kind, rank, run_at, enqueued_at, key, dedupe, payload,
    failures, parent, children, tenant)
  select id, case when children is not null then 'waiting'::sluice.job_state when at > now() then 'scheduled' when key is not null then 'blocked'
      else 'ready' end,
    max_attempts, priority, key_limit, queue, kind, sluice.job_rank(at, priority), at, enqueued_at, key, dedupe, payload,
    failures, parent, children, tenant
  from locked
  -- Somebody else's job has become live since: it stays dead.
  on conflict (kind, dedupe) where dedupe is not null do nothing
  returning id, queue, kind, key, state, parent, children
), taken as (
  delete from sluice.job_dead d using inserted i where d.id = any (array[i.id])
), delta as (
  insert into sluice.job_delta (queue, ready, scheduled, blocked, waiting, dead)
  select queue, count(*) filter (where state = 'ready'), count(*) filter (where state = 'scheduled'),
    count(*) filter (where state = 'blocked'), count(*) filter (where state = 'waiting'), -count(*) from inserted group by queue
), wake as materialized (
  select sluice.job_wake(array_agg(distinct queue)) from inserted where state = 'ready' having count(*) > 0
)
select array_agg(id order by id), array_agg(kind) filter (where key is not null), array_agg(key) filter (where key is not null),
  array_agg(parent) filter (where parent is not null), array_agg(id) filter (where children is not null)
into ids, kinds, keys, above, flows from inserted where (select count(*) from wake) >= 0;
if kinds is not null then perform sluice.job_wake(sluice.job_fill(kinds, keys)); end if;
if above is not null or flows is not null then perform sluice.job_flow_again(ids, coalesce(above, '{}'), coalesce(flows, '{}')); end if;
end $$;

-- What operators change of jobs that wait: `what` is 'run-now', 'priority' or 'reschedule' (to `at`, or `delay` milliseconds from now).
-- Who has a job locked at this moment, for a claim say, keeps it as it is: `busy` says how many.
create function sluice.job_change(what text, of_queue text, of_kind text, of_state sluice.job_state, of_ids bigint[], most integer,
  new_priority integer, delay double precision, at double precision, out ids bigint[], out busy integer)
language plpgsql set jit = off set plan_cache_mode = force_custom_plan as $$
declare
  meant bigint[];
  kinds text[];
  keys text[];
  queues text[];
begin
  meant := array(select c.id from sluice.job_changeable(what, of_queue, of_kind, of_state, of_ids, most) c);
  with locked as materialized (
    select j.id, j.state as before, case what when 'priority' then j.run_at when 'run-now' then now()
        else coalesce(to_timestamp(job_change.at / 1000), now() + make_interval(secs => delay / 1000)) end as at
    from sluice.job j where j.id = any (meant) and j.state in ('ready', 'scheduled', 'blocked') order by j.id for update skip locked
  ), moved as (
    update sluice.job j set state = sluice.job_becomes(l.before, l.at, j.key, j.fence), priority = coalesce(new_priority, j.priority),
      run_at = case when l.at > now() then l.at else least(j.run_at, now()) end, turn = case when l.at > now() then null else j.turn end,
      rank = sluice.job_rank(case when l.at > now() then l.at else coalesce(j.turn, least(j.run_at, now())) end, coalesce(new_priority, j.priority))
    from locked l where j.id = l.id returning j.id, j.queue, j.kind, j.key, j.state, l.before
  ), delta as (
    insert into sluice.job_delta (queue, ready, scheduled, blocked)
    select m.queue, count(*) filter (where m.state = 'ready') - count(*) filter (where m.before = 'ready'),
      count(*) filter (where m.state = 'scheduled') - count(*) filter (where m.before = 'scheduled'),
      count(*) filter (where m.state = 'blocked') - count(*) filter (where m.before = 'blocked')
    from moved m where m.state <> m.before group by m.queue
  )
  select array_agg(m.id order by m.id), array_agg(m.kind) filter (where m.key is not null and m.state <> m.before),
    array_agg(m.key) filter (where m.key is not null and m.state <> m.before), array_agg(distinct m.queue) filter (where m.state = 'ready')
  into ids, kinds, keys, queues from moved m;
  busy := cardinality(meant) - coalesce(cardinality(ids), 0);
  if kinds is not null then queues := queues || sluice.job_fill(kinds, keys); end if;
  if queues is not null then perform sluice.job_wake(queues); end if;
end $$;

-- Deletes jobs that nobody runs, waiting ones or dead letters, without a trace.
create function sluice.job_delete(of_queue text, of_kind text, of_state sluice.job_state, of_ids bigint[], most integer,
  out ids bigint[], out busy integer)
language plpgsql set jit = off set plan_cache_mode = force_custom_plan as $$
declare
  meant bigint[];
  kinds text[];
  keys text[];
begin
  meant := array(select c.id from sluice.job_changeable('delete', of_queue, of_kind, of_state, of_ids, most) c);
  with waiting as materialized (
    select j.id from sluice.job j where j.id = any (meant) and j.state in ('ready', 'scheduled', 'blocked')
      and j.parent is null and j.children is null order by j.id for update skip locked
  ), dead as materialized (
    select d.id from sluice.job_dead d where d.id = any (meant) order by d.id for update skip locked
  ), gone as (
    delete from sluice.job j using waiting w where j.id = w.id returning j.id, j.queue, j.kind, j.key, j.state
  ), buried as (
    delete from sluice.job_dead d using dead x where d.id = x.id returning d.id, d.queue, d.kind, null::text as key, 'dead'::sluice.job_state as state
  ), flows as (
    delete from sluice.job_flow f using dead x where f.parent = x.id
  ), told as (
    delete from sluice.job_child c using dead x where c.parent = x.id
  ), every as materialized (
    select * from gone union all select * from buried
  ), delta as (
    insert into sluice.job_delta (queue, ready, scheduled, blocked, dead)
    select e.queue, -count(*) filter (where e.state = 'ready'), -count(*) filter (where e.state = 'scheduled'),
      -count(*) filter (where e.state = 'blocked'), -count(*) filter (where e.state = 'dead') from every e group by e.queue
  )
  select array_agg(e.id order by e.id), array_agg(e.kind) filter (where e.key is not null), array_agg(e.key) filter (where e.key is not null)
  into ids, kinds, keys from every e;
  busy := cardinality(meant) - coalesce(cardinality(ids), 0);
  if kinds is not null then perform sluice.job_wake(sluice.job_fill(kinds, keys)); end if;
end $$;

-- Stores jobs that wait for each other, a place of the arrays for each: children stand before their parent, whose place `places` says (0:
-- none). `policies` says what becomes of a parent when a child fails; null where there are no children. The ids are in that order too.
create function sluice.job_insert_flow(queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[],
  delays double precision[], ats double precision[], keys text[], key_limits integer[], places integer[], policies text[], tenants text[] default null,
  out ids bigint[])
language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  has_keys boolean;
  turns timestamptz[];
begin
  if tenants is not null then
    -- As in job_insert; and what waits for its children goes by its time.
    turns := sluice.job_turns(queues, array(
      select case when u.key is null and u.policy is null
        and coalesce(to_timestamp(u.at / 1000), now() + make_interval(secs => u.delay / 1000)) <= now() then u.tenant end
      from unnest(tenants, keys, policies, delays, ats) with ordinality as u(tenant, key, policy, delay, at, n) order by u.n), priorities);
  end if;
  with given as materialized (
    select nextval(pg_get_serial_sequence('sluice.job', 'id')) as id, u.*,
      greatest(now(), coalesce(to_timestamp(u.at / 1000), now() + make_interval(secs => u.delay / 1000))) as run_at
    from unnest(queues, kinds, payloads, priorities, attempts, delays, ats, keys, key_limits, places, policies, tenants, turns)
      with ordinality as u(queue, kind, payload, priority, max_attempts, delay, at, key, key_limit, place, policy, tenant, turn, n)
  ), counted as materialized (
    select g.place, count(*)::integer as children from given g group by g.place
  ), tree as materialized (
    select g.*, p.id as parent, c.children from given g left join given p on p.n = g.place left join counted c on c.place = g.n
  ), inserted as (
    insert into sluice.job (id, state, queue, kind, payload, priority, max_attempts, run_at, rank, key, key_limit, parent, children, tenant, turn)
    select id, case when children is not null then 'waiting'::sluice.job_state when run_at > now() then 'scheduled'
        when key is not null then 'blocked' else 'ready' end,
      queue, kind, payload::json, priority, max_attempts, run_at, sluice.job_rank(coalesce(turn, run_at), priority), key, key_limit, parent, children,
      tenant, turn
    from tree order by n
    returning id, queue, state
  ), flows as (
    insert into sluice.job_flow (parent, above, when_fails, pending) select id, parent, policy, children from tree where children is not null
  ), delta as (
    insert into sluice.job_delta (queue, ready, scheduled, blocked, waiting)
    select queue, count(*) filter (where state = 'ready'), count(*) filter (where state = 'scheduled'),
      count(*) filter (where state = 'blocked'), count(*) filter (where state = 'waiting') from inserted group by queue
  ), wake as materialized (
    select sluice.job_wake(array_agg(distinct queue)) from inserted where state = 'ready' having count(*) > 0
  )
  select array_agg(t.id order by t.n), bool_or(t.key is not null) into ids, has_keys from tree t where (select count(*) from wake) >= 0;
  if has_keys then
    perform sluice.job_wake(sluice.job_fill(array_agg(u.kind), array_agg(u.key))) from unnest(kinds, keys) as u(kind, key) where u.key is not null;
  end if;
end $$;

-- Jobs of flows have ended, in this transaction: their parents are told, and those that now have what they waited for go on. The row of a
-- flow puts the settles of its children in an order; each has its own job locked before. Who may be told of failures, up to the top, is
-- locked together, from the smallest id, which is that of the flow furthest down.
create function sluice.job_flow_end(relatives sluice.job_relative[]) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  parents bigint[];
  finished bigint[];
  ending bigint[];
begin
  select array_agg(distinct r.parent) filter (where r.parent is not null), array_agg(r.id) filter (where r.is_parent and r.state = 'succeeded'),
    array_agg(r.id) filter (where r.is_parent and r.state = 'cancelled')
  into parents, finished, ending from unnest(relatives) r;
  perform from sluice.job_flow f where f.parent = any (finished || ending || array(
    with recursive up as (
      select f.parent, f.above, exists (select from unnest(relatives) r where r.parent = f.parent and r.state <> 'succeeded') as is_failing
      from sluice.job_flow f where f.parent = any (parents)
      union select f.parent, f.above, true from up u join sluice.job_flow f on f.parent = any (array[u.above]) where u.is_failing
    ) select u.parent from up u)) order by f.parent for update;
  -- Nobody asks any more what became of the children of these.
  delete from sluice.job_child c where c.parent = any (finished || ending);
  delete from sluice.job_flow f where f.parent = any (finished) or (f.parent = any (ending) and f.pending = 0);
  update sluice.job_flow f set is_ending = true where f.parent = any (ending);
  if parents is not null then
    insert into sluice.job_child (parent, child, kind, state, result, error)
    select r.parent, r.id, r.kind, r.state, r.result::json, r.failure::json
    from unnest(relatives) r join sluice.job_flow f on f.parent = any (array[r.parent]) where not f.is_ending;
    update sluice.job_flow f set pending = f.pending - c.ended, failed = f.failed + c.failed from (
      select r.parent, count(*) as ended, count(*) filter (where r.state <> 'succeeded') as failed from unnest(relatives) r
      where r.parent is not null group by r.parent
    ) c where f.parent = any (array[c.parent]);
    delete from sluice.job_flow f where f.parent = any (parents) and f.is_ending and f.pending <= 0;
    perform sluice.job_flow_decide(parents);
  end if;
end $$;

-- Lets those parents go on that wait and have what they waited for; one whose child failed is dead, when it is of that kind. The flows are
-- locked.
create function sluice.job_flow_decide(parents bigint[]) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  kinds text[];
  keys text[];
  queues text[];
  relatives sluice.job_relative[];
begin
  with decided as materialized (
    select f.parent as id, f.when_fails = 'fail' and f.failed > 0 as is_dead from sluice.job_flow f
    where f.parent = any (parents) and not f.is_ending and (f.pending = 0 or (f.failed > 0 and f.when_fails <> 'ignore'))
  ), moved as (
    update sluice.job j set state = case when j.run_at > now() then 'scheduled'::sluice.job_state when j.key is not null then 'blocked' else 'ready' end
    from decided d where j.id = any (array[d.id]) and j.state = 'waiting' and not d.is_dead returning j.queue, j.kind, j.key, j.state
  ), gone as (
    delete from sluice.job j using decided d where j.id = any (array[d.id]) and j.state = 'waiting' and d.is_dead returning j.*,
      sluice.job_failed(j.failures, j.attempt, json_build_object('reason', 'ChildFailed', 'message', (
        select format('Its child %s (%s) is %s', c.child, c.kind, c.state)
        from sluice.job_child c where c.parent = d.id and c.state <> 'succeeded' order by c.child limit 1))::text) as told
  ), dead as (
    insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at,
      started_at, finished_at, key, dedupe, payload, failures, parent, children, tenant)
    select id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at, now(),
      key, dedupe, payload, told, parent, children, tenant from gone
  ), delta as (
    insert into sluice.job_delta (queue, waiting, ready, scheduled, blocked, dead)
    select m.queue, -count(*), count(*) filter (where m.state = 'ready'), count(*) filter (where m.state = 'scheduled'),
      count(*) filter (where m.state = 'blocked'), count(*) filter (where m.state = 'dead')
    from (select queue, state from moved union all select queue, 'dead' from gone) m group by m.queue
  )
  select array_agg(m.kind) filter (where m.state = 'blocked'), array_agg(m.key) filter (where m.state = 'blocked'),
    array_agg(distinct m.queue) filter (where m.state = 'ready'), (
      select array_agg(row(g.id, g.parent, false, g.kind, 'dead', null, g.told[cardinality(g.told)]::text)::sluice.job_relative)
      from gone g where g.parent is not null
    )
  into kinds, keys, queues, relatives from moved m;
  if kinds is not null then queues := queues || sluice.job_fill(kinds, keys); end if;
  if queues is not null then perform sluice.job_wake(queues); end if;
  if relatives is not null then perform sluice.job_flow_end(relatives); end if;
end $$;

-- Dead jobs of flows live again: `the_children`, those with parents among them (`their_parents`), and `the_flows`, which are parents.
-- A parent that is dead because of its children waits again when none of them is dead any more. One that was itself asked for waits only
-- for children that live, whatever became of the others.
create function sluice.job_flow_again(the_children bigint[], their_parents bigint[], the_flows bigint[]) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
  revived bigint[];
  next_above bigint[];
begin
  perform from sluice.job_flow f where f.parent = any (the_flows || array(
    with recursive up as (
      select f.parent, f.above from sluice.job_flow f where f.parent = any (their_parents)
      union select f.parent, f.above from up u join sluice.job_flow f on f.parent = any (array[u.above])
    ) select u.parent from up u)) order by f.parent for update;
  delete from sluice.job_child c where c.parent = any (their_parents) and c.child = any (the_children);
  update sluice.job_flow f set pending = f.pending + c.n, failed = greatest(f.failed - c.n, 0)
  from (select u.parent, count(*) as n from unnest(their_parents) as u(parent) group by u.parent) c where f.parent = any (array[c.parent]);
  update sluice.job_flow f set failed = 0 where f.parent = any (the_flows);
  with healed as materialized (
    select d.* from sluice.job_flow f join sluice.job_dead d on d.id = any (array[f.parent])
    where f.parent = any (their_parents) and f.failed = 0 and d.reason = 'ChildFailed' for update of d
  ), inserted as (
    insert into sluice.job (id, state, max_attempts, priority, key_limit, queue, kind, rank, run_at, enqueued_at, key, payload,
      failures, parent, children, tenant)
    select id, 'waiting', max_attempts, priority, key_limit, queue, kind, sluice.job_rank(run_at, priority), run_at, enqueued_at, key, payload, failures,
      parent, h.children, h.tenant from healed h returning id, queue, parent
  ), taken as (
    delete from sluice.job_dead d using inserted i where d.id = any (array[i.id])
  ), delta as (
    insert into sluice.job_delta (queue, waiting, dead) select queue, count(*), -count(*) from inserted group by queue
  )
  select array_agg(i.id) filter (where i.parent is not null), array_agg(i.parent) filter (where i.parent is not null)
  into revived, next_above from inserted i;
  if revived is not null then perform sluice.job_flow_again(revived, next_above, '{}'); end if;
  perform sluice.job_flow_decide(the_flows);
end $$;

-- Cancels the children of parents that were cancelled, and theirs, level by level, as far as nobody has them locked; a later heartbeat
-- finds the others.
create function sluice.job_flow_sweep() returns void language plpgsql as $$
declare
  ending bigint;
  child sluice.job;
  is_done boolean;
begin
  for depth in 1..20 loop
    is_done := true;
    for ending in select f.parent from sluice.job_flow f where f.is_ending order by f.parent limit 100 for update skip locked loop
      for child in select j.* from sluice.job j where j.parent = ending and j.parent is not null and not j.cancel_requested order by j.id limit 1000
        for update skip locked
      loop
        perform sluice.job_cancel_held(child);
        is_done := false;
      end loop;
    end loop;
    exit when is_done;
  end loop;
end $$;
