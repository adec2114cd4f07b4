/**
 * What a wrong command line is answered with: what is wrong and where to look, on standard error; not the whole manual.
 */
import { Console, Effect, type Layer } from "effect"
import * as CliOutput from "effect/cli/CliOutput"
import { CalledAs } from "./CalledAs.ts"
import { bold, dim } from "./Style.ts"

/** What a schema expected, without saying that it was a schema. */
const plain = (message: string): string => message.replace("Expected: Schema validation failed: Expected", "Expected:")

/** Help and version as usual; usage errors in a line each. */
export const layer: Layer.Layer<never> = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.andThen(
        Effect.forEach(event.errors, (error) => Console.error(`sluice: ${plain(error.message)}`), { discard: true }),
        Effect.flatMap(CalledAs, (name) =>
          Console.error(dim("what it takes: ") + bold([name, ...event.commandPath.slice(1), "--help"].join(" "))))
      )
      : CliOutput.defaultPresenter.present(event)
})
