/** Why there is no database to work with: one clear line each, never with the password in it. */
import { Runtime, Schema } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import { EmbeddedFailure } from "./EmbeddedFailure.ts"

/** `DATABASE_URL` is not the address of a Postgres server. */
export class InvalidDatabaseUrl extends Schema.TaggedError<InvalidDatabaseUrl>()("InvalidDatabaseUrl", {
  detail: Schema.String
}) {
  override get message(): string {
    return `DATABASE_URL should look like postgres://user:password@host:5432/database: ${this.detail}`
  }
}

/** Nothing that speaks Postgres answers there. */
export class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", {
  where: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the database at ${this.where} cannot be reached: ${this.detail}`
  }
}

/** What answers there speaks something else, as a web server does. */
export class NoPostgres extends Schema.TaggedError<NoPostgres>()("NoPostgres", { where: Schema.String }) {
  override get message(): string {
    return `what answers at ${this.where} is no Postgres server: is it the right port?`
  }
}

/** The server does not let this user in. */
export class WrongCredentials extends Schema.TaggedError<WrongCredentials>()("WrongCredentials", {
  where: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the database at ${this.where} refuses the user or the password: ${this.detail}`
  }
}

/** The server has no such database. */
export class NoSuchDatabase extends Schema.TaggedError<NoSuchDatabase>()("NoSuchDatabase", {
  where: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the server at ${this.where} does not have that database: ${this.detail}`
  }
}

/** The user is known but may not do what is needed. */
export class NotPermitted extends Schema.TaggedError<NotPermitted>()("NotPermitted", {
  where: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the user may not do that in the database at ${this.where}: ${this.detail}`
  }
}

/** The server takes no more connections, is starting, or is shutting down. */
export class ServerBusy extends Schema.TaggedError<ServerBusy>()("ServerBusy", {
  where: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the database at ${this.where} takes no connection now: ${this.detail}`
  }
}

/** Tables of a lane that is used are missing, or of an older Sluice. */
export class SchemaOutdated extends Schema.TaggedError<SchemaOutdated>()("SchemaOutdated", {
  where: Schema.String,
  missing: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const only = [...new Set(this.missing.map((step) => ` --only ${step.split("/")[0]}`))].join("")
    return `the schema of the database at ${this.where} lacks ${this.missing.join(", ")}; run \`sluice migrate\` ` +
      `(\`sluice migrate${only}\` makes no tables but those)`
  }
}

/** The schema is of a newer Sluice. */
export class SchemaTooNew extends Schema.TaggedError<SchemaTooNew>()("SchemaTooNew", {
  where: Schema.String,
  unknown: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `the schema of the database at ${this.where} was made by a newer Sluice (${this.unknown.join(", ")}); ` +
      "upgrade this one"
  }
}

/** A step of the schema could not be applied; nothing was. */
export class MigrationFailed extends Schema.TaggedError<MigrationFailed>()("MigrationFailed", {
  where: Schema.String,
  migration: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the migration ${this.migration} of the database at ${this.where} failed and was undone: ${this.detail}`
  }
}

/** The database answered with an error that none of the others names. */
export class DatabaseFailed extends Schema.TaggedError<DatabaseFailed>()("DatabaseFailed", {
  where: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the database at ${this.where} failed: ${this.detail}`
  }
}

export const Reason = Schema.Union([
  InvalidDatabaseUrl,
  Unreachable,
  NoPostgres,
  WrongCredentials,
  NoSuchDatabase,
  NotPermitted,
  ServerBusy,
  SchemaOutdated,
  SchemaTooNew,
  MigrationFailed,
  DatabaseFailed,
  ...EmbeddedFailure.members
])
export type Reason = typeof Reason.Type

/** There is no database to work with, for a `reason` to branch on; its message is the line to show (exit code 3). */
export class DatabaseError extends Schema.TaggedError<DatabaseError>()("DatabaseError", { reason: Reason }) {
  override get message(): string {
    return this.reason.message
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

/** What the client says of bytes that are none of the protocol: it takes the first ones for the length of a message. */
const strange = /^Message length |^Invalid message length/

/** Names what kept a statement from a database at `where`. The texts are the server's and the system's: no password. */
export const fromSqlError = (error: SqlError, where: string): DatabaseError => {
  const code = SqlFailure.codeOf(error)
  const detail = SqlFailure.detailOf(error)
  const reason = (): Reason => {
    if (strange.test(detail)) return new NoPostgres({ where })
    if (code === "3D000") return new NoSuchDatabase({ where, detail })
    // The word of a pooler such as PgBouncer.
    if (detail.includes("unsupported startup parameter")) {
      return new DatabaseFailed({ where, detail: `${detail} (behind a pooler: set SLUICE_POOLER=true)` })
    }
    if (code === "53100") return new DatabaseFailed({ where, detail: `the server's disk is full (${detail})` })
    if (code === "53300" || code === "57P03" || code === "57P01") return new ServerBusy({ where, detail })
    if (error.reason._tag === "AuthenticationError") return new WrongCredentials({ where, detail })
    if (error.reason._tag === "AuthorizationError") return new NotPermitted({ where, detail })
    if (error.reason._tag === "ConnectionError") return new Unreachable({ where, detail })
    return new DatabaseFailed({ where, detail })
  }
  return new DatabaseError({ reason: reason() })
}
