/**
 * Talking to the person at the terminal.
 */
import { Effect, Stdio, Stream } from "effect"
import { wrap } from "./Paragraph.ts"
import * as Screen from "./Screen.ts"

/** Writes lines to standard error, where everything that is for people goes; above the live region while there is one. */
export const say = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  if ((yield* Screen.CurrentScreen).takes(lines.join("\n"))) return
  const stdio = yield* Stdio.Stdio
  // A reader that has gone away (closed pipe) ends the talking, not the work.
  yield* Effect.ignore(
    Stream.run(Stream.succeed(lines.map((line) => `${line}\n`).join("")), stdio.stderr({ endOnDone: false }))
  )
})

/** Says sentences: on a terminal no word of them is broken at its edge. */
export const tell = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const { stderrIsTerminal } = yield* Stdio.Stdio
  if (!(yield* stderrIsTerminal)) return yield* say(lines)
  const { columns } = yield* Screen.size
  return yield* say(lines.flatMap((line) => wrap(line, columns)))
})
