/**
 * What a process leaves with. Errors that may end a program carry theirs as `Runtime.errorExitCode`, which `Main.run` reads.
 * A signal's 130 and 143 are `Main`'s own.
 */
export const ExitCode = {
  /** All that was asked for is done. */
  ok: 0,
  /** The work was done and came out wrong in part, or the program has a fault. */
  someFailed: 1,
  /** What was asked for cannot be done: the command line, the input or a name in it is wrong. */
  usage: 2,
  /** What surrounds the program gave out (no database, disk full): nothing in the input would mend it. */
  environment: 3,
  /** Whoever read the output has gone while something was left to do: what a shell reports of a program that SIGPIPE ended. */
  outputGone: 141
} as const
