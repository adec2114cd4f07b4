/** How a run is shown while it goes on. */
import { Effect, FileSystem, Option, Stdio } from "effect"
import { withLines, withLiveRegion } from "../terminal/LiveRegion.ts"
import * as Screen from "../terminal/Screen.ts"
import type { Values } from "./Flags.ts"
import * as Progress from "./Progress.ts"
import type { RunMeter } from "./RunMeter.ts"

/** A picture that is drawn again and again, a line now and then, or nothing. */
export type Display = "live" | "plain" | "quiet"

/** A picture on a terminal, unless the outcomes go over the same one, or may: whoever reads a pipe may print what it reads. */
export const of = Effect.fnUntraced(function*({ json, output, quiet }: Pick<Values, "json" | "output" | "quiet">) {
  if (quiet) return "quiet"
  if (!(yield* Screen.isLive)) return "plain"
  const { stdoutIsTerminal } = yield* Stdio.Stdio
  const isTerminal = yield* stdoutIsTerminal
  const file = Option.getOrUndefined(output)
  const isToldHere = file === undefined ? json || !isTerminal : file === "-"
  if (!isToldHere) return "live"
  const { stat } = yield* FileSystem.FileSystem
  const kind = Option.map(yield* Effect.option(stat("/dev/stdout")), ({ type }) => type)
  return !isTerminal && Option.contains(kind, "File") ? "live" : "plain"
})

/** Runs it in sight of whoever started it. */
export const show = <A, E, R>(display: Display, work: Effect.Effect<A, E, R>, name: string, meter: RunMeter) => {
  if (display === "live") return withLiveRegion(work, Progress.draw(name, meter))
  return display === "plain" ? withLines(work, Progress.line(name, meter)) : work
}
