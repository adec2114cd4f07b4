/** What a test says of the jobs that wait: that one is there, or that none is. */
import { Clock, Duration, Effect, Equal, Formatter, Result, Schema } from "effect"
import type { JobId, JobInfo, JobState, Kind } from "../Job.ts"
import { JobAdmin } from "../JobAdmin.ts"
import type { JobOptionInvalid, JobQueueError } from "../JobError.ts"
import { JobTestError } from "./JobTestError.ts"

/** A live job with its payload, decoded. */
export interface EnqueuedJob<out P> {
  readonly payload: P
  readonly info: JobInfo
}

/** A payload, or some fields of it, or what holds of it. */
export type PayloadMatch<P> = P | (P extends object ? Partial<P> : never) | ((payload: P) => boolean)

/** What else is expected of a job; what is not named may be anything. */
export interface EnqueuedOptions {
  readonly state?: JobState
  readonly queue?: string
  readonly priority?: number
  readonly key?: string | null
  readonly maxAttempts?: number
  /** So long from now it may run. */
  readonly delay?: Duration.Input
}

/** Why a look at the jobs fails besides. */
export type LookError = JobTestError | JobOptionInvalid | JobQueueError

const pageSize = 1_000
const pagesMax = 20
const shownMax = 200

const shown = (value: unknown): string => {
  const text = typeof value === "function" ? "what the function says" : Formatter.format(value)
  return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text
}

const isEnded = (info: JobInfo): boolean =>
  info.state === "succeeded" || info.state === "dead" || info.state === "cancelled"

/** All jobs of a kind, or of all kinds, oldest first; 20,000 at most. */
const jobsOf = Effect.fnUntraced(function*(kind: string | undefined) {
  const admin = yield* JobAdmin
  const jobs: Array<JobInfo> = []
  let before: JobId | undefined
  for (let page = 0; page < pagesMax; page++) {
    const { jobs: some, next } = yield* admin.list({
      limit: pageSize,
      ...(kind === undefined ? {} : { kind }),
      ...(before === undefined ? {} : { before })
    })
    jobs.push(...some)
    if (next === undefined) break
    before = next
  }
  return jobs.reverse()
})

const decoded = <N extends string, P, S, F>(kind: Kind<N, P, S, F>, info: JobInfo) =>
  Result.match(Schema.decodeUnknownResult(Schema.toCodecJson(kind.payload))(info.payload), {
    onSuccess: (payload): Effect.Effect<EnqueuedJob<P>, JobTestError> => Effect.succeed({ payload, info }),
    onFailure: (error) =>
      Effect.fail(
        new JobTestError({ detail: `job ${info.id} has a payload that is none of "${kind.name}": ${error.message}` })
      )
  })

/** The jobs of a kind that wait or run, oldest first, with their payloads. */
export const enqueued = Effect.fnUntraced(function*<N extends string, P, S, F>(
  kind: Kind<N, P, S, F>
): Effect.fn.Return<ReadonlyArray<EnqueuedJob<P>>, LookError, JobAdmin> {
  const jobs = yield* jobsOf(kind.name)
  return yield* Effect.forEach(jobs.filter((info) => !isEnded(info)), (info) => decoded(kind, info))
})

const isPlain = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) &&
  (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null)

/** Where a value is not as expected: a line for each place. Of an object only the fields that are named are looked at. */
const differences = (path: string, expected: unknown, actual: unknown): ReadonlyArray<string> => {
  if (isPlain(expected) && isPlain(actual)) {
    return Object.keys(expected).flatMap((key) => differences(`${path}.${key}`, expected[key], actual[key]))
  }
  return Equal.equals(expected, actual) ? [] : [`${path}: expected ${shown(expected)}, is ${shown(actual)}`]
}

const isPredicate = <P>(match: PayloadMatch<P>): match is (payload: P) => boolean => typeof match === "function"

