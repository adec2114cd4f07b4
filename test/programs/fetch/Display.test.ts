import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, Layer, Option, Stdio } from "effect"
import * as PlatformError from "effect/PlatformError"
import * as Display from "../../../src/programs/fetch/Display.ts"

interface Surroundings {
  readonly env?: Record<string, string>
  readonly isTerminal?: boolean
  /** Of standard output: a terminal, or what it was led into. */
  readonly stdout: "terminal" | FileSystem.File.Type
}

const surroundings = ({ env, isTerminal, stdout }: Surroundings) =>
  Layer.mergeAll(
    ConfigProvider.layer(ConfigProvider.fromUnknown(env ?? { TERM: "xterm" })),
    Stdio.layerTest({
      stderrIsTerminal: Effect.succeed(isTerminal ?? true),
      stdoutIsTerminal: Effect.succeed(stdout === "terminal")
    }),
    FileSystem.layerNoop({
      stat: () =>
        stdout === "terminal"
          ? Effect.fail(PlatformError.systemError({ _tag: "NotFound", module: "FileSystem", method: "stat" }))
          : Effect.succeed({ type: stdout } as FileSystem.File.Info)
    })
  )

const values = { json: false, output: Option.none<string>(), quiet: false }

const rows: ReadonlyArray<
  readonly [what: string, flags: Partial<typeof values>, around: Surroundings, display: Display.Display]
> = [
  ["a terminal", {}, { stdout: "terminal" }, "live"],
  ["--quiet wins", { quiet: true }, { stdout: "terminal" }, "quiet"],
  ["no terminal", {}, { stdout: "terminal", isTerminal: false }, "plain"],
  ["a terminal that is dumb", {}, { stdout: "terminal", env: { TERM: "dumb" } }, "plain"],
  ["CI", {}, { stdout: "terminal", env: { TERM: "xterm", CI: "true" } }, "plain"],
  ["outcomes on the same terminal", { json: true }, { stdout: "terminal" }, "plain"],
  ["outcomes on the same terminal, by -o -", { output: Option.some("-") }, { stdout: "terminal" }, "plain"],
  ["outcomes in a file of one's own", { output: Option.some("out.ndjson") }, { stdout: "terminal" }, "live"],
  ["outcomes in a file of the shell's", {}, { stdout: "File" }, "live"],
  ["outcomes in a pipe, whose reader may print", {}, { stdout: "FIFO" }, "plain"],
  ["a pipe that gets nothing", { output: Option.some("out.ndjson") }, { stdout: "FIFO" }, "live"]
]

describe("Display", () => {
  for (const [what, flags, around, display] of rows) {
    it.effect(`${what}: ${display}`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Display.of({ ...values, ...flags }), display)
      }).pipe(Effect.provide(surroundings(around))))
  }
})
