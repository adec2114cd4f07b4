import { Context, Effect, Layer, Schema } from "effect"
import { JobFailure, JobId, JobState } from "./Job.ts"
import * as JobChange from "./JobChange.ts"
import { JobHeldBack, JobNotFound, type JobOptionInvalid, type JobQueueError } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"
import { type JobFilter, type JobPage, JobRecords, type QueueStats, type StuckJob } from "./JobStore.ts"
import type { RedriveFilter, RedrivePreview } from "./Redrive.ts"

export type { RedriveFilter, RedrivePreview } from "./Redrive.ts"

/** The queue as operators see it. */
export class JobAdmin extends Context.Service<JobAdmin, {
  /** Jobs, newest first, live and ended. */
  readonly list: (filter: JobFilter) => Effect.Effect<JobPage, JobOptionInvalid | JobQueueError>
  /** Exact counters of each queue, without counting rows. */
  readonly stats: Effect.Effect<ReadonlyArray<QueueStats>, JobQueueError>
  /** Jobs that run for nobody, the first hundred: none but for moments, unless some session holds them. */
  readonly stuck: Effect.Effect<ReadonlyArray<StuckJob>, JobQueueError>
  /** No worker claims from a paused queue; what runs is let finish. */
  readonly pause: (queue: string) => Effect.Effect<void, JobOptionInvalid | JobQueueError>
  readonly resume: (queue: string) => Effect.Effect<void, JobOptionInvalid | JobQueueError>
  /** At most so many claims per second (0.00001 to 1e9) over all processes, in bursts of one second; null for no limit. */
  readonly setRate: (
    queue: string,
    ratePerSecond: number | null
  ) => Effect.Effect<void, JobOptionInvalid | JobQueueError>
  /** What `redrive` with the same filter would take at this moment. */
  readonly preview: (filter: RedriveFilter) => Effect.Effect<RedrivePreview, JobOptionInvalid | JobQueueError>
  /**
   * Makes dead letters live again with fresh attempts, oldest first, at a rate when one is given; answers their ids. A
   * dead letter stays dead when a live job, or an older dead letter, has its unique text; when it was the only id asked
   * for, that is `JobHeldBack`.
   */
  readonly redrive: (
    filter: RedriveFilter,
    options?: { readonly ratePerSecond?: number }
  ) => Effect.Effect<ReadonlyArray<JobId>, JobNotFound | JobHeldBack | JobOptionInvalid | JobQueueError>
  /** What `change` with the same filter would take at this moment. */
  readonly previewChange: (
    filter: JobChange.ChangeFilter,
    change: JobChange.JobChange
  ) => Effect.Effect<JobChange.ChangePreview, JobOptionInvalid | JobQueueError>
  /**
   * Changes jobs that nobody runs, in one transaction: see `JobChange` for what there is. A job that is claimed at the same moment is
   * either changed before, or runs as it was.
   */
  readonly change: (
    filter: JobChange.ChangeFilter,
    change: JobChange.JobChange
  ) => Effect.Effect<JobChange.Changed, JobOptionInvalid | JobQueueError>
}>()("sluice/services/jobs/JobAdmin") {}

const isId = Schema.is(JobId)

const listRules = {
  queue: JobOption.name,
  kind: JobOption.name,
  state: JobOption.literal(JobState.literals),
  before: { expected: "the id of a job", holds: isId },
  limit: JobOption.pageLimit
} as const

const redriveRules = {
  queue: JobOption.name,
  kind: JobOption.name,
  reason: JobOption.literal(JobFailure.fields.reason.literals),
  ids: JobOption.ids(100_000, isId),
  limit: JobOption.redriveLimit
} as const

/** Runs it when these options are what they may be. */
const checked = <O extends object, A, E>(
  operation: string,
  options: O | undefined,
  rules: { readonly [K in keyof O]?: JobOption.Rule },
  run: () => Effect.Effect<A, E>
): Effect.Effect<A, E | JobOptionInvalid> =>
  Effect.suspend((): Effect.Effect<A, E | JobOptionInvalid> =>
    JobOption.invalid(`JobAdmin.${operation}`, options, rules) ?? run()
  )

const make = Effect.gen(function*() {
  const records = yield* JobRecords

  const pause = (operation: string, queue: string, paused: boolean) =>
    Effect.suspend((): Effect.Effect<void, JobOptionInvalid | JobQueueError> =>
      JobOption.wrong(`JobAdmin.${operation}`, "queue", JobOption.name, queue) ?? records.configure(queue, { paused })
    )

  const setRate = (queue: string, ratePerSecond: number | null) =>
    Effect.suspend((): Effect.Effect<void, JobOptionInvalid | JobQueueError> =>
      JobOption.wrong("JobAdmin.setRate", "queue", JobOption.name, queue) ??
        (ratePerSecond === null
          ? undefined
          : JobOption.wrong("JobAdmin.setRate", "ratePerSecond", JobOption.rate, ratePerSecond)) ??
        records.configure(queue, { ratePerSecond })
    )

  const redrive = Effect.fnUntraced(function*(filter: RedriveFilter, ratePerSecond: number | undefined) {
    const ids = yield* records.redrive(filter, ratePerSecond)
    const only = filter.ids?.length === 1 ? filter.ids[0] : undefined
    if (only === undefined || ids.length > 0) return ids
    const { held } = yield* records.preview({ ids: [only] })
    return yield* held > 0 ? new JobHeldBack({ id: only }) : new JobNotFound({ id: only })
  })

  const change = Effect.fnUntraced(function*(filter: JobChange.ChangeFilter, what: JobChange.JobChange) {
    const { busy, ids } = yield* records.change(filter, what)
    const done = new Set(ids)
    const left = (filter.ids ?? []).filter((id) => !done.has(id))
    const unchanged = yield* Effect.forEach(
      left,
      (id) => Effect.map(records.find(id), (info) => ({ id, state: info?.state })),
      { concurrency: 4 }
    )
    return { ids, busy, unchanged }
  })

  return JobAdmin.of({
    list: (filter) => checked("list", filter, listRules, () => records.list(filter)),
    stats: records.stats,
    stuck: records.stuck,
    pause: (queue) => pause("pause", queue, true),
    resume: (queue) => pause("resume", queue, false),
    setRate,
    preview: (filter) => checked("preview", filter, redriveRules, () => records.preview(filter)),
    redrive: Effect.fn("JobAdmin.redrive")((filter, options) =>
      checked(
        "redrive",
        filter,
        redriveRules,
        () =>
          checked("redrive", options, { ratePerSecond: JobOption.rate }, () => redrive(filter, options?.ratePerSecond))
      )
    ),
    previewChange: (filter, what) =>
      Effect.suspend((): Effect.Effect<JobChange.ChangePreview, JobOptionInvalid | JobQueueError> =>
        JobChange.invalid("JobAdmin.previewChange", filter, what) ?? records.previewChange(filter, what)
      ),
    change: Effect.fn("JobAdmin.change")((filter, what) =>
      Effect.suspend((): Effect.Effect<JobChange.Changed, JobOptionInvalid | JobQueueError> =>
        JobChange.invalid("JobAdmin.change", filter, what) ?? change(filter, what)
      )
    )
  })
})

/** The operators' view on any job storage. */
export const layer: Layer.Layer<JobAdmin, never, JobRecords> = Layer.effect(JobAdmin, make)
