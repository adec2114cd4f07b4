import { Duration, Schedule, Schema } from "effect"
import * as JobOption from "./JobOption.ts"

/** The last id that a store can give (Postgres bigint). */
const lastId = 9_223_372_036_854_775_807n

/** The id of a job: a decimal number as text, ascending in the order of enqueueing. */
export const JobId = Schema.String.check(
  Schema.isPattern(/^(?:0|[1-9]\d{0,18})$/u, {
    expected: "the id of a job, a whole number",
    description: "A whole number as a decimal string."
  }),
  Schema.makeFilter((id) => BigInt(id) <= lastId, { expected: `a number up to ${lastId}` })
).pipe(Schema.brand("JobId"))
/** @see {@link JobId} */
export type JobId = typeof JobId.Type

/** Where a job is. The first five are live (`blocked` by its key, `waiting` for its children); the other three are final. */
export const JobState = Schema.Literals([
  "ready",
  "scheduled",
  "blocked",
  "waiting",
  "running",
  "succeeded",
  "dead",
  "cancelled"
])
/** @see {@link JobState} */
export type JobState = typeof JobState.Type

/** Why an attempt did not succeed, as it is stored with the job. */
export const JobFailure = Schema.Struct({
  reason: Schema.Literals([
    "Failed",
    "Defect",
    "TimedOut",
    "PayloadInvalid",
    "Discarded",
    "WorkerLost",
    "Cancelled",
    "ChildFailed"
  ]),
  /** The error's name and text, and its own fields as JSON; see `FailureText`. */
  message: Schema.String,
  /** Where it came from: the first frames of its stack, and of the errors that caused it. */
  trace: Schema.optionalKey(Schema.String),
  /** The handler's error, encoded with the kind's error schema, when it fits that schema. */
  error: Schema.optionalKey(Schema.Unknown)
})
/** @see {@link JobFailure} */
export type JobFailure = typeof JobFailure.Type

/** A failure with the attempt that it ended, and when, by the store's clock. */
export const JobAttemptFailure = Schema.Struct({ attempt: Schema.Int, at: Schema.Date, ...JobFailure.fields })
/** @see {@link JobAttemptFailure} */
export type JobAttemptFailure = typeof JobAttemptFailure.Type

/** How far a job is, as its handler said last; see `JobProgress.report`. */
export const Progress = Schema.Struct({
  /** The attempt that said so. */
  attempt: Schema.Int,
  at: Schema.Date,
  fraction: Schema.NullOr(Schema.Finite),
  detail: Schema.Unknown
})
/** @see {@link Progress} */
export type Progress = typeof Progress.Type

/** One job as operators see it. Times are the database's clock. */
export const JobInfo = Schema.Struct({
  id: JobId,
  queue: Schema.String,
  kind: Schema.String,
  state: JobState,
  priority: Schema.Int,
  attempt: Schema.Int,
  maxAttempts: Schema.Int,
  key: Schema.NullOr(Schema.String),
  /** Whose job it is; see `EnqueueOptions`. */
  tenant: Schema.NullOr(Schema.String),
  /** The job that waits for this one; see `JobFlow`. */
  parent: Schema.NullOr(JobId),
  payload: Schema.Unknown,
  progress: Schema.NullOr(Progress),
  result: Schema.Unknown,
  /** Why the last attempt failed; null when none has, and when the job has succeeded. */
  failure: Schema.NullOr(JobAttemptFailure),
  /**
   * Why its attempts failed, the newest last: ten at most, and the older ones make way when all together are longer than 16 KiB. A job that
   * was redriven keeps those from before, and one that succeeded in the end keeps them too.
   */
  failures: Schema.Array(JobAttemptFailure),
  worker: Schema.NullOr(Schema.Int),
  enqueuedAt: Schema.Date,
  runAt: Schema.Date,
  startedAt: Schema.NullOr(Schema.Date),
  finishedAt: Schema.NullOr(Schema.Date)
})
/** @see {@link JobInfo} */
export type JobInfo = typeof JobInfo.Type

/** Why a job failed last; null when it never did, and when it has succeeded since. */
export const lastFailure = (state: JobState, failures: ReadonlyArray<JobAttemptFailure>): JobAttemptFailure | null =>
  state === "succeeded" ? null : failures.at(-1) ?? null

/** What happened to a job, as `JobQueue.events` tells it. */
export const JobEvent = Schema.Struct({
  id: JobId,
  queue: Schema.String,
  kind: Schema.String,
  state: Schema.Literals(["succeeded", "dead", "cancelled"]),
  attempt: Schema.Int,
  at: Schema.Date
})
/** @see {@link JobEvent} */
export type JobEvent = typeof JobEvent.Type

/** A schema whose encoding needs no services. */
export type Codec<T> = Schema.ConstraintCodec<T, unknown>

/**
 * A kind of job: its name, the schemas of what goes in and comes out, and how it is run.
 *
 * A kind is only a description: `JobQueue.enqueue` takes it, and a handler is attached to it with `JobHandler`.
 */
