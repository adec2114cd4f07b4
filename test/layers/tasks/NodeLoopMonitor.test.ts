import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Option, Queue, Stream } from "effect"
import { spawn } from "node:child_process"
import { readdirSync } from "node:fs"
import * as Url from "node:url"
import * as NodeLoopMonitor from "../../../src/layers/tasks/NodeLoopMonitor.ts"
import { type LoopBlocked, LoopMonitor } from "../../../src/services/tasks/LoopMonitor.ts"
import { computePrimesTheSlowWay, sleepInNativeCode } from "../../support/blocker.ts"
import { leakFree } from "../../support/leakFree.ts"

it.live("[156 Kotlin BlockHoundTest.testShouldDetectBlockingInDefault] a blocked loop is reported with how long and with the stack that blocked it", () =>
  leakFree(
    Effect.gen(function*() {
      const monitor = yield* LoopMonitor
      const first = yield* Effect.forkChild(Stream.runHead(monitor.blocked), { startImmediately: true })
      // The first rounds may find the watchdog still starting, or a block that ends while it looks.
      const isRight = (event: LoopBlocked) => event.stack.some((frame) => frame.includes("computePrimesTheSlowWay"))
      while (!(yield* monitor.recent).some(isRight)) {
        computePrimesTheSlowWay(400)
        yield* Effect.yieldNow
      }
      const event = yield* Effect.fromOption(Option.fromUndefinedOr((yield* monitor.recent).find(isRight)))
      assert.isAtLeast(event.blockedMillis, 200)
      assert.isTrue(event.stack.some((frame) => frame.includes("blocker.ts")), event.stack.join("\n"))
      assert.deepStrictEqual(yield* Fiber.join(first), Option.fromUndefinedOr((yield* monitor.recent)[0]))
    }).pipe(Effect.provide(NodeLoopMonitor.layer({ threshold: "50 millis", log: false })))
  ))

it.live("a native call that blocks is reported, and nobody is accused of it", () =>
  leakFree(
    Effect.gen(function*() {
      const monitor = yield* LoopMonitor
      while ((yield* monitor.recent).length < 4) {
        // The first JavaScript that can be stopped after the call is innocent.
        queueMicrotask(() => computePrimesTheSlowWay(60))
        sleepInNativeCode(300)
        // A stack is read once in a second, by another thread's clock.
        yield* Effect.sleep("1 second")
      }
      for (const event of yield* monitor.recent) {
        assert.isAtLeast(event.blockedMillis, 50)
        assert.notInclude(event.stack.join(), "computePrimesTheSlowWay")
      }
    }).pipe(Effect.provide(NodeLoopMonitor.layer({ threshold: "100 millis", log: false })))
  ))

it.live("a function that makes one native call after another is named", () =>
  leakFree(
    Effect.gen(function*() {
      const monitor = yield* LoopMonitor
      const isRight = (event: LoopBlocked) => event.stack.some((frame) => frame.includes("readManySmallThings"))
      while (!(yield* monitor.recent).some(isRight)) {
        readManySmallThings(600)
        yield* Effect.yieldNow
      }
    }).pipe(Effect.provide(NodeLoopMonitor.layer({ threshold: "50 millis", log: false })))
  ))

const readManySmallThings = (millis: number): void => {
  const end = performance.now() + millis
  while (performance.now() < end) readdirSync(".")
}

it.live("a loop that never turns again is told while it lasts, with its stack, again and again but ever more rarely", () =>
  leakFree(Effect.scoped(Effect.gen(function*() {
    const fixture = Url.fileURLToPath(new URL("../../support/endlessLoop.ts", import.meta.url))
    const lines = yield* Queue.unbounded<string>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [fixture], { stdio: ["ignore", "ignore", "pipe"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    child.stderr.on("data", (chunk) => void Queue.offerAllUnsafe(lines, String(chunk).split("\n")))
    const told: Array<number> = []
    let isNamed = false
    while (told.length < 3 || !isNamed) {
      const line = yield* Queue.take(lines)
      const millis = /^event loop blocked for (\d+) ms and still blocked/u.exec(line)?.[1]
      if (millis !== undefined) told.push(Number(millis))
      isNamed = isNamed || line.includes("computePrimesTheSlowWay")
    }
    assert.deepStrictEqual(told.slice(0, 3).map((millis) => Math.floor(Math.log2(millis / 500))), [0, 1, 2])
  }))))
