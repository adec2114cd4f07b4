import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

/**
 * Enqueueing from SQL, for functions and triggers that want a job in their own transaction without a round trip: plain jobs that are
 * ready at once, one for each place of the arrays. What keys and unique texts need stays with the library.
 */
const statements = [
  `create function sluice.job_add(queues text[], kinds text[], payloads text[], priorities integer[], attempts integer[])
  returns void language plpgsql set jit = off set plan_cache_mode = force_generic_plan as $$
  begin
  insert into sluice.job (state, queue, kind, payload, priority, max_attempts, run_at, rank)
  select 0, u.queue, u.kind, u.payload::json, u.priority, u.max_attempts, now(), now() - u.priority * interval '1 minute'
  from unnest(queues, kinds, payloads, priorities, attempts) as u(queue, kind, payload, priority, max_attempts);
  insert into sluice.job_delta (queue, ready) select q.queue, count(*) from unnest(queues) as q(queue) group by q.queue;
  perform sluice.job_wake(queues);
  end $$`
]

export const add = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
})
