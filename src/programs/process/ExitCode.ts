/**
 * What the command line's exit codes mean, and which ending has which.
 */
import { Cause, Config, Exit, Option, Predicate } from "effect"
import * as CliError from "effect/cli/CliError"

/** 0 every URL succeeded; 1 some failed (recorded); 2 usage; 3 the environment (no database, disk full). A signal's 130 or 143 is `Main`'s. */
export const ExitCode = { ok: 0, someFailed: 1, usage: 2, environment: 3 } as const

/** Failures of what surrounds the program: nothing in the input would mend them. */
const environmental: ReadonlySet<string> = new Set([
  "BodyStoreError",
  "CannotListen",
  "ConfigError",
  "DatabaseError",
  "FrontierError",
  "JobQueueError",
  "OrdersStoreError",
  "OutputError",
  "PlatformError",
  "ServeError",
  "ServerUnreachable",
  "SqlError"
])

/** Failures of what the user wrote. */
const usage: ReadonlySet<string> = new Set([
  "EmptyInput",
  "HostNeedsToken",
  "JobHeldBack",
  "JobNotFound",
  "JobOptionInvalid",
  "RunNotFound",
  "UsageError"
])

const ofError = (error: unknown): number => {
  if (CliError.isCliError(error)) {
    return error._tag === "ShowHelp" && error.errors.length === 0 ? ExitCode.ok : ExitCode.usage
  }
  if (Predicate.hasProperty(error, "_tag") && Predicate.isString(error._tag)) {
    if (environmental.has(error._tag)) return ExitCode.environment
    if (usage.has(error._tag)) return ExitCode.usage
  }
  return ExitCode.someFailed
}

/** The exit code of a command line that ended by itself, without a defect. */
export const of = <A, E>(exit: Exit.Exit<A, E>): number =>
  Exit.isSuccess(exit)
    ? ExitCode.ok
    : Option.match(Cause.findErrorOption(exit.cause), { onNone: () => ExitCode.someFailed, onSome: ofError })

/** What to say about a failure: nothing more about one that the command line has shown already. */
export const describe = (error: unknown): string | undefined => {
  if (CliError.isCliError(error) || Predicate.isTagged(error, "RunIncomplete")) return undefined
  if (error instanceof Config.ConfigError) {
    return `sluice: configuration: ${error.cause.message.replaceAll(/\s+/g, " ")}`
  }
  return `sluice: ${error instanceof Error ? error.message : String(error)}`
}
