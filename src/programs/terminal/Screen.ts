/**
 * What is on the terminal of standard error, and how much room there is.
 */
import { Config, type Console, Context, Effect, Stdio, Terminal } from "effect"
import { format } from "node:util"

/** One for the process: whoever talks, talks above the live region while there is one. */
export class Screen {
  /** Lines for above the live region at its next frame; `undefined` while there is none. */
  above: Array<string> | undefined = undefined

  /** Takes a text when there is a live region to put it above. */
  takes(text: string): boolean {
    if (this.above === undefined) return false
    this.above.push(...text.replace(/\n$/, "").split("\n"))
    return true
  }
}

/** The screen that this process has. */
export const CurrentScreen: Context.Reference<Screen> = Context.Reference("sluice/programs/terminal/Screen", {
  defaultValue: () => new Screen()
})

/** The console of a program with a live region: what it says on standard error, as the log does, goes above the region. */
export const console = (screen: Screen, plain: Console.Console): Console.Console =>
  Object.assign(Object.create(plain), {
    error: (...args: ReadonlyArray<unknown>) => {
      if (!screen.takes(format(...args))) plain.error(...args)
    }
  })

const variable = (name: string): Effect.Effect<string> =>
  Effect.orElseSucceed(Config.withDefault(Config.String(name), ""), () => "")

const off = new Set(["", "0", "false"])

/** Whether lines can be drawn again and again: on a terminal that knows how, and where somebody may be looking. */
export const isLive: Effect.Effect<boolean, never, Stdio.Stdio> = Effect.gen(function*() {
  const { stderrIsTerminal } = yield* Stdio.Stdio
  return (yield* stderrIsTerminal) && (yield* variable("TERM")) !== "dumb" && off.has(yield* variable("CI"))
})

/** Where nobody says how large the terminal is. */
const usual = { columns: 80, rows: 24 }

/** Columns and rows of the terminal; that of standard error where standard output is none. */
export const size: Effect.Effect<{ readonly columns: number; readonly rows: number }, never, Terminal.Terminal> = Effect
  .gen(function*() {
    const terminal = yield* Terminal.Terminal
    const columns = yield* terminal.columns
    const rows = yield* terminal.rows
    return columns > 0 && rows > 0
      ? { columns, rows }
      : { columns: process.stderr.columns ?? usual.columns, rows: process.stderr.rows ?? usual.rows }
  })
