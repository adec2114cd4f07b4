-- What the transitions ask before they change anything: the order of jobs, rates, keys, whom to wake, which dead letters are meant. No
-- state of a job is changed here.

-- A place in the claim order: when a job may run, less its priority's head start. The in-memory layer has the same number.
create function sluice.job_rank(run_at timestamptz, priority integer) returns timestamptz language sql stable as $$
  select run_at - priority * interval '1 minute'
$$;

-- The turns of jobs that are ready now, a place of the arrays for each (tenant null: none): start-time fair queueing, with a second as the
-- length of each job. The turn of a queue is that of the job that would be claimed next, of those that have one and were never claimed;
-- a tenant goes on behind its last one of the same priority that waits, and one that has none begins at the turn of the queue. Nobody is
-- locked: jobs of one tenant that are enqueued at the same moment in several transactions may share their turns.
create function sluice.job_turns(queues text[], tenants text[], priorities integer[]) returns timestamptz[]
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_incremental_sort = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare turns timestamptz[];
begin
  with asked as materialized (
    select u.*, row_number() over (partition by u.queue, u.tenant, u.priority order by u.n) - 1 as behind
    from unnest(queues, tenants, priorities) with ordinality as u(queue, tenant, priority, n) where u.tenant is not null
  ), clock as materialized (
    select q.queue, coalesce((select j.turn from sluice.job j
      where j.queue = q.queue and j.state = 'ready' and j.turn is not null and j.fence is null order by j.rank, j.turn limit 1), now()) as turn
    from (select distinct a.queue from asked a) q
  ), begins as materialized (
    select g.*, greatest(c.turn, (select j.turn + interval '1 second' from sluice.job j
      where j.queue = g.queue and j.tenant = g.tenant and j.priority = g.priority and j.state = 'ready' and j.turn is not null and j.fence is null
      order by j.turn desc limit 1)) as turn
    from (select distinct a.queue, a.tenant, a.priority from asked a) g join clock c on c.queue = g.queue
  ), given as materialized (
    select a.n, b.turn + a.behind * interval '1 second' as turn
    from asked a join begins b on b.queue = a.queue and b.tenant = a.tenant and b.priority = a.priority
  )
  select array_agg(g.turn order by p.n) into turns from generate_series(1, cardinality(queues)) as p(n) left join given g on g.n = p.n;
  return turns;
end $$;

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
    (select 1 from sluice.job j where j.queue = the_queue and j.state = 'ready' and (j.rank, j.id) > (behind_rank, behind_id)
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

-- The failures of a job and one more, as the JSON text of a failure says it: the newest last, ten at most. The older ones make way when all
-- together are longer than 16 KiB; the newest always stays. The in-memory layer has the same numbers.
create function sluice.job_failed(failures json[], attempt integer, failure text) returns json[] language plpgsql as $$
declare
  told json[];
begin
  -- Put together as text: what Postgres refuses to take out of JSON may stay in it.
  told := failures || ('{"attempt":' || attempt || ',"at":"' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || '",'
    || substr(failure, 2))::json;
  told := told[greatest(1, cardinality(told) - 9):];
  while cardinality(told) > 1 and octet_length(array_to_string(told, '')) > 16384 loop told := told[2:]; end loop;
  return told;
end $$;

-- Tells sleeping workers of these queues, after the commit; says nothing when all are busy.
create function sluice.job_wake(queues text[]) returns void language sql as $$
  select pg_notify('sluice_jobs', 'w:' || q.queue)
  from (select distinct u.queue from unnest(queues) as u(queue)) q
  where exists (select 1 from sluice.job_worker w where w.idle and q.queue = any (w.queues))
$$;

-- The live jobs with these unique texts, where no id is known yet.
create function sluice.job_live(kinds text[], dedupes text[], known bigint[]) returns table (n integer, id bigint)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
  return query select u.n::integer, j.id from unnest(kinds, dedupes, known) with ordinality as u(kind, dedupe, known, n)
    cross join lateral (
      select j.id from sluice.job j where j.kind = u.kind and j.dedupe = u.dedupe and j.dedupe is not null offset 0) j
    where u.known is null;
end $$;

-- What these workers hold. It reads the whole table: an index would cost every claim a tenth more, for what is asked when a worker is lost.
create function sluice.job_held(workers integer[]) returns table (id bigint) language plpgsql set enable_seqscan = on as $$
#variable_conflict use_column
begin
  return query select j.id from sluice.job j where j.worker = any (workers);
end $$;

-- The dead letters that are meant, oldest first: `n` counts those that may run again, from 0; the others are held back by the unique text
-- of a live job or of an older one among them. Ten thousand of these are passed over at most.
create function sluice.job_redrivable(of_queue text, of_kind text, of_reason text, of_ids bigint[], most integer)
returns table (id bigint, is_held boolean, n bigint)
language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
begin
  return query
with meant as materialized (
  select d.id, d.kind, d.dedupe from sluice.job_dead d
  where (of_queue is null or d.queue = of_queue) and (of_kind is null or d.kind = of_kind)
    and (of_reason is null or d.reason = of_reason) and (of_ids is null or d.id = any (of_ids))
  order by d.id limit most + 10000
), judged as materialized (
  select m.id, m.dedupe is not null and (row_number() over (partition by m.kind, m.dedupe order by m.id) > 1
    or exists (select from sluice.job j where j.kind = m.kind and j.dedupe = m.dedupe and j.dedupe is not null)) as is_held
  from meant m
)
select j.id, j.is_held, case when not j.is_held then row_number() over (partition by j.is_held order by j.id) - 1 end
from judged j order by j.id;
end $$;

-- What a waiting job is when its run time becomes `at`. One that is due stays what it is; one that was claimed before has its key.
create function sluice.job_becomes(state sluice.job_state, at timestamptz, key text, fence integer) returns sluice.job_state
language sql stable as $$
  select case when at > now() then 'scheduled'::sluice.job_state when state <> 'scheduled' then state
    when key is not null and fence is null then 'blocked' else 'ready' end
$$;

-- The jobs that an operator means, oldest first, `most` of them: those that wait, as far as the change would change them, and dead
-- letters when these are to be deleted and asked for by their state or their ids. Without ids it may read the whole table.
create function sluice.job_changeable(what text, of_queue text, of_kind text, of_state sluice.job_state, of_ids bigint[], most integer)
returns table (id bigint) language plpgsql stable set jit = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
begin
  return query
select m.id from (
  (select j.id from sluice.job j
    where (of_queue is null or j.queue = of_queue) and (of_kind is null or j.kind = of_kind) and (of_ids is null or j.id = any (of_ids))
      and (of_state is null or j.state = of_state) and j.state in ('ready', 'scheduled', 'blocked')
      and (what <> 'run-now' or j.state = 'scheduled')
      -- What a flow waits for, or has waited for, is cancelled instead.
      and (what <> 'delete' or (j.parent is null and j.children is null))
    order by j.id limit most)
  union all
  (select d.id from sluice.job_dead d
    where what = 'delete' and (of_state = 'dead' or (of_state is null and of_ids is not null))
      and (of_queue is null or d.queue = of_queue) and (of_kind is null or d.kind = of_kind) and (of_ids is null or d.id = any (of_ids))
    order by d.id limit most)
) m order by m.id limit most;
end $$;

-- Whether the flow of a parent could be locked without waiting for anybody, or there is none.
create function sluice.job_flow_lock(the_parent bigint) returns boolean language plpgsql as $$
begin
  perform from sluice.job_flow f where f.parent = the_parent for update skip locked;
  return found or not exists (select from sluice.job_flow f where f.parent = the_parent);
end $$;
