/**
 * One scene of the demo: a title, what it shows, and the lines that it ends with.
 */
import { Effect } from "effect"
import { say } from "../terminal/Say.ts"
import { bold, dim } from "../terminal/Style.ts"

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
