/** What is always true of the jobs of a database, whatever was done to workers, connections and server. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert } from "@effect/vitest"
import { Effect } from "effect"

const states = ["ready", "running", "scheduled", "blocked", "waiting"] as const

/** Every job that is running is held by a worker whose row exists, and the counters say what the rows say. */
export const assertInvariant = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const orphans = yield* sql`select j.id, j.worker, j.state from sluice.job j
    where (j.state = 'running' or j.worker is not null) and not exists (select from sluice.job_worker w where w.id = j.worker)`
  assert.deepStrictEqual(orphans, [], "running for nobody")
  const miscounted = yield* sql`select f.parent, f.pending, c.live from sluice.job_flow f cross join lateral (
      select count(*)::int4 as live from sluice.job j where j.parent = f.parent) c where f.pending <> c.live`
  assert.deepStrictEqual(miscounted, [], "what a flow waits for are its live children")
  const forgotten = yield* sql`select j.id from sluice.job j left join sluice.job_flow f on f.parent = j.id
    where j.state = 'waiting' and (f.parent is null or f.is_ending or f.pending = 0 or (f.failed > 0 and f.when_fails <> 'ignore'))`
  assert.deepStrictEqual(forgotten, [], "waits for nothing")
  const [difference] = yield* sql<Record<string, number>>`
    with counted as (
      select ready, running, scheduled, blocked, waiting, dead, succeeded, cancelled from sluice.job_count
      union all select ready, running, scheduled, blocked, waiting, dead, succeeded, cancelled from sluice.job_delta
    ), told as (
      select coalesce(sum(ready), 0) as ready, coalesce(sum(running), 0) as running, coalesce(sum(scheduled), 0) as scheduled,
        coalesce(sum(blocked), 0) as blocked, coalesce(sum(waiting), 0) as waiting, coalesce(sum(dead), 0) as dead, coalesce(sum(succeeded), 0) as succeeded,
        coalesce(sum(cancelled), 0) as cancelled from counted
    )
    select (t.ready - (select count(*) from sluice.job where state = 'ready'))::int4 as ready,
      (t.running - (select count(*) from sluice.job where state = 'running'))::int4 as running,
      (t.scheduled - (select count(*) from sluice.job where state = 'scheduled'))::int4 as scheduled,
      (t.blocked - (select count(*) from sluice.job where state = 'blocked'))::int4 as blocked,
      (t.waiting - (select count(*) from sluice.job where state = 'waiting'))::int4 as waiting,
      (t.dead - (select count(*) from sluice.job_dead))::int4 as dead,
      (t.succeeded - (select count(*) from sluice.job_history where state = 'succeeded'))::int4 as succeeded,
      (t.cancelled - (select count(*) from sluice.job_history where state = 'cancelled'))::int4 as cancelled
    from told t`
  const zeros = Object.fromEntries([...states, "dead", "succeeded", "cancelled"].map((state) => [state, 0]))
  assert.deepStrictEqual({ ...difference }, zeros, "counters and rows")
})
