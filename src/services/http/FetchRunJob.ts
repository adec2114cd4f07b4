/** The job behind `POST /v1/fetches`, and what a worker does with it: each is one run, worked on until nothing is left of it. */
import { Effect, Result, Schedule, Schema, Stream } from "effect"
import { Fetcher } from "../fetch/Fetcher.ts"
import { defaults, FetchPolicy } from "../fetch/FetchPolicy.ts"
import { type FetchTarget, parseTarget } from "../fetch/FetchRequest.ts"
import { Frontier, RunName } from "../fetch/Frontier.ts"
import * as Job from "../jobs/Job.ts"
import * as JobHandler from "../jobs/JobHandler.ts"
import * as Tasks from "../tasks/Tasks.ts"

/** One run: it may be worked on again, and goes on where it was. The jobs of one run are done one after the other. */
export const FetchRunJob = Job.make("fetch.run", {
  payload: Schema.Struct({ run: RunName, urls: Schema.Array(Schema.String) }),
  queue: "fetch.run",
  key: ({ run }) => run,
  retry: Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")]),
  maxAttempts: 20,
  timeout: "1 hour"
})

/**
 * What can be fetched of them. A URL that the API's pattern lets through and the parser does not is left out: there is nothing to fetch.
 */
export const targetsOf = (urls: ReadonlyArray<string>): ReadonlyArray<FetchTarget> =>
  urls.flatMap((url) =>
    Result.match(parseTarget({ url }), {
      onFailure: () => [],
      onSuccess: (target) => [{ ...target, untrusted: true }]
    })
  )

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
    yield* run.add(targetsOf(payload.urls))
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
