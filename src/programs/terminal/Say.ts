/**
 * Talking to the person at the terminal.
 */
import { Context, Effect, Stdio, Stream } from "effect"

/** Where lines go while a live region is on the screen: above it, at its next frame. */
export const Above: Context.Reference<Array<string> | undefined> = Context.Reference(
  "sluice/programs/terminal/Say/Above",
  { defaultValue: (): Array<string> | undefined => undefined }
)

/** Writes lines to standard error, where everything that is for people goes. */
export const say = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const above = yield* Above
  if (above !== undefined) {
    above.push(...lines)
    return
  }
  const stdio = yield* Stdio.Stdio
  // A reader that has gone away (closed pipe) ends the talking, not the work.
  yield* Effect.ignore(
    Stream.run(Stream.succeed(lines.map((line) => `${line}\n`).join("")), stdio.stderr({ endOnDone: false }))
  )
})
