/**
 * One scene of the demo: a title, what it shows, and the lines that it ends with.
 */
import { Effect, Runtime, Schema } from "effect"
import { codeOf } from "../process/Ending.ts"
import { tell } from "../terminal/Say.ts"
import { bold, dim } from "../terminal/Style.ts"

/** A scene could not be played to its end. Its exit code is that of what went wrong. */
export class SceneFailed extends Schema.TaggedError<SceneFailed>()("SceneFailed", {
  title: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the demo stopped at ${JSON.stringify(this.title)}: ${
      this.cause instanceof Error ? this.cause.message : String(this.cause)
    }`
  }
  override get [Runtime.errorExitCode](): number {
    return codeOf(this.cause)
  }
}

/** Says which scene an error comes from. */
export const failsAs = (title: string) => Effect.mapError((cause: unknown) => new SceneFailed({ title, cause }))

/** Announces a scene, plays it, and writes the lines that it ends with. */
export const scene = Effect.fnUntraced(function*<E, R>(
  title: string,
  subtitle: string,
  play: Effect.Effect<ReadonlyArray<string> | void, E, R>
) {
  yield* tell(["", `${bold(title)}  ${dim(subtitle)}`])
  const lines = yield* failsAs(title)(play)
  if (lines !== undefined) yield* tell(lines)
})
