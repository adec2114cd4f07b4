import { Duration, Effect, Option } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { DeadlineExceeded, remaining } from "../../services/tasks/Deadline.ts"

/**
 * Runs the effect in a transaction whose statements get what is left of the current deadline as `statement_timeout`: the
 * server stops them itself, also when nobody is there any more to tell it. A statement that the server stopped for it is
 * `DeadlineExceeded`, and so is a transaction that has no time left to begin. Without a deadline it is `withTransaction`.
 *
 * Inside of another transaction the timeout holds for its own statements, and the one before comes back afterwards.
 */
export const transaction = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError | DeadlineExceeded, R | SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const left = yield* remaining
    if (!Duration.isFinite(left)) return yield* sql.withTransaction(self)
    // Zero would mean "no timeout": a deadline that is over needs no server.
    const millis = Math.ceil(Duration.toMillis(left))
    const exceeded = new DeadlineExceeded({ name: "the SQL transaction", afterMillis: millis })
    if (millis <= 0) return yield* exceeded
    const isNested = Option.isSome(yield* Effect.serviceOption(sql.transactionService))
    const limited = Effect.gen(function*() {
      const [before] = yield* sql<{ readonly timeout: string }>`
        select current_setting('statement_timeout') as timeout, set_config('statement_timeout', ${`${millis}ms`}, true)`
      const result = yield* self
      if (isNested) yield* sql`select set_config('statement_timeout', ${before?.timeout ?? "0"}, true)`
      return result
    })
    return yield* sql.withTransaction(limited).pipe(
      Effect.catchIf(isStatementTimeout, () => exceeded)
    )
  })

const isStatementTimeout = (error: unknown): error is SqlError =>
  isSqlError(error) && error.reason._tag === "StatementTimeoutError"
