/** The worker behind `POST /v1/fetches`: each job is one run, worked on until nothing is left of it. */
import { Config, Effect, Layer } from "effect"
import * as Worker from "../../layers/jobs/worker/Worker.ts"
import type { Fetcher } from "../../services/fetch/Fetcher.ts"
import type { Frontier } from "../../services/fetch/Frontier.ts"
import * as FetchRunJob from "../../services/http/FetchRunJob.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { JobStore } from "../../services/jobs/JobStore.ts"
import type * as JobWorker from "../../services/jobs/JobWorker.ts"
import * as Setting from "../../services/tasks/Setting.ts"

/** How runs that came over the API are fetched. */
export type Options = FetchRunJob.Options

/** A worker of fetch runs; each run has the limits of the policy to itself. */
export const layer = (
  { allowPrivate, ...options }: Options & JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError, JobStore | Frontier | Fetcher> =>
  Worker.layer([FetchRunJob.handler({ allowPrivate })], { label: "fetches", concurrency: 2, maxClaim: 2, ...options })

const allowPrivateConfig = Setting.toggle("SLUICE_FETCH_ALLOW_PRIVATE").pipe(Config.withDefault(false))

/** The same, with private addresses allowed when `SLUICE_FETCH_ALLOW_PRIVATE` says so. */
export const layerConfig = (
  options: JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError | Config.ConfigError, JobStore | Frontier | Fetcher> =>
  Layer.unwrap(Effect.map(allowPrivateConfig, (allowPrivate) => layer({ ...options, allowPrivate })))
