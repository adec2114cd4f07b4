import { Duration, Effect, Layer } from "effect"
import { Readiness } from "../../services/http/Readiness.ts"
import { ServedWorkers } from "../../services/http/ServedWorkers.ts"
import type { WorkerStatus } from "../../services/jobs/JobWorker.ts"

/** A claim may fail and be tried again: only after so many leases something is wrong that does not pass by itself. */
const leases = 3

const problemOf = (status: WorkerStatus): string | undefined =>
  status.draining || status.claimStalledMillis <= leases * status.leaseMillis ?
    undefined :
    `the worker "${status.label}" has not been able to claim jobs for ${
      Duration.format(Duration.seconds(Math.floor(status.claimStalledMillis / 1000)))
    }`

const make = Effect.gen(function*() {
  const readiness = yield* Readiness
  const workers = yield* ServedWorkers
  const problem = Effect.gen(function*() {
    const first = yield* readiness.problem
    if (first !== undefined) return first
    const statuses = yield* Effect.forEach(workers, (worker) => worker.status)
    return statuses.map(problemOf).find((found) => found !== undefined)
  })
  return Readiness.of({ problem })
})

/** Ready while the given readiness says so, and while the workers of this process get answers to their claims. */
export const layer: Layer.Layer<Readiness, never, Readiness | ServedWorkers> = Layer.effect(Readiness, make)
