/**
 * Whether results reached standard output. Most are written by `Console.log`, which swallows every failure; a full disk must not look like
 * a success.
 */
import { Effect } from "effect"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import { isClosedCode, OutputError } from "../terminal/OutputError.ts"
import { codeOf } from "../terminal/SystemFault.ts"
import { type Coded, exitCode, type Foreign } from "./Ending.ts"

const reasonOf = (error: unknown): string => codeOf(error) ?? "unknown"

/** Ends when all that was written is out, or never will be: then with the reason. */
const written: Effect.Effect<string | undefined> = Effect.callback((resume) => {
  process.stdout.write("", (error) => resume(Effect.succeed(error ? reasonOf(error) : undefined)))
})

/**
 * Runs a program; one that succeeded, or failed in part, fails with `OutputError` when standard output could not be written. A reader that
 * has gone is no failure of a program that has done all it was asked for.
 */
export const checked = <A, E extends Coded | Foreign, R>(
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | OutputError, R> =>
  Effect.gen(function*() {
    let code: string | undefined
    // For the life of the process: an error that nobody listens to would be a defect, of either stream.
    process.stdout.on("error", (error) => {
      code ??= reasonOf(error)
    })
    process.stderr.on("error", () => {})
    const exit = yield* Effect.exit(program)
    if (exitCode(exit) === ExitCode.ok || exitCode(exit) === ExitCode.someFailed) {
      code ??= yield* written
      if (code !== undefined && !isClosedCode(code)) {
        return yield* new OutputError({ file: "standard output", code })
      }
    }
    return yield* exit
  })
