import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs"
import process from "node:process"
import * as NodeLeaks from "../../../src/layers/tasks/NodeLeaks.ts"

/** Opens something, and gives how to close it. */
const leaks: ReadonlyArray<readonly [kind: string, open: () => () => void]> = [
  ["watchers", () => {
    const watcher = Fs.watch(".", () => {})
    return () => watcher.close()
  }],
  ["watchers", () => {
    Fs.watchFile("package.json", () => {})
    return () => Fs.unwatchFile("package.json")
  }],
  ["files", () => {
    const directory = Fs.opendirSync(".")
    return () => directory.closeSync()
  }],
  ["files", () => {
    const file = Fs.openSync("package.json", "r")
    return () => Fs.closeSync(file)
  }],
  ["process listeners", () => {
    const listener = () => {}
    process.on("SIGHUP", listener)
    return () => void process.off("SIGHUP", listener)
  }],
  ["timers", () => {
    // Many: a timer of the test runner's own may end meanwhile.
    const timers = Array.from({ length: 20 }, () => setTimeout(() => {}, 60_000))
    return () => timers.forEach((timer) => clearTimeout(timer))
  }],
  ["processes", () => {
    const child: ChildProcess = spawn("sleep", ["60"], { stdio: "ignore" })
    child.unref()
    return () => void child.kill("SIGKILL")
  }]
]

for (const [index, [kind, open]] of leaks.entries()) {
  it.live(`a leak of ${kind} is seen (${index + 1})`, () =>
    Effect.gen(function*() {
      let close: (() => void) | undefined
      const leaking = Effect.sync(() => {
        close = open()
      })
      const error = yield* Effect.flip(NodeLeaks.check({ settle: "20 millis" })(leaking))
      assert.include(error.leaks.map((leak) => leak.kind), kind)
      close?.()
    }))
  it.live(`what is closed is no leak: ${kind} (${index + 1})`, () => NodeLeaks.check()(Effect.sync(() => open()())))
}