export interface Kind<out Name extends string, in out Payload, in out Success, in out Failure> {
  readonly name: Name
  readonly queue: string
  readonly payload: Codec<Payload>
  readonly success: Codec<Success>
  readonly error: Codec<Failure>
  readonly retry: Schedule.Schedule<unknown, number>
  readonly maxAttempts: number
  readonly timeout: Duration.Duration
  readonly priority: number
  readonly unique: ((payload: Payload) => string | undefined) | undefined
  readonly whenUnique: "keep" | "replace" | "debounce"
  readonly key: ((payload: Payload) => string | undefined) | undefined
  readonly keyConcurrency: number
  readonly history: "full" | "outcome" | "none"
}

/** The options of {@link make}. */
export interface KindOptions<P extends Codec<unknown>, S extends Codec<unknown>, E extends Codec<unknown>> {
  readonly payload: P
  /** What the handler answers. @default Schema.Void */
  readonly success?: S
  /** What the handler fails with; an error that fits is stored encoded, another one as text. @default Schema.Never */
  readonly error?: E
  /**
   * The queue it waits in: what is paused, rate limited and ordered together. A worker of a queue must have a handler for
   * each of its kinds. @default the kind's own name
   */
  readonly queue?: string
  /**
   * The delay before each next attempt; its input is the number of the attempt that failed. When it ends before
   * `maxAttempts`, its last delay is used. @default 1 s, doubling, at most 5 minutes
   */
  readonly retry?: Schedule.Schedule<unknown, number>
  /** Attempts before the job is dead-lettered, at most 32767. @default 10 */
  readonly maxAttempts?: number
  /** How long one attempt may run before it is interrupted and counted as failed; "Infinity" for ever. @default 1 minute */
  readonly timeout?: Duration.Input
  /**
   * Higher runs first. One step is a head start of one minute, so a waiting job overtakes any finite priority in the end
   * and nothing starves. Between -1000 and 1000. @default 0
   */
  readonly priority?: number
  /** While a job of this kind with the same text (1800 bytes at most) is live, enqueueing another answers the id of the first. */
  readonly unique?: (payload: P["Type"]) => string | undefined
  /**
   * What another such job does to the live one, when that waits: it leaves it as it is ("keep"), gives it its payload, priority, attempts
   * and run time ("replace"), or moves its run time only ("debounce"). When that runs already, "replace" and "debounce" enqueue a new job
   * beside it, which has the text from then on; give the kind a `key` too, and the new one waits for the end of the old one.
   * @default "keep"
   */
  readonly whenUnique?: "keep" | "replace" | "debounce"
  /** Jobs of this kind with the same key (1800 bytes at most) run in their order, `keyConcurrency` at a time. */
  readonly key?: (payload: P["Type"]) => string | undefined
  /** How many jobs of one key may be under way; a job that waits for its retry counts. @default 1 */
  readonly keyConcurrency?: number
  /**
   * What stays when a job has succeeded: everything, everything but payload and result, or nothing.
   * @default "full"
   */
  readonly history?: "full" | "outcome" | "none"
}

/** The delay between attempts when a kind names none: 1 s, doubling, at most 5 minutes. */
export const defaultRetry: Schedule.Schedule<unknown, number> = Schedule.min([
  Schedule.exponential("1 second"),
  Schedule.spaced("5 minutes")
])

const kindRules = {
  payload: JobOption.schema,
  success: JobOption.schema,
  error: JobOption.schema,
  queue: JobOption.name,
  retry: { expected: "a Schedule", holds: Schedule.isSchedule },
  maxAttempts: JobOption.maxAttempts,
  timeout: JobOption.timeout,
  priority: JobOption.priority,
  unique: JobOption.isFunction,
  whenUnique: JobOption.whenUnique,
  key: JobOption.isFunction,
  keyConcurrency: JobOption.keyConcurrency,
  history: JobOption.history
} as const

/**
 * Describes a kind of job. Throws `JobOptionInvalid` for an option that is not what it may be.
 *
 * @example
 * const Welcome = Job.make("mail.welcome", { payload: Schema.Struct({ to: Schema.String }), maxAttempts: 5 })
 */
export const make = <
  const Name extends string,
  P extends Codec<unknown>,
  S extends Codec<unknown> = typeof Schema.Void,
  E extends Codec<unknown> = typeof Schema.Never
>(name: Name, options: KindOptions<P, S, E>): Kind<Name, P["Type"], S["Type"], E["Type"]> => {
  const where = `Job.make(${JobOption.shown(name)})`
  JobOption.assertName(where, name)
  JobOption.assertValid(where, options, kindRules)
  return {
    name,
    queue: options.queue ?? name,
    payload: options.payload,
    success: options.success ?? Schema.Void,
    error: options.error ?? Schema.Never,
    retry: options.retry ?? defaultRetry,
    maxAttempts: options.maxAttempts ?? 10,
    timeout: Duration.fromInputUnsafe(options.timeout ?? "1 minute"),
    priority: options.priority ?? 0,
    unique: options.unique,
    whenUnique: options.whenUnique ?? "keep",
    key: options.key,
    keyConcurrency: options.keyConcurrency ?? 1,
    history: options.history ?? "full"
  }
}

/** What a handler is told about the job it runs. */
export interface Attempt {
  readonly id: JobId
  readonly kind: string
  /** 1 for the first attempt. */
  readonly attempt: number
  readonly maxAttempts: number
  readonly enqueuedAt: Date
}
