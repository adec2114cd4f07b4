import { Effect, Stream } from "effect"
import * as Outcomes from "../fetch/Outcomes.ts"

/** Writes lines to standard output; a reader that has gone is the end, not a failure. */
export const print = <E, R>(lines: Stream.Stream<string, E, R>) =>
  Effect.scoped(Effect.gen(function*() {
    const out = yield* Outcomes.stdoutText
    yield* Stream.runForEachArray(lines, (chunk) => out(chunk.map((line) => `${line}\n`).join(""))).pipe(
      Effect.catchIf(Outcomes.isOutputClosed, () => Effect.void)
    )
  }))
