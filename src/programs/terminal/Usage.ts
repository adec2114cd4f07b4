/**
 * What a wrong command line is answered with: what is wrong and where to look, on standard error; not the whole manual.
 */
import { Console, Effect, type Layer } from "effect"
import * as CliOutput from "effect/cli/CliOutput"
import { bold, dim } from "./Style.ts"

/** Help and version as usual; usage errors in a line each. */
export const layer: Layer.Layer<never> = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.andThen(
        Effect.forEach(event.errors, (error) => Console.error(`sluice: ${error.message}`), { discard: true }),
        Console.error(dim("what it takes: ") + bold(`${event.commandPath.join(" ")} --help`))
      )
      : CliOutput.defaultPresenter.present(event)
})
