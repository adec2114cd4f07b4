/**
 * What every session asks of its server: that it ends by itself what a process leaves behind. A process that is killed,
 * frozen or cut off holds the locks of its open transaction for as long as the server lets it.
 */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"

export type SessionSettings = Readonly<Record<string, string>>

/**
 * Seconds of silence before the server asks a host for a sign of life, between two asks, and asks without an answer:
 * about eleven seconds. No effect on a socket file.
 */
const keepAlive = { tcp_keepalives_idle: "5", tcp_keepalives_interval: "2", tcp_keepalives_count: "3" }
/** So long the server waits for a host to take what it was sent, in milliseconds; `keepAlive` holds only while nothing is on its way. */
const userTimeout = { tcp_user_timeout: "11000" }
/** So often a running statement looks whether its client is still there, in milliseconds. */
const connectionCheck = { client_connection_check_interval: "2000" }

/** `timeoutMillis` bounds each statement, and each pause between two statements of a transaction; zero for no bound. */
const bounds = (timeoutMillis: number): SessionSettings =>
  timeoutMillis <= 0 ? {} : {
    statement_timeout: String(Math.ceil(timeoutMillis)),
    idle_in_transaction_session_timeout: String(Math.ceil(timeoutMillis))
  }

/** All of them, for a server of ours. */
export const all = (timeoutMillis: number): SessionSettings => ({
  ...bounds(timeoutMillis),
  ...keepAlive,
  ...userTimeout,
  ...connectionCheck
})

/** A pooler that knows no such parameter, a server that is too old for it, or one whose system cannot do it. */
const refusals: ReadonlySet<string> = new Set(["08P01", "42704", "22023", "0A000"])
const isRefused = (error: SqlError) => refusals.has(SqlFailure.codeOf(error))

/** As many of them as this server, or the pooler before it, takes; found out by connecting. */
export const accepted = (
  config: PgConnection.Config,
  timeoutMillis: number
): Effect.Effect<SessionSettings, SqlError> => {
  const attempt = (settings: SessionSettings) =>
    Effect.as(Effect.scoped(PgConnection.make({ ...config, startupParameters: settings })), settings)
  return attempt(all(timeoutMillis)).pipe(
    Effect.catchIf(isRefused, () => attempt(bounds(timeoutMillis))),
    Effect.catchIf(isRefused, (error) =>
      Effect.as(
        Effect.logWarning(
          `the database takes no settings for its sessions (${
            SqlFailure.detailOf(error)
          }): what a lost process leaves behind is ended by the server's own settings only`
        ),
        {}
      ))
  )
}
