import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Option, Stream } from "effect"
import * as NodeLoopMonitor from "../../../src/layers/tasks/NodeLoopMonitor.ts"
import { type LoopBlocked, LoopMonitor } from "../../../src/services/tasks/LoopMonitor.ts"
import { computePrimesTheSlowWay } from "../../support/blocker.ts"
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
