import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

/**
 * The hot statements as functions, so that their plans never depend on statistics: a queue's table swings between empty and
 * millions of rows faster than it is analyzed, and a plan made for one is a disaster for the other.
 */
const plan = `set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
  set jit = off set plan_cache_mode = force_generic_plan`

const statements = [
  `create function sluice.job_claim(me integer, queues text[], limits integer[])
  returns table (id bigint, queue text, kind text, attempt smallint, max_attempts smallint, payload json,
    enqueued_at timestamptz, key text)
  language plpgsql ${plan} as $$
  #variable_conflict use_column
  begin
    return query
  with due as materialized (
    select d.place from unnest(queues::text[], limits::int4[]) as q(queue, n) cross join lateral (
      select j.ctid as place from sluice.job j where j.queue = q.queue and j.state = 0
      order by j.rank, j.id limit sluice.job_allowance(q.queue, q.n) for update skip locked
    ) d
  ), claimed as (
    update sluice.job j set state = 1, attempt = j.attempt + 1, worker = me, started_at = now()
    from due where j.ctid = due.place
    returning j.id, j.queue, j.kind, j.attempt, j.max_attempts, j.payload, j.enqueued_at, j.key, j.rank
  ), delta as (
    insert into sluice.job_delta (queue, ready, running) select c.queue, -count(*), count(*) from claimed c group by c.queue
  )
  select c.id, c.queue, c.kind, c.attempt, c.max_attempts, c.payload, c.enqueued_at, c.key from claimed c order by c.rank, c.id;
  end $$`,
  // All succeeded, nothing but the outcome to write: the statement of the fast path.
  `create function sluice.job_succeed(me integer, ids bigint[], attempts integer[], out settled integer)
  language plpgsql ${plan} as $$
  begin
  with u as materialized (select * from unnest(ids::int8[], attempts::int4[]) as u(id, attempt)),
  done as (delete from sluice.job j using u where j.id = u.id and j.attempt = u.attempt and j.worker = me and j.state = 1 returning j.*),
  history as (
    insert into sluice.job_history (id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload,
      result, error)
    select id, 4, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
      payload, null, null from done
  ), delta as (
    insert into sluice.job_delta (queue, running, succeeded) select queue, -count(*), count(*) from done group by queue
  )
  select count(*)::int4 into settled from done;
  end $$`,
  // `states` is what each becomes (4, 5, 6); `keeps` what history keeps (0 all, 1 the outcome, 2 nothing).
  `create function sluice.job_end(me integer, ids bigint[], attempts integer[], states integer[], keeps integer[],
    outcomes text[], failures text[], out settled integer)
  language plpgsql ${plan} as $$
  begin
  with u as materialized (
    select * from unnest(ids::int8[], attempts::int4[], states::int4[], keeps::int4[], outcomes::text[], failures::text[])
      as u(id, attempt, becomes, keep, outcome, failure)
  ), done as (delete from sluice.job j using u where j.id = u.id and j.attempt = u.attempt and j.worker = me and j.state = 1 returning j.*, u.becomes, u.keep, u.outcome, u.failure),
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
  end $$`,
  // Back to waiting. Who asked meanwhile for a cancellation gets it: those rows do not match here.
  `create function sluice.job_again(me integer, ids bigint[], attempts integer[], delays double precision[],
    refunds integer[], failures text[]) returns table (id bigint)
  language plpgsql ${plan} as $$
  #variable_conflict use_column
  begin
    return query
  with u as materialized (
    select * from unnest(ids::int8[], attempts::int4[], delays::float8[], refunds::int4[], failures::text[])
      as u(id, attempt, delay, refund, failure)
  ), moved as (
    update sluice.job j set
      state = case when u.delay > 0 then 2 else 0 end,
      attempt = j.attempt - u.refund,
      worker = null,
      started_at = null,
      run_at = case when u.delay > 0 then now() + make_interval(secs => u.delay / 1000) else j.run_at end,
      rank = case when u.delay > 0 then now() + make_interval(secs => u.delay / 1000) - j.priority * interval '1 minute' else j.rank end,
      error = coalesce(u.failure::json, j.error)
    from u where j.id = u.id and j.attempt = u.attempt and j.worker = me and j.state = 1 and not j.cancel_requested
    returning j.id, j.queue, j.state, u.refund
  ), delta as (
    insert into sluice.job_delta (queue, running, ready, scheduled, retried)
    select queue, -count(*), count(*) filter (where state = 0), count(*) filter (where state = 2),
      count(*) filter (where refund = 0) from moved group by queue
  ), wake as materialized (
    select sluice.job_wake(array_agg(distinct queue)) from moved where state = 0 having count(*) > 0
  )
  select m.id from moved m where (select count(*) from wake) >= 0;
  end $$`,
  // The live jobs with these unique texts.
  `create function sluice.job_live(kinds text[], dedupes text[]) returns table (n integer, id bigint)
  language plpgsql ${plan} as $$
  #variable_conflict use_column
  begin
    return query select u.n::integer, j.id from unnest(kinds, dedupes) with ordinality as u(kind, dedupe, n)
      join sluice.job j on j.kind = u.kind and j.dedupe = u.dedupe and j.dedupe is not null;
  end $$`,
  ...["job_fill(text[], text[])", "job_promote()", "job_beat(integer)"].flatMap((name) =>
    ["enable_seqscan = off", "enable_bitmapscan = off", "jit = off", "plan_cache_mode = force_generic_plan"].map(
      (setting) => `alter function sluice.${name} set ${setting}`
    )
  )
]

export const plans = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
})
