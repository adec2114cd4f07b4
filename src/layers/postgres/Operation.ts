/** Statements that are one operation of a wing: what the database fails with becomes the wing's own error. */
import { type Cause, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"

/** Names the database's failures, defects of a broken ROLLBACK among them. */
export const named =
  <E2>(name: (error: SqlError) => E2) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, Exclude<E, SqlError> | E2, R> =>
    Effect.catchCause(self, (cause): Effect.Effect<never, Exclude<E, SqlError> | E2> => {
      const error = SqlFailure.find(cause)
      if (error !== undefined) return Effect.fail(name(error))
      // Without its SqlErrors, E is what is left.
      return Effect.failCause(cause as Cause.Cause<Exclude<E, SqlError>>)
    })
