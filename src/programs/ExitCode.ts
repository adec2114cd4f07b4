/**
 * What the command line's exit codes mean, and which failure ends in which.
 */
import { Predicate } from "effect"
import * as CliError from "effect/cli/CliError"

/** 0 every URL succeeded; 1 some failed (recorded); 2 usage; 3 the environment (no database, disk full); 130 and 143 interrupted by a signal. */
export const ExitCode = { ok: 0, someFailed: 1, usage: 2, environment: 3, sigint: 130, sigterm: 143 } as const

/** The exit code that a typed failure of the command line ends in. */
export const of = (error: unknown): number => {
  if (CliError.isCliError(error)) {
    return error._tag === "ShowHelp" && error.errors.length === 0 ? ExitCode.ok : ExitCode.usage
  }
  if (Predicate.hasProperty(error, "_tag") && typeof error._tag === "string") {
    if (environmental.has(error._tag)) return ExitCode.environment
    if (usage.has(error._tag)) return ExitCode.usage
  }
  return ExitCode.someFailed
}

/** Failures of what surrounds the program: nothing in the input would mend them. */
const environmental: ReadonlySet<string> = new Set([
  "BodyStoreError",
  "ConfigError",
  "DatabaseError",
  "FrontierError",
  "PlatformError",
  "ServeError",
  "SqlError"
])

/** Failures of what the user wrote. */
const usage: ReadonlySet<string> = new Set(["RunNotFound", "UsageError", "EmptyInput"])
