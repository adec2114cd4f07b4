/** Timetables in Postgres: a row for each name says when its next tick is, and whose timetable it follows. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as JobCron from "../../services/jobs/JobCron.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { CronEntry, NewJob } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import { operation } from "./JobSql.ts"

/** A tick is enqueued in the heartbeat's loop: a lock that it would wait for (of a unique text, of a key) is waited for at the next one. */
const lockMillis = 100

type Insert = (jobs: ReadonlyArray<NewJob>) => Effect.Effect<unknown, SqlError | JobQueueError>

/** The names that want something done, when this worker is a member: new ones, due ones, and those whose row is of an older worker or one that has left. */
const lookStatement = `
  select extract(epoch from now())::float8 * 1000 as now, array(
    select u.name from unnest($2::text[], $3::text[]) as u(name, signature) left join sluice.job_cron c using (name)
    where c.name is null or (c.signature = u.signature and c.next_at <= now()) or c.worker < $1
      or not exists (select from sluice.job_worker w where w.id = c.worker and w.lost_at is null)
  ) as names from sluice.job_worker w where w.id = $1 and w.lost_at is null`

/** Enqueues each due tick once: whoever gets the row's lock moves it on and enqueues in the same transaction. */
export const tick = (
  sql: PgClient.PgClient,
  worker: number,
  entries: ReadonlyArray<CronEntry>,
  insert: Insert
): Effect.Effect<number, SqlError | JobQueueError> =>
  Effect.gen(function*() {
    const [look] = yield* sql.unsafe<{ readonly now: number; readonly names: ReadonlyArray<string> }>(lookStatement, [
      worker,
      Columns.texts(entries.map((entry) => entry.name)),
      Columns.texts(entries.map((entry) => entry.signature))
    ])
    if (look === undefined || look.names.length === 0) return 0
    let fired = 0
    for (const entry of entries) {
      if (look.names.includes(entry.name) && (yield* fire(sql, worker, entry, look.now, insert))) fired++
    }
    return fired
  })

/** One entry in a transaction of its own, so that one that cannot be enqueued holds up no other; whether it ticked. */
const fire = (
  sql: PgClient.PgClient,
  worker: number,
  entry: CronEntry,
  now: number,
  insert: Insert
): Effect.Effect<boolean, JobQueueError> =>
  Effect.gen(function*() {
    const millis = yield* JobCron.nextTick(entry, now)
    if (millis === undefined) return false
    const next = new Date(millis)
    return yield* sql.withTransaction(Effect.gen(function*() {
      yield* sql`select set_config('lock_timeout', ${String(lockMillis)}, true)`
      // New, or with another timetable: it starts with the next tick and makes up for nothing.
      yield* sql`insert into sluice.job_cron as c (name, signature, next_at, worker)
        values (${entry.name}, ${entry.signature}, ${next}, ${worker})
        on conflict (name) do update set worker = excluded.worker, signature = excluded.signature,
          next_at = case when c.signature = excluded.signature then c.next_at else excluded.next_at end
        where c.worker < excluded.worker or not exists (select from sluice.job_worker w where w.id = c.worker and w.lost_at is null)`
      const moved = yield* sql`update sluice.job_cron set next_at = ${next}
        where name = ${entry.name} and signature = ${entry.signature} and next_at <= now() and next_at < ${next}
        returning name`
      if (moved.length > 0) yield* insert([entry.job])
      return moved.length > 0
    }))
  }).pipe(
    operation("cron"),
    Effect.catchIf(
      (error) => error.reason === "Rejected" || error.reason === "Conflict",
      // Somebody is in the way: the next heartbeat tries again.
      (error) => error.reason === "Conflict" ? Effect.succeed(false) : Effect.as(JobCron.skipped(entry, error), false)
    )
  )
