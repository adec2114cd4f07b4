/** How the command line ends by itself: with which exit code, and what it says. */
import { Cause, Config, Exit, Option, PlatformError, Runtime } from "effect"
import * as CliError from "effect/cli/CliError"
import { ServeError } from "effect/http/HttpServerError"
import { ExitCode } from "../../services/tasks/ExitCode.ts"

/** An error of the house that may end a program: it says with which code. */
export interface Coded {
  readonly [Runtime.errorExitCode]: number
}

/** Errors of Effect that commands fail with. They cannot carry a code of ours. */
export type Foreign = CliError.CliError | Config.ConfigError | PlatformError.PlatformError | ServeError

const foreignOfEnvironment = [Config.ConfigError, PlatformError.PlatformError, ServeError]

/** The exit code of an error; of one that is none of ours, that of a fault. */
export const codeOf = (error: unknown): number => {
  if (CliError.isCliError(error)) {
    return error._tag === "ShowHelp" && error.errors.length === 0 ? ExitCode.ok : ExitCode.usage
  }
  return foreignOfEnvironment.some((foreign) => error instanceof foreign)
    ? ExitCode.environment
    : Runtime.getErrorExitCode(error)
}

/** The exit code of a command line that ended by itself, without a defect. An error without a code does not compile. */
export const exitCode = <A, E extends Coded | Foreign>(exit: Exit.Exit<A, E>): number =>
  Exit.isSuccess(exit)
    ? ExitCode.ok
    : Option.match(Cause.findErrorOption(exit.cause), { onNone: () => ExitCode.someFailed, onSome: codeOf })

/** What to say about a failure: nothing more about one that the command line has shown already. */
export const describe = (error: unknown): string | undefined => {
  if (CliError.isCliError(error) || !Runtime.getErrorReported(error)) return undefined
  if (error instanceof Config.ConfigError) {
    return `sluice: ${error.cause.message.replaceAll(/\s+/g, " ")}`
  }
  return `sluice: ${error instanceof Error ? error.message : String(error)}`
}
