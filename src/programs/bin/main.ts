/**
 * The process of the command line `sluice`. `scripts/sluice.mjs` starts it, once it knows that this Node will do.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect, Layer, type Stdio } from "effect"
import * as Command from "effect/cli/Command"
import { readFileSync } from "node:fs"
import * as EmbeddedPostgres from "../../layers/postgres/EmbeddedPostgres.ts"
import * as Ending from "../process/Ending.ts"
import * as Logging from "../process/Logging.ts"
import * as Main from "../process/Main.ts"
import * as OutputWatch from "../process/OutputWatch.ts"
import { CalledAs, calledBy, typed } from "../terminal/CalledAs.ts"
import { wrap } from "../terminal/Paragraph.ts"
import { say } from "../terminal/Say.ts"
import * as Screen from "../terminal/Screen.ts"
import { dim } from "../terminal/Style.ts"
import * as Usage from "../terminal/Usage.ts"
import { sluice } from "./Sluice.ts"

const { version }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../../../package.json", import.meta.url), "utf8")
)

/** What takes a moment says so; everything for people goes to standard error. */
const tellProgress = Effect.provideServiceEffect(
  EmbeddedPostgres.Progress,
  Effect.map(Effect.context<Stdio.Stdio>(), (context) => (text: string) => Effect.provide(say([dim(text)]), context))
)

const calledAs = calledBy(process.env)

/** A failure in the words of whoever called, and in lines that end where words do. */
const describe = (error: unknown): string | undefined => {
  const text = Ending.describe(error)
  if (text === undefined) return undefined
  const { columns, isTTY } = process.stderr
  return isTTY ? wrap(typed(text, calledAs), columns).join("\n") : typed(text, calledAs)
}

/** The log and the live region share a terminal. */
const console = Layer.effect(
  Console.Console,
  Effect.map(Screen.CurrentScreen, (screen) => Screen.console(screen, globalThis.console))
)

Main.run(
  OutputWatch.checked(Command.run(sluice, { version })).pipe(
    tellProgress,
    Effect.provide(
      Layer.provideMerge(
        Layer.mergeAll(Logging.layer, Usage.layer, console, Layer.succeed(CalledAs, calledAs)),
        NodeServices.layer
      )
    )
  ),
  { exitCode: Ending.exitCode, describe, line: Logging.line }
)
