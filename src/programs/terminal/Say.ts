/**
 * Talking to the person at the terminal.
 */
import { Effect, Stdio, Stream } from "effect"

/** Writes lines to standard error, where everything that is for people goes. */
export const say = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const stdio = yield* Stdio.Stdio
  // A reader that has gone away (closed pipe) ends the talking, not the work.
  yield* Effect.ignore(
    Stream.run(Stream.succeed(lines.map((line) => `${line}\n`).join("")), stdio.stderr({ endOnDone: false }))
  )
})
