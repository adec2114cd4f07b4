/** Transactions whose statements end with the deadline of whoever runs them, and that run again when another one was in their way. */
import { Duration, Effect, Option, Schedule } from "effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as InvalidOption from "../../services/tasks/InvalidOption.ts"
import * as Columns from "./Columns.ts"

/** What a transaction may do besides keeping its deadline. */
export interface Options {
  /** The longest wait for a lock; a longer one is a `LockTimeoutError`. @default as long as a statement may take */
  readonly lockTimeout?: Duration.Input | undefined
  /**
   * Whether it runs again, from its beginning, after a conflict, as {@link retryConflicts} does. Inside of another transaction it does not:
   * what that one has seen and locked would stay, so only its owner can run it again.
   *
   * @default false
   */
  readonly isRetried?: boolean | undefined
}

/**
 * Runs the effect in a transaction whose statements get what is left of the current deadline as `statement_timeout`: the server stops them
 * by itself, also when nobody is there any more to tell it. A statement that it stopped is `DeadlineExceeded`, and so is a transaction that
 * has no time left to begin. Without a deadline the pool's own timeout holds, and its `StatementTimeoutError`.
 *
 * Inside of another transaction it is a savepoint: when it fails, what it did is undone and the other goes on. The limits hold for its own
 * statements, and those before come back afterwards.
 *
 * @example Transaction.run(sql, { isRetried: true })(transfer).pipe(Deadline.within("2 seconds"))
 */
export const run = (sql: SqlClient.SqlClient, options: Options = {}) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError | Deadline.DeadlineExceeded, R> => {
  const once = orExceeded(Effect.suspend(() => withSettings(sql, settingsOf(options))(self)))
  if (options.isRetried !== true) return once
  const again = retryConflicts(once)
  return Effect.flatMap(isInTransaction(sql), (isNested) => isNested ? once : again)
}

/**
 * Settings of the server by their names, as it reads them: `{ lock_timeout: "2s" }`. A number without a unit is
 * milliseconds for timeouts.
 */
export type Settings = Readonly<Record<string, string>>

/**
 * A transaction, or a savepoint inside of one, with these settings of the server until its end. Its `statement_timeout` is what is left of
 * the current deadline, unless the settings say another or there is no deadline; what the server stops for it is its own
 * `StatementTimeoutError`.
 *
 * @example Transaction.withSettings(sql, { statement_timeout: "5s" })(report)
 */
export const withSettings =
  (sql: SqlClient.SqlClient, settings: Settings) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.flatMap(isInTransaction(sql), (isNested) =>
      sql.withTransaction(Effect.gen(function*() {
        // Only now: a connection may have been waited for.
        const limits = { ...(yield* untilDeadline), ...settings }
        const before = isNested ? yield* current(sql, Object.keys(limits)) : {}
        yield* set(sql, limits)
        const result = yield* self
        // The end of a transaction and a failure bring them back by themselves.
        yield* set(sql, before)
        return result
      })))

/**
 * Runs again, at most six times within about 300 ms, what a deadlock or a serialization failure has undone: the
 * database's errors, and those of a wing whose `reason` is `Conflict`. Who has waited for a lock in vain has waited
 * long enough, and is not run again.
 */
export const retryConflicts = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.retry(self, { schedule: conflictSchedule, times: conflictTries, while: isConflict })

/** The jitter keeps two that collided from colliding again. */
const conflictSchedule = Schedule.jittered(Schedule.exponential("5 millis", 2))

/** With the schedule above: within about 300 ms. */
const conflictTries = 6

const isConflict = (error: unknown): boolean => {
  const found = sqlErrorOf(error)
  if (found !== undefined && found.reason._tag === "LockTimeoutError") return false
  if (isSqlError(error)) return SqlFailure.reasonOf(error) === "Conflict"
  return typeof error === "object" && error !== null && "reason" in error && error.reason === "Conflict"
}

/** Wings put what the database said into errors of their own. */
const sqlErrorOf = (error: unknown): SqlError | undefined => {
  if (isSqlError(error)) return error
  return typeof error === "object" && error !== null && "cause" in error ? sqlErrorOf(error.cause) : undefined
}

const isInTransaction = (sql: SqlClient.SqlClient): Effect.Effect<boolean> =>
  Effect.map(Effect.serviceOption(sql.transactionService), Option.isSome)

const settingsOf = ({ lockTimeout }: Options): Settings => {
  if (lockTimeout === undefined) return {}
  const millis = Duration.toMillis(InvalidOption.duration("Transaction lockTimeout", lockTimeout))
  // Zero would mean "no timeout", which is said by leaving it out.
  return Number.isFinite(millis) ? { lock_timeout: String(Math.max(1, Math.ceil(millis))) } : {}
}

const untilDeadline: Effect.Effect<Settings> = Effect.withFiber((fiber) => {
  const leftMillis = Deadline.remainingMillisUnsafe(fiber)
  return Effect.succeed(
    Number.isFinite(leftMillis) ? { statement_timeout: String(Math.max(1, Math.ceil(leftMillis))) } : {}
  )
})

/** Until the transaction ends. One row of calls: each transaction of a worker passes here, and arrays made it a third longer. */
const set = (sql: SqlClient.SqlClient, settings: Settings): Effect.Effect<unknown, SqlError> => {
  const entries = Object.entries(settings)
  if (entries.length === 0) return Effect.void
  const calls = entries.map((_, index) => `set_config($${2 * index + 1}, $${2 * index + 2}, true)`)
  return sql.unsafe(`select ${calls.join(", ")}`, entries.flat())
}

const current = (sql: SqlClient.SqlClient, names: ReadonlyArray<string>): Effect.Effect<Settings, SqlError> =>
  names.length === 0 ? Effect.succeed({}) : Effect.map(
    sql<{ readonly name: string; readonly value: string }>`
      select name, current_setting(name) as value from unnest(${Columns.texts(names)}) as setting (name)`,
    (rows) => Object.fromEntries(rows.map(({ name, value }) => [name, value]))
  )

/** The server's statement timeout is the deadline's, and a deadline that is over needs no server. */
const orExceeded = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | Deadline.DeadlineExceeded, R> =>
  Effect.withFiber((fiber) => {
    const leftMillis = Math.ceil(Deadline.remainingMillisUnsafe(fiber))
    if (leftMillis === Infinity) return self
    const exceeded = new Deadline.DeadlineExceeded({ name: "the SQL transaction", afterMillis: leftMillis })
    return leftMillis <= 0 ? exceeded : Effect.catchIf(self, isStatementTimeout, () => exceeded)
  })

const isStatementTimeout = (error: unknown): error is SqlError =>
  isSqlError(error) && error.reason._tag === "StatementTimeoutError"
