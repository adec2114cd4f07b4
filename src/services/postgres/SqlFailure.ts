/** What a failed SQL statement means for whoever ran it: the one reading of SQLSTATE for every wing. */
import { Cause, Schema } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"

/**
 * What a caller branches on.
 *
 * - `Unavailable`: the server was not there, is starting, stopping, full, out of memory or read only. Nothing is wrong
 *   with the statement: try again later.
 * - `Conflict`: another transaction was in the way (deadlock, serialization failure, lock timeout). Run the whole transaction again.
 * - `TimedOut`: the statement took longer than it may, or was cancelled. What it did is undone; it may well succeed another time.
 * - `Rejected`: the statement itself is wrong, or its data. Again it would fail again.
 */
export const Reason = Schema.Literals(["Unavailable", "Conflict", "TimedOut", "Rejected"])
export type Reason = typeof Reason.Type

/** The SQLSTATE (Postgres, appendix A), or the system's code when no server answered; empty when there is none. */
export const codeOf = (error: SqlError): string => {
  const cause = error.reason.cause
  return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""
}

/** The server's own words, or the client's when it never got there. Node reports the addresses of a host together, without a message. */
export const detailOf = (error: SqlError): string => {
  const cause = error.reason.cause
  const first = cause instanceof AggregateError ? cause.errors[0] : cause
  return first instanceof Error && first.message !== "" ? first.message : error.message
}

const byCode: Readonly<Record<string, Reason>> = {
  // read_only_sql_transaction: a standby after a failover, or a server made read only
  "25006": "Unavailable",
  // idle_in_transaction_session_timeout: the session is gone
  "25P03": "Unavailable",
  // transaction_timeout
  "25P04": "TimedOut",
  // invalid_catalog_name: nothing ran at all
  "3D000": "Unavailable",
  // transaction_integrity_constraint_violation: unlike the rest of its class
  "40002": "Rejected",
  // object_in_use, lock_not_available
  "55006": "Conflict",
  "55P03": "Conflict",
  // query_canceled: statement_timeout or pg_cancel_backend
  "57014": "TimedOut",
  // database_dropped
  "57P04": "Unavailable"
}

/** By class: the first two characters. */
const byClass: Readonly<Record<string, Reason>> = {
  // connection exception
  "08": "Unavailable",
  // invalid authorization: the session never began
  "28": "Unavailable",
  // transaction rollback
  "40": "Conflict",
  // insufficient resources: disk full, out of memory, too many connections
  "53": "Unavailable",
  // operator intervention: shutdown, crash, starting up
  "57": "Unavailable",
  // system error: I/O
  "58": "Unavailable",
  // configuration file error
  "F0": "Unavailable"
}

const byTag: Readonly<Partial<Record<SqlError["reason"]["_tag"], Reason>>> = {
  ConnectionError: "Unavailable",
  AuthenticationError: "Unavailable",
  DeadlockError: "Conflict",
  SerializationError: "Conflict",
  LockTimeoutError: "Conflict",
  StatementTimeoutError: "TimedOut"
}

/** What an error means: by its SQLSTATE where the server gave one, else by what the client made of it. */
export const reasonOf = (error: SqlError): Reason => {
  const code = codeOf(error)
  return byCode[code] ?? (code.length === 5 ? byClass[code.slice(0, 2)] : undefined) ?? byTag[error.reason._tag] ??
    "Rejected"
}

/** Data that the store cannot hold, whoever sends it and when: classes 22 (data), 23 (constraint), 54 (program limit). */
export const isData = (error: SqlError): boolean => /^(22|23|54)/.test(codeOf(error))

/**
 * The first database error of a cause. A connection that breaks inside a transaction also breaks its ROLLBACK, which
 * Effect's client reports as a defect: that is an outage, and not a bug.
 */
export const find = (cause: Cause.Cause<unknown>): SqlError | undefined => {
  for (const reason of cause.reasons) {
    const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    if (isSqlError(error)) return error
  }
  return undefined
}
