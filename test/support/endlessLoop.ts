/** A process for NodeLoopMonitor.test.ts: its loop never turns again. */
import { Effect } from "effect"
import * as NodeLoopMonitor from "../../src/layers/tasks/NodeLoopMonitor.ts"
import { computePrimesTheSlowWay } from "./blocker.ts"

const program = Effect.andThen(
  Effect.sleep("1 second"), // until the watchdog runs
  Effect.sync(() => computePrimesTheSlowWay(Number.POSITIVE_INFINITY))
)

void Effect.runPromise(Effect.provide(program, NodeLoopMonitor.layer({ ongoing: "500 millis" })))