/** What keeps a job from being the one that is meant. */
const misfits = <P>(
  { info, payload }: EnqueuedJob<P>,
  match: PayloadMatch<P> | undefined,
  options: EnqueuedOptions,
  now: number
): ReadonlyArray<string> => {
  const { delay, ...plain } = options
  const payloads = match === undefined
    ? []
    : !isPredicate(match)
    ? differences("payload", match, payload)
    : match(payload)
    ? []
    : [`payload: not what was expected: ${shown(payload)}`]
  const late = delay === undefined
    ? []
    : differences(
      "delay",
      Duration.format(Duration.fromInputUnsafe(delay)),
      Duration.format(Duration.millis(Math.max(0, info.runAt.getTime() - now)))
    )
  const { key, maxAttempts, priority, queue, state } = info
  return [...payloads, ...differences("job", plain, { key, maxAttempts, priority, queue, state }), ...late]
}

const meant = (kind: string, match: unknown, options: EnqueuedOptions): string =>
  `of kind "${kind}"` +
  (match === undefined ? "" : ` with payload ${shown(match)}`) +
  (Object.keys(options).length === 0 ? "" : ` and ${shown(options)}`)

const jobName = ({ id, kind, state }: JobInfo): string => `job ${id} (${kind}, ${state})`

/** What else there is, when the one that is meant is not. */
const others = (jobs: ReadonlyArray<JobInfo>): string => {
  if (jobs.length === 0) return "there are no jobs at all"
  const counts = Map.groupBy(jobs, ({ kind, state }) => `${kind} ${state}`)
  return `there are: ${[...counts].slice(0, 20).map(([name, some]) => `${some.length} ${name}`).join(", ")}`
}

/**
 * Asserts that a job of a kind waits or runs, with this payload, or these fields of it, or one for which a function
 * holds; answers the oldest. Fails with a `JobTestError` that tells in what the closest one differs.
 *
 * @example yield* JobTest.assertEnqueued(Welcome, { user: 1 }, { delay: "1 hour" })
 */
export const assertEnqueued = Effect.fnUntraced(function*<N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  match?: PayloadMatch<P>,
  options: EnqueuedOptions = {}
): Effect.fn.Return<EnqueuedJob<P>, LookError, JobAdmin> {
  const now = yield* Clock.currentTimeMillis
  const judged = (yield* enqueued(kind)).map((job) => ({ job, why: misfits(job, match, options, now) }))
  const closest = judged.reduce<(typeof judged)[number] | undefined>(
    (best, each) => best === undefined || each.why.length < best.why.length ? each : best,
    undefined
  )
  if (closest?.why.length === 0) return closest.job
  const near = closest === undefined
    ? []
    : [`${jobName(closest.job.info)} is the closest:`, ...closest.why.map((line) => `  ${line}`)]
  return yield* new JobTestError({
    detail: [`no job ${meant(kind.name, match, options)} waits or runs`, ...near, others(yield* jobsOf(undefined))]
      .join("\n")
  })
})

/**
 * Asserts that no job of a kind waits or runs that fits; see {@link assertEnqueued}.
 *
 * @example yield* JobTest.refuteEnqueued(Welcome)
 */
export const refuteEnqueued = Effect.fnUntraced(function*<N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  match?: PayloadMatch<P>,
  options: EnqueuedOptions = {}
): Effect.fn.Return<void, LookError, JobAdmin> {
  const now = yield* Clock.currentTimeMillis
  const fitting = (yield* enqueued(kind)).filter((job) => misfits(job, match, options, now).length === 0)
  const lines = fitting.slice(0, 10).map(({ info, payload }) => `  ${jobName(info)}: ${shown(payload)}`)
  if (fitting.length === 0) return undefined
  return yield* new JobTestError({
    detail: [`${fitting.length} job(s) ${meant(kind.name, match, options)} wait or run, and none should:`, ...lines]
      .join("\n")
  })
})
