import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

/**
 * A claim that begins behind a place in the order. While someone holds an old snapshot, what was claimed since stays in the
 * index as dead entries, and every claim from the front would walk over all of them.
 */
const statements = [
  `create function sluice.job_claim_from(me integer, queues text[], limits integer[], ranks timestamptz[], ids bigint[])
  returns table (id bigint, queue text, kind text, attempt smallint, max_attempts smallint, payload json,
    enqueued_at timestamptz, key text, floor text)
  language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
  set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan as $$
  #variable_conflict use_column
  begin
    return query
  with due as materialized (
    select d.place from unnest(queues, limits, ranks, ids) as q(queue, n, rank, id) cross join lateral (
      select j.ctid as place from sluice.job j
      where j.queue = q.queue and j.state = 0 and (j.rank, j.id) > (q.rank, q.id)
      order by j.rank, j.id limit sluice.job_allowance(q.queue, q.n) for update skip locked
    ) d
  ), claimed as (
    update sluice.job j set state = 1, attempt = j.attempt + 1, worker = me, started_at = now()
    from due where j.ctid = due.place
    returning j.id, j.queue, j.kind, j.attempt, j.max_attempts, j.payload, j.enqueued_at, j.key, j.rank
  ), delta as (
    insert into sluice.job_delta (queue, ready, running) select c.queue, -count(*), count(*) from claimed c group by c.queue
  )
  select c.id, c.queue, c.kind, c.attempt, c.max_attempts, c.payload, c.enqueued_at, c.key,
    case when lead(c.id) over (partition by c.queue order by c.rank, c.id) is null then c.rank::text end
  from claimed c order by c.rank, c.id;
  end $$`
]

export const claimFloor = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
})
