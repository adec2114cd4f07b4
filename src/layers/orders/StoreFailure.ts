/** From the database's errors to the orders wing's own. */
import { Effect, Option } from "effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import { OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Operation from "../postgres/Operation.ts"
import * as Transaction from "../postgres/Transaction.ts"

/** What statements and transactions fail with before they are named. */
export type Unnamed = SqlError | JobQueueError | Deadline.DeadlineExceeded

/** Names a failure. */
export const from = (operation: string, error: Unnamed): OrdersStoreError =>
  new OrdersStoreError({ operation, reason: reasonOf(error), cause: error })

const reasonOf = (error: Unnamed): SqlFailure.Reason => {
  if (isSqlError(error)) return SqlFailure.reasonOf(error)
  return error instanceof JobQueueError ? error.reason : "TimedOut"
}

/** Turns what the database and the queue fail with into the wing's own error. */
export const named = (operation: string) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, Unnamed> | OrdersStoreError, R> =>
  Operation.named((error) => from(operation, error))(self).pipe(
    // Without them, E is what is left.
    Effect.mapError((error) => isUnnamed(error) ? from(operation, error) : error as Exclude<E, Unnamed>)
  )

const isUnnamed = (error: unknown): error is JobQueueError | Deadline.DeadlineExceeded =>
  error instanceof JobQueueError || error instanceof Deadline.DeadlineExceeded

/**
 * One transaction, run again after a deadlock or a serialization failure. Inside a caller's transaction it only joins:
 * after such a failure that transaction is lost as a whole, and its owner has to run it again.
 */
export const transact = (sql: SqlClient.SqlClient, operation: string) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, Unnamed> | OrdersStoreError, R> => {
  const alone = Effect.withFiber((fiber) => {
    const isRequest = Deadline.remainingMillisUnsafe(fiber) < Infinity
    // A request waits so long for a row that another transaction holds; nobody's transaction takes that long in earnest.
    return Transaction.run(sql, { isRetried: true, lockTimeout: isRequest ? "2 seconds" : undefined })(self)
  })
  return Effect.flatMap(
    Effect.serviceOption(sql.transactionService),
    (outer) => named(operation)(Option.isSome(outer) ? self : alone)
  )
}
