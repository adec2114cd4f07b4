/**
 * One scene of the demo: a title, what it shows, and the lines that it ends with.
 */
import { Effect, Stdio, Stream } from "effect"
import { bold, dim } from "../terminal/Style.ts"

/** Writes lines to standard error, where everything that is for people goes. */
export const say = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const stdio = yield* Stdio.Stdio
  // A reader that has gone away (closed pipe) ends the talking, not the work.
  yield* Effect.ignore(
    Stream.run(Stream.succeed(lines.map((line) => `${line}\n`).join("")), stdio.stderr({ endOnDone: false }))
  )
})

/** Announces a scene, plays it, and writes the lines that it ends with. */
export const scene = Effect.fnUntraced(function*<E, R>(
  title: string,
  subtitle: string,
  play: Effect.Effect<ReadonlyArray<string> | void, E, R>
) {
  yield* say(["", `${bold(title)}  ${dim(subtitle)}`])
  const lines = yield* play
  if (lines !== undefined) yield* say(lines)
})
