/** From the database's errors to the orders wing's own, and the retries that some of them deserve. */
import { Effect, Option, Schedule } from "effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import { OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Operation from "../postgres/Operation.ts"

/** Names a database failure. */
export const from = (operation: string, error: SqlError | JobQueueError): OrdersStoreError =>
  new OrdersStoreError({
    operation,
    reason: isSqlError(error) ? SqlFailure.reasonOf(error) : error.reason,
    cause: error
  })

/** Turns what the database and the queue fail with into the wing's own error. */
export const named = (operation: string) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, SqlError | JobQueueError> | OrdersStoreError, R> =>
  Operation.named((error) => from(operation, error))(self).pipe(
    // Without the two, E is what is left.
    Effect.mapError((error) =>
      error instanceof JobQueueError ? from(operation, error) : error as Exclude<E, SqlError | JobQueueError>
    )
  )

/** The jitter keeps two that collided from colliding again. */
const conflictSchedule = Schedule.jittered(Schedule.exponential("5 millis", 2))

/** With the schedule above: within about 300 ms. */
const conflictTries = 6

/** Whoever has waited for a lock in vain has waited long enough. */
const isConflict = (error: unknown): boolean =>
  error instanceof OrdersStoreError && error.reason === "Conflict" &&
  !(isSqlError(error.cause) && error.cause.reason._tag === "LockTimeoutError")

/** So long a request waits for a row that another transaction holds; nobody's transaction takes that long in earnest. */
const maxLockMillis = 2000

/**
 * Gives the statements of a transaction no more time than the caller has left, and less to wait for locks: the server
 * stops them by itself, even when this process is frozen or gone. Without a deadline it does nothing, and the pool's
 * own timeout holds.
 */
const untilDeadline = (sql: SqlClient.SqlClient): Effect.Effect<void, SqlError> =>
  Effect.withFiber((fiber) => {
    const left = Deadline.remainingMillisUnsafe(fiber)
    if (!Number.isFinite(left)) return Effect.void
    const millis = Math.max(1, Math.ceil(left))
    return Effect.asVoid(sql`select set_config('statement_timeout', ${String(millis)}, true),
      set_config('lock_timeout', ${String(Math.min(millis, maxLockMillis))}, true)`)
  })

/** Statements that are each a transaction of their own and may be run again, after a deadlock or a serialization failure. */
export const again = (operation: string) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, SqlError | JobQueueError> | OrdersStoreError, R> =>
  Effect.retry(named(operation)(self), { schedule: conflictSchedule, times: conflictTries, while: isConflict })

/**
 * One transaction, run again after a deadlock or a serialization failure. Inside a caller's transaction it only joins:
 * after such a failure that transaction is lost as a whole, and its owner has to run it again.
 */
export const transact = (sql: SqlClient.SqlClient, operation: string) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, SqlError | JobQueueError> | OrdersStoreError, R> => {
  const alone = again(operation)(sql.withTransaction(Effect.andThen(untilDeadline(sql), self)))
  return Effect.flatMap(Effect.serviceOption(sql.transactionService), (outer) =>
    Option.isSome(outer)
      ? named(operation)(self)
      : alone)
}
