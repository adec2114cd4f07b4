import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import { reasonOf } from "../../services/jobs/JobVerdict.ts"

/** One step of priority is so much head start (Postgres interval); the in-memory layer has the same. */
export const aging = "interval '1 minute'"

/** The channel of all wake-ups (`w:<queue>`), cancellations (`c:<worker>:<id>`) and probes (`p:<worker>`). */
export const channel = "sluice_jobs"

/** The class of the advisory locks that workers hold on their LISTEN sessions. */
export const workerLockClass = 7210

/** The server's own words, or the client's when it never got there. */
const detailOf = (error: SqlError): string => {
  const cause = error.reason.cause
  return cause instanceof Error && cause.message !== "" ? cause.message : error.message
}

/** The queue's error for what went wrong in a statement. */
export const fromSqlError = (operation: string) => (error: SqlError): JobQueueError =>
  new JobQueueError({ operation, reason: reasonOf(error), detail: detailOf(error), cause: error })

/**
 * Runs statements as one operation of the queue. A connection that breaks inside a transaction also breaks its ROLLBACK,
 * which Effect's client then reports as a defect: that is an outage, and not a bug.
 */
export const operation = (name: string) =>
<A, E, R>(
  self: Effect.Effect<A, E | SqlError, R>
): Effect.Effect<A, Exclude<E, SqlError> | JobQueueError, R> =>
  Effect.catchCause(self, (cause): Effect.Effect<never, Exclude<E, SqlError> | JobQueueError> => {
    for (const reason of cause.reasons) {
      const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
      if (isSqlError(error)) return Effect.fail(fromSqlError(name)(error))
    }
    // Without its SqlErrors, E is what is left.
    return Effect.failCause(cause as Cause.Cause<Exclude<E, SqlError>>)
  })

const array = (oid: number) => (values: ReadonlyArray<unknown>): PgTypes.Parameter =>
  // Fails only for element types without an array type.
  Result.getOrThrow(PgTypes.array(values, oid))

/** Array parameters with their type said: inference fails on empty arrays, NULLs and mixed sizes. */
export const int8s: (values: ReadonlyArray<bigint>) => PgTypes.Parameter = array(PgTypes.OID.int8)
export const int4s: (values: ReadonlyArray<number>) => PgTypes.Parameter = array(PgTypes.OID.int4)
export const float8s: (values: ReadonlyArray<number | null>) => PgTypes.Parameter = array(PgTypes.OID.float8)
export const texts: (values: ReadonlyArray<string | null>) => PgTypes.Parameter = array(PgTypes.OID.text)

/** An id as the database gave it; checking each of a million would cost more than storing it. */
export const idOf = (id: bigint): JobId => String(id) as JobId
