/** Timetables in Postgres: a row for each name says when its next tick is, and whose timetable it follows. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as JobCron from "../../services/jobs/JobCron.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { CronEntry, NewJob } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import { operation } from "./JobSql.ts"

/** A tick is enqueued in the heartbeat's loop: a lock that it would wait for (of a unique text, of a key) is waited for at the next one. */
const lockMillis = 100

type Insert = (jobs: ReadonlyArray<NewJob>) => Effect.Effect<unknown, SqlError | JobQueueError>

/** Enqueues each due tick once: whoever gets the row's lock moves it on and enqueues in the same transaction. */
export const tick = (
  sql: PgClient.PgClient,
  worker: number,
  entries: ReadonlyArray<CronEntry>,
  insert: Insert
): Effect.Effect<number, SqlError | JobQueueError> =>
  Effect.gen(function*() {
    const [look] = yield* sql.unsafe<{ readonly now: number; readonly names: ReadonlyArray<string> }>(
      "select now, names from sluice.job_cron_look($1, $2, $3)",
      [
        worker,
        Columns.texts(entries.map((entry) => entry.name)),
        Columns.texts(entries.map((entry) => entry.signature))
      ]
    )
    if (look === undefined || look.names.length === 0) return 0
    let fired = 0
    for (const entry of entries) {
      if (look.names.includes(entry.name) && (yield* fire({ sql, worker, entry, now: look.now, insert }))) fired++
    }
    return fired
  })

/** An entry that may be due. */
interface Due {
  readonly sql: PgClient.PgClient
  readonly worker: number
  readonly entry: CronEntry
  /** By the clock of the store, in milliseconds. */
  readonly now: number
  readonly insert: Insert
}

/** One entry in a transaction of its own, so that one that cannot be enqueued holds up no other; whether it ticked. */
const fire = ({ entry, insert, now, sql, worker }: Due): Effect.Effect<boolean, JobQueueError> =>
  Effect.gen(function*() {
    const millis = yield* JobCron.nextTick(entry, now)
    if (millis === undefined) return false
    return yield* sql.withTransaction(Effect.gen(function*() {
      yield* sql`select set_config('lock_timeout', ${String(lockMillis)}, true)`
      const [moved] = yield* sql.unsafe<{ readonly is_due: boolean }>(
        "select sluice.job_cron_tick($1, $2, $3, $4) as is_due",
        [worker, entry.name, entry.signature, new Date(millis)]
      )
      if (moved?.is_due === true) yield* insert([entry.job])
      return moved?.is_due === true
    }))
  }).pipe(
    operation("cron"),
    Effect.catchIf(
      (error) => error.reason === "Rejected" || error.reason === "Conflict",
      // Somebody is in the way: the next heartbeat tries again.
      (error) => error.reason === "Conflict" ? Effect.succeed(false) : Effect.as(JobCron.skipped(entry, error), false)
    )
  )
