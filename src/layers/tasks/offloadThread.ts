/** The entry of a worker thread of `WorkerThreads`. */
import * as NodeWorkerRunner from "@effect/platform-node/NodeWorkerRunner"
import { Effect } from "effect"
import * as Runtime from "effect/Runtime"
import { serve } from "./OffloadRunner.ts"

// A thread has no signals and no exit code of its own: it ends when its loop ends.
const runThread = Runtime.makeRunMain(() => {})

runThread(Effect.provide(serve, NodeWorkerRunner.layer))
