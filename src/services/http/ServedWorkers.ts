import { Context } from "effect"
import type { JobWorker } from "../jobs/JobWorker.ts"

/** The workers that live in the server's own process: whether it is ready depends on them too. None where separate processes work. */
export class ServedWorkers extends Context.Service<ServedWorkers, ReadonlyArray<JobWorker["Service"]>>()(
  "sluice/services/http/ServedWorkers"
) {}
