/** The options of a worker as its engine wants them: checked, with their defaults, in milliseconds. */
import { Duration, Effect } from "effect"
import { JobQueueError } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"
import type { CronEntry } from "./JobStore.ts"
import type { WorkerOptions } from "./JobWorker.ts"

/** See {@link WorkerOptions}. */
export interface WorkerSettings {
  readonly label: string
  readonly concurrency: number
  readonly transactions: number
  readonly maxClaim: number
  readonly beatMillis: number
  readonly leaseMillis: number
  readonly pollMillis: number
  readonly drainGraceMillis: number
  readonly crons: ReadonlyArray<CronEntry>
}

const rules = {
  concurrency: JobOption.count,
  transactions: JobOption.count,
  maxClaim: JobOption.count,
  lease: JobOption.lease,
  beat: JobOption.pace,
  poll: JobOption.pace,
  drainGrace: JobOption.grace,
  label: JobOption.name
} as const

/** Throws `JobOptionInvalid` for an option that is not what it may be. */
export const of = (where: string, options: WorkerOptions): WorkerSettings => {
  JobOption.assertValid(where, options, rules)
  const millis = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))
  const concurrency = options.concurrency ?? 20
  const leaseMillis = Math.ceil(millis(options.lease ?? "4 seconds"))
  return {
    label: options.label ?? "worker",
    concurrency,
    transactions: Math.min(concurrency, options.transactions ?? 4),
    maxClaim: options.maxClaim ?? 1000,
    beatMillis: Math.ceil(options.beat === undefined ? Math.min(500, leaseMillis / 8) : millis(options.beat)),
    leaseMillis,
    pollMillis: millis(options.poll ?? "1 second"),
    drainGraceMillis: millis(options.drainGrace ?? "10 seconds"),
    crons: options.crons ?? []
  }
}

/** A lease takes a few beats: one that is a little late must not cost it, and a worker that declares others dead has to beat itself. */
const minBeats = 3

/** Fails when so many beats do not fit in a lease. */
export const checkLease = ({ beatMillis, leaseMillis }: WorkerSettings): Effect.Effect<void, JobQueueError> => {
  const leastMillis = minBeats * beatMillis
  const detail =
    `a lease of ${leaseMillis} ms is too short for a beat every ${beatMillis} ms: it has to be ${leastMillis} ms at least`
  return leaseMillis >= leastMillis
    ? Effect.void
    : Effect.fail(new JobQueueError({ operation: "join", reason: "Rejected", detail }))
}
