import { assert, it } from "@effect/vitest"
import { Effect, Queue } from "effect"
import { type ChildProcessByStdio, spawn } from "node:child_process"
import type { Readable } from "node:stream"
import * as Url from "node:url"
import { leakFree } from "../../support/leakFree.ts"

const fixture = Url.fileURLToPath(new URL("../../support/mainFixture.ts", import.meta.url))

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a scene; each time the text appears in its output, the signal beside it is sent. */
const runScene = (scene: string, steps: ReadonlyArray<readonly [when: string, signal: NodeJS.Signals]> = []) =>
  leakFree(Effect.scoped(Effect.gen(function*() {
    const ended = yield* Queue.unbounded<Ended>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [fixture, scene], { stdio: ["ignore", "pipe", "pipe"] })),
      (process) => Effect.sync(() => process.kill("SIGKILL"))
    )
    let stdout = ""
    let stderr = ""
    const pending = [...steps]
    const react = () => {
      const step = pending[0]
      if (step === undefined || !`${stdout}${stderr}`.includes(step[0])) return
      pending.shift()
      child.kill(step[1])
      react()
    }
    child.stdout.on("data", (chunk) => {
      stdout += String(chunk)
      react()
    })
    child.stderr.on("data", (chunk) => {
      stderr += String(chunk)
      react()
    })
    child.on("close", (code) => Queue.offerUnsafe(ended, { code, stdout, stderr }))
    return yield* Queue.take(ended)
  })))

const count = (text: string, part: string): number => text.split(part).length - 1

it.live("a program that succeeds exits with 0", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* runScene("success"), { code: 0, stdout: "done\n", stderr: "" })
  }))

/** Runs a scene that prints much to a reader which reads when `reads` is done, and not before. */
const runUnread = (
  scene: string,
  reads: (child: ChildProcessByStdio<null, Readable, Readable>) => Effect.Effect<void>
) =>
  leakFree(Effect.scoped(Effect.gen(function*() {
    const ended = yield* Queue.unbounded<{ readonly code: number | null; readonly bytes: number }>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [fixture, scene], { stdio: ["ignore", "pipe", "pipe"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let bytes = 0
    child.on("close", (code) => Queue.offerUnsafe(ended, { code, bytes }))
    yield* reads(child)
    child.stdout.on("data", (chunk) => {
      bytes += chunk.length
    })
    return yield* Queue.take(ended)
  })))

it.live("what was printed is there for a reader that begins late", () =>
  Effect.gen(function*() {
    const late = (child: ChildProcessByStdio<null, Readable, Readable>) =>
      Effect.andThen(
        Effect.callback<void>((resume) => void child.stderr.once("data", () => resume(Effect.void))),
        // Real time: what a program that gave up on its reader would take to do so.
        Effect.sleep("1500 millis")
      )
    assert.deepStrictEqual(yield* runUnread("much", late), { code: 0, bytes: 5_000_001 })
  }))

it.live("a program that is asked to go does not wait for a reader that does not read", () =>
  Effect.gen(function*() {
    const asking = (child: ChildProcessByStdio<null, Readable, Readable>) =>
      Effect.callback<void>((resume) => {
        child.stdout.once("readable", () => child.kill("SIGTERM"))
        child.once("exit", () => resume(Effect.void))
      })
    const ended = yield* runUnread("muchThenClean", asking)
    assert.strictEqual(ended.code, 143)
    assert.isBelow(ended.bytes, 5_000_000)
  }))

it.live("a typed failure says its message and exits with 1", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* runScene("failure"), { code: 1, stdout: "", stderr: "there is no run nightly\n" })
  }))

it.live("[160 Effection: error exits gracefully on unexpected errors] a defect prints its cause once and exits with 1", () =>
  Effect.gen(function*() {
    const ended = yield* runScene("defect")
    assert.strictEqual(ended.code, 1)
    assert.strictEqual(count(ended.stderr, "TypeError: an unexpected bug"), 1)
    assert.include(ended.stderr, "mainFixture.ts")
  }))

it.live("an exception outside of any fiber cleans up, prints once and exits with 1", () =>
  Effect.gen(function*() {
    const ended = yield* runScene("uncaught")
    assert.strictEqual(ended.code, 1)
    assert.strictEqual(ended.stdout, "cleaned up\n")
    assert.strictEqual(count(ended.stderr, "thrown outside of any fiber"), 1)
  }))

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  it.live(`[160 Effection: gracefully shuts down on ${signal}] cleanup runs, exit code ${code}`, () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* runScene("clean", [["ready", signal]]), {
        code,
        stdout: "ready\ncleaned up\n",
        stderr: ""
      })
    }))
}

it.live("[162 River: SoftStopSucceedsBeforeTimeout] drain steps run before the program is interrupted", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* runScene("drain", [["ready", "SIGTERM"]]), {
      code: 143,
      stdout: "ready\ndraining\ndrained\ninterrupted\n",
      stderr: ""
    })
  }))

it.live("a program that ends by itself when it is asked to drain is not interrupted", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* runScene("drainAndEnd", [["ready", "SIGINT"]]), {
      code: 130,
      stdout: "ready\nasked by SIGINT\n",
      stderr: ""
    })
  }))

it.live("[161 River: EscalatesToHardStopAfterTimeout] a drain step that outlives the grace is named", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* runScene("drainForEver", [["ready", "SIGTERM"]]), {
      code: 143,
      stdout: "ready\ninterrupted\n",
      stderr: "not drained within the grace: a stuck step\n"
    })
  }))

it.live("cleanup that outlives its grace is named and left behind", () =>
  Effect.gen(function*() {
    const ended = yield* runScene("overstay", [["ready", "SIGINT"]])
    assert.strictEqual(ended.code, 130)
    assert.include(ended.stderr, "left behind: workers, stuck worker")
  }))

it.live("a second signal exits at once", () =>
  Effect.gen(function*() {
    const ended = yield* runScene("stuck", [["ready", "SIGINT"], ["cleaning", "SIGINT"]])
    assert.strictEqual(ended.code, 130)
    assert.strictEqual(ended.stderr, "")
  }))

it.live("SIGUSR2 prints the live task tree and the program goes on", () =>
  Effect.gen(function*() {
    const ended = yield* runScene("tree", [["ready", "SIGUSR2"], ["example.org", "SIGTERM"]])
    assert.strictEqual(ended.code, 143)
    assert.match(ended.stderr, /process\n {2}crawl .*\n {4}fetch \/a .*waiting: permit of host example\.org/u)
  }))
