/**
 * A few lines of a terminal that are drawn again and again while something runs, and stay as they were last.
 */
import { Effect, Schedule, Stdio, Stream, Terminal } from "effect"
import { stripVTControlCharacters } from "node:util"
import { Above } from "./Say.ts"

/** Redraws per second at most: faster is only flicker. */
const framesPerSecond = 10

const hideCursor = "\u001b[?25l"
const showCursor = "\u001b[?25h"
const clearBelow = "\u001b[J"
const up = (lines: number) => lines === 0 ? "" : `\u001b[${lines}A`

/** Cut at the terminal's edge: a line that wraps would break the count of lines to go back up. */
const clip = (line: string, columns: number): string => {
  const plain = stripVTControlCharacters(line)
  return plain.length < columns ? line : `${plain.slice(0, columns - 2)}…`
}

/**
 * Runs an effect under a live region on standard error; `render` is asked for the lines of each frame, the last one after the effect has
 * ended.
 *
 * What the effect says meanwhile goes above the region. Without a terminal only the last frame is written. The cursor is shown again
 * however the effect ends.
 */
export const withLiveRegion = Effect.fnUntraced(function*<A, E, R, R2>(
  effect: Effect.Effect<A, E, R>,
  render: Effect.Effect<ReadonlyArray<string>, never, R2>
) {
  const stdio = yield* Stdio.Stdio
  const terminal = yield* Terminal.Terminal
  const isLive = yield* stdio.stderrIsTerminal
  // A screen that cannot be written to (closed pipe) must not stop the work that it shows.
  const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
  let drawn = 0
  const above: Array<string> = []

  const frame = Effect.gen(function*() {
    const columns = yield* terminal.columns
    const lines = (yield* render).map((line) => isLive ? clip(line, columns) : line)
    const said = above.splice(0)
    const text = (isLive ? up(drawn) + clearBelow : "") + [...said, ...lines].map((line) => `${line}\n`).join("")
    drawn = lines.length
    yield* write(text)
  })

  if (!isLive) return yield* Effect.ensuring(effect, frame)
  return yield* Effect.acquireUseRelease(
    write(hideCursor),
    () =>
      Effect.scoped(Effect.gen(function*() {
        yield* Effect.forkScoped(Effect.repeat(frame, Schedule.spaced(1000 / framesPerSecond)))
        return yield* Effect.provideService(effect, Above, above)
      })),
    () => Effect.andThen(frame, write(showCursor))
  )
})
