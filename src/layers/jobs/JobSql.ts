import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import * as Operation from "../postgres/Operation.ts"

/** One step of priority is so much head start (Postgres interval); the in-memory layer has the same. */
export const aging = "interval '1 minute'"

/** The channel of all wake-ups (`w:<queue>`), cancellations (`c:<worker>:<id>`) and probes (`p:<worker>`). */
export const channel = "sluice_jobs"

/** The class of the advisory locks that workers hold on their LISTEN sessions. */
export const workerLockClass = 7210

/** The queue's error for what went wrong in a statement. */
export const fromSqlError = (operation: string) => (error: SqlError): JobQueueError =>
  new JobQueueError({
    operation,
    reason: SqlFailure.reasonOf(error),
    detail: SqlFailure.detailOf(error),
    cause: error
  })

/** Runs statements as one operation of the queue. */
export const operation = (name: string) => Operation.named(fromSqlError(name))

/** An id as the database gave it; checking each of a million would cost more than storing it. */
export const idOf = (id: bigint): JobId => String(id) as JobId

/** Statements for operators, in a transaction, by their indexes and without statistics: a plan made for an empty table would read a full one. */
export const planned = <A, E>(
  sql: PgClient.PgClient,
  self: Effect.Effect<A, E>
): Effect.Effect<A, E | SqlError> =>
  sql.withTransaction(Effect.andThen(
    sql`select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
      set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true),
      set_config('plan_cache_mode', 'force_custom_plan', true)`,
    self
  ))
