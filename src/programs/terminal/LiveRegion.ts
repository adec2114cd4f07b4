/**
 * A few lines of a terminal that are drawn again and again while something runs, and stay as they were last; where there is no terminal,
 * a line now and then.
 */
import { Effect, Schedule, Stdio, Stream } from "effect"
import { stripVTControlCharacters } from "node:util"
import { wrap } from "./Paragraph.ts"
import { tell } from "./Say.ts"
import * as Screen from "./Screen.ts"

/** Redraws per second at most: faster is only flicker. */
const framesPerSecond = 10
/** Where nobody looks: often enough to see that it goes on, and seldom enough for a log. */
const plainEvery = "30 seconds"

const hideCursor = "\u001b[?25l"
const showCursor = "\u001b[?25h"
const clearBelow = "\u001b[J"
const up = (lines: number) => lines === 0 ? "" : `\u001b[${lines}A`

/** Cut at the terminal's edge: a line that wraps would break the count of lines to go back up. */
const clip = (line: string, columns: number): string => {
  const plain = stripVTControlCharacters(line)
  return plain.length < columns ? line : `${plain.slice(0, columns - 2)}…`
}

/** The rows that drawn lines take by now: a terminal that was made narrower has wrapped them. */
const rowsOf = (lines: ReadonlyArray<string>, columns: number): number =>
  lines.reduce((rows, line) => rows + Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns)), 0)

/** As many lines as there is room for; one that is too long is broken between its figures or words. */
const fit = (lines: ReadonlyArray<string>, { columns, rows }: { readonly columns: number; readonly rows: number }) =>
  lines.flatMap((line) => wrap(line, columns)).slice(0, Math.max(1, rows - 1)).map((line) => clip(line, columns))

/**
 * Runs an effect under a live region on standard error; `render` is asked for the lines of each frame, the last one after the effect has
 * ended.
 *
 * What anybody says meanwhile goes above the region. Without a terminal only the last frame is written. The cursor is shown again
 * however the effect ends.
 */
export const withLiveRegion = Effect.fnUntraced(function*<A, E, R, R2>(
  effect: Effect.Effect<A, E, R>,
  render: Effect.Effect<ReadonlyArray<string>, never, R2>
) {
  const stdio = yield* Stdio.Stdio
  const screen = yield* Screen.CurrentScreen
  const isLive = yield* Screen.isLive
  // A screen that cannot be written to (closed pipe) must not stop the work that it shows.
  const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
  const ended = (lines: ReadonlyArray<string>) => lines.map((line) => `${line}\n`).join("")
  if (!isLive) return yield* Effect.ensuring(effect, Effect.flatMap(render, (lines) => write(ended(lines))))

  let drawn: ReadonlyArray<string> = []
  const frame = Effect.gen(function*() {
    const size = yield* Screen.size
    const lines = fit(yield* render, size)
    const said = screen.above?.splice(0) ?? []
    const text = up(rowsOf(drawn, size.columns)) + clearBelow + ended([...said, ...lines])
    drawn = lines
    yield* write(text)
  })
  const begin = Effect.sync(() => {
    screen.above = []
  })
  /** What was said while the last frame was written is below it. */
  const end = Effect.suspend(() => {
    const said = screen.above ?? []
    screen.above = undefined
    return write(ended(said) + showCursor)
  })

  return yield* Effect.acquireUseRelease(
    Effect.andThen(write(hideCursor), begin),
    () =>
      Effect.scoped(Effect.gen(function*() {
        yield* Effect.forkScoped(Effect.repeat(frame, Schedule.spaced(1000 / framesPerSecond)))
        return yield* effect
      })),
    () => Effect.andThen(frame, end)
  )
})

/** Runs an effect and says a line now and then for as long as it takes. */
export const withLines = Effect.fnUntraced(function*<A, E, R, R2>(
  effect: Effect.Effect<A, E, R>,
  line: Effect.Effect<string, never, R2>
) {
  const telling = Effect.delay(Effect.flatMap(line, (text) => tell([text])), plainEvery)
  return yield* Effect.scoped(Effect.andThen(Effect.forkScoped(Effect.forever(telling)), effect))
})
