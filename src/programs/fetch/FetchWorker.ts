/** The worker behind `POST /v1/fetches`: each job is one run, worked on until nothing is left of it. */
import { Config, Effect, Layer, Result, Stream } from "effect"
import { Fetcher } from "../../services/fetch/Fetcher.ts"
import { defaults, FetchPolicy } from "../../services/fetch/FetchPolicy.ts"
import * as FetchRequest from "../../services/fetch/FetchRequest.ts"
import { Frontier } from "../../services/fetch/Frontier.ts"
import { FetchRunJob } from "../../services/http/FetchesGroup.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import * as JobHandler from "../../services/jobs/JobHandler.ts"
import type { JobStore } from "../../services/jobs/JobStore.ts"
import * as JobWorker from "../../services/jobs/JobWorker.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"

/** How runs that came over the API are fetched. */
export interface Options {
  /**
   * Whether URLs that came over the API may lead to private, loopback and link-local addresses. They must not reach what only this machine
   * can reach, unless whoever runs it says so. @default false
   */
  readonly allowPrivate?: boolean | undefined
}

const work = (policy: FetchPolicy) => (payload: { readonly run: string; readonly urls: ReadonlyArray<string> }) =>
  Effect.scoped(Effect.gen(function*() {
    const frontier = yield* Frontier
    const fetcher = yield* Fetcher
    const run = yield* frontier.open(payload.run)
    // A URL that the pattern of the API let through and the parser does not is left out: there is nothing to fetch.
    const targets = payload.urls.flatMap((url) =>
      Result.match(FetchRequest.parseTarget({ url }), {
        onFailure: () => [],
        onSuccess: (target) => [{ ...target, untrusted: true }]
      })
    )
    yield* run.add(targets)
    yield* run.seal
    // What has ended together is recorded together. No waiting for more: the last ones of a run would wait for ever.
    yield* Stream.runForEachArray(fetcher.fetchSource(run.source), (fetched) => run.settle(fetched))
  })).pipe(
    Effect.provideService(FetchPolicy, policy),
    Tasks.named(() => `fetch run ${payload.run}`)
  )

/** The handler of fetch runs, for a worker that also does other work. */
export const handler = ({ allowPrivate = false }: Options = {}) =>
  JobHandler.plain(FetchRunJob, work({ ...defaults, denyPrivate: allowPrivate ? false : "untrusted" }))

/** A worker of fetch runs; each run has the limits of the policy to itself. */
export const layer = (
  { allowPrivate, ...options }: Options & JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError, JobStore | Frontier | Fetcher> =>
  JobWorker.layer([handler({ allowPrivate })], { label: "fetches", concurrency: 2, maxClaim: 2, ...options })

const allowPrivateConfig = Config.Boolean("SLUICE_FETCH_ALLOW_PRIVATE").pipe(Config.withDefault(false))

/** The same, with private addresses allowed when `SLUICE_FETCH_ALLOW_PRIVATE` says so. */
export const layerConfig = (
  options: JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError | Config.ConfigError, JobStore | Frontier | Fetcher> =>
  Layer.unwrap(Effect.map(allowPrivateConfig, (allowPrivate) => layer({ ...options, allowPrivate })))
