#!/usr/bin/env -S node --min-semi-space-size=16 --max-semi-space-size=16 --heap-growing-percent=10
/**
 * The process of the command line `sluice`.
 *
 * The flags (as in `npm start`) keep a run of any length in flat memory: left to itself, V8 lets garbage double the heap before it
 * collects.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, type Stdio } from "effect"
import * as Command from "effect/cli/Command"
import { readFileSync } from "node:fs"
import * as EmbeddedPostgres from "../../layers/postgres/EmbeddedPostgres.ts"
import * as Ending from "../process/Ending.ts"
import * as Logging from "../process/Logging.ts"
import * as Main from "../process/Main.ts"
import { say } from "../terminal/Say.ts"
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

Main.run(
  Command.run(sluice, { version }).pipe(
    tellProgress,
    Effect.provide(Layer.provideMerge(Layer.merge(Logging.layer, Usage.layer), NodeServices.layer))
  ),
  { exitCode: Ending.exitCode, describe: Ending.describe, line: Logging.line }
)
