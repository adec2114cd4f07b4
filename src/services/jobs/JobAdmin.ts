import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { JobId, JobInfo } from "./Job.ts"
import { JobNotFound, type JobQueueError } from "./JobError.ts"
import { type JobFilter, JobRecords, type QueueStats, type RedriveFilter } from "./JobStore.ts"

/** What a redrive would do: how many dead letters match, up to the limit, and the first of them. */
export interface RedrivePreview {
  readonly matched: number
  readonly sample: ReadonlyArray<JobInfo>
}

/** The queue as operators see it. */
export class JobAdmin extends Context.Service<JobAdmin, {
  /** Jobs, newest first, live and ended. */
  readonly list: (filter: JobFilter) => Effect.Effect<ReadonlyArray<JobInfo>, JobQueueError>
  /** Exact counters of each queue, without counting rows. */
  readonly stats: Effect.Effect<ReadonlyArray<QueueStats>, JobQueueError>
  /** No worker claims from a paused queue; what runs is let finish. */
  readonly pause: (queue: string) => Effect.Effect<void, JobQueueError>
  readonly resume: (queue: string) => Effect.Effect<void, JobQueueError>
  /** At most so many claims per second over all processes (bursts of one second); null for no limit. */
  readonly setRate: (queue: string, ratePerSecond: number | null) => Effect.Effect<void, JobQueueError>
  readonly preview: (filter: RedriveFilter) => Effect.Effect<RedrivePreview, JobQueueError>
  /** Makes dead letters live again with fresh attempts, at a rate when one is given; answers their ids. */
  readonly redrive: (
    filter: RedriveFilter,
    options?: { readonly ratePerSecond?: number }
  ) => Effect.Effect<ReadonlyArray<JobId>, JobNotFound | JobQueueError>
}>()("sluice/services/jobs/JobAdmin") {}

const matches = (filter: RedriveFilter) => (info: JobInfo) =>
  (filter.queue === undefined || info.queue === filter.queue) &&
  (filter.kind === undefined || info.kind === filter.kind) &&
  (filter.reason === undefined || info.failure?.reason === filter.reason) &&
  (filter.ids === undefined || filter.ids.includes(info.id))

const make = Effect.gen(function*() {
  const records = yield* JobRecords
  return JobAdmin.of({
    list: records.list,
    stats: records.stats,
    pause: (queue) => records.configure(queue, { paused: true }),
    resume: (queue) => records.configure(queue, { paused: false }),
    setRate: (queue, ratePerSecond) => records.configure(queue, { ratePerSecond }),
    preview: Effect.fn("JobAdmin.preview")(function*(filter: RedriveFilter) {
      const dead = yield* records.list({
        state: "dead",
        limit: filter.limit ?? 1000,
        ...(filter.queue === undefined ? {} : { queue: filter.queue }),
        ...(filter.kind === undefined ? {} : { kind: filter.kind })
      })
      const matched = dead.filter(matches(filter))
      return { matched: matched.length, sample: matched.slice(0, 10) }
    }),
    redrive: Effect.fn("JobAdmin.redrive")(
      function*(filter: RedriveFilter, options?: { readonly ratePerSecond?: number }) {
        const ids = yield* records.redrive(filter, options?.ratePerSecond)
        const only = filter.ids?.length === 1 ? filter.ids[0] : undefined
        return only !== undefined && ids.length === 0 ? yield* new JobNotFound({ id: only }) : ids
      }
    )
  })
})

/** The operators' view on any job storage. */
export const layer: Layer.Layer<JobAdmin, never, JobRecords> = Layer.effect(JobAdmin, make)
