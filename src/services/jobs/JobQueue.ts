import { Context, Duration, Effect, Layer, Option, Result, Schema, Stream } from "effect"
import * as Foreign from "./Foreign.ts"
import { type JobEvent, JobId, type JobInfo, type Kind } from "./Job.ts"
import { JobNotFound, JobOptionInvalid, JobPayloadInvalid, type JobQueueError } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"
import { JobRecords, JobStore, type NewJob, type Offered } from "./JobStore.ts"

/** How one enqueueing differs from what its kind says. */
export interface EnqueueOptions {
  /** Not before so long from now, by the database's clock; at most 100 years. */
  readonly delay?: Duration.Input
  /** Not before this instant; wins over `delay`. One that has passed means at once. */
  readonly runAt?: Date
  readonly priority?: number
  readonly unique?: string
  /** See `Job.make`: what becomes of the live job that has the unique text. */
  readonly whenUnique?: "keep" | "replace" | "debounce"
  readonly key?: string
  /**
   * Whose job it is, 1 to 200 characters: the tenants of a queue that wait take turns, one job each, however many each has. What is
   * scheduled, retried or redriven comes by its time. Without a tenant a job goes by its time.
   */
  readonly tenant?: string
  readonly maxAttempts?: number
}

/** Why nothing was enqueued. */
export type EnqueueError = JobPayloadInvalid | JobOptionInvalid | JobQueueError

/**
 * The queue as producers see it: typed jobs in, ids out.
 *
 * `enqueue` and `enqueueMany` join the SQL transaction they are called in: when it rolls back, the job never was.
 */
export class JobQueue extends Context.Service<JobQueue, {
  /** Enqueues one job. A unique job that is already live answers the id of the first, and becomes what `whenUnique` says. */
  readonly enqueue: <N extends string, P, S, F>(
    kind: Kind<N, P, S, F>,
    payload: P,
    options?: EnqueueOptions
  ) => Effect.Effect<JobId, EnqueueError>
  /** Enqueues many jobs in one statement, all or none; the ids are in the order of the payloads. */
  readonly enqueueMany: <N extends string, P, S, F>(
    kind: Kind<N, P, S, F>,
    payloads: ReadonlyArray<P>,
    options?: EnqueueOptions
  ) => Effect.Effect<ReadonlyArray<JobId>, EnqueueError>
  /**
   * Enqueues one job and says what became of it: `inserted`, or `kept` or `replaced` (moved, when debounced) with the id of the live job
   * that has its unique text. Joins the caller's transaction; until that ends, the live job is claimed by nobody.
   */
  readonly offer: <N extends string, P, S, F>(
    kind: Kind<N, P, S, F>,
    payload: P,
    options?: EnqueueOptions
  ) => Effect.Effect<Offered, EnqueueError>
  /**
   * Runs an effect in one transaction of the queue's own database, together with what it enqueues. In Postgres a
   * statement gets no more than is left of the caller's deadline: the server stops it then, a `JobQueueError` that
   * `TimedOut`.
   */
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | JobQueueError, R>
  /**
   * Cancels a job. A waiting one is gone at once (`cancelled`); a running one is interrupted by its worker soon
   * (`requested`); one that has ended is left as it is (`finished`).
   */
  readonly cancel: (
    id: JobId
  ) => Effect.Effect<"cancelled" | "requested" | "finished", JobNotFound | JobQueueError>
  readonly find: (id: JobId) => Effect.Effect<Option.Option<JobInfo>, JobQueueError>
  /**
   * Waits until a job has ended; put your own timeout around it. In Postgres it looks every 50 ms, in memory it is told.
   * A success of a kind with `history: "none"` leaves nothing to be found: a job that was there when the wait began, and
   * is gone, has succeeded (its result and times are not known); a job that was not there is `JobNotFound`.
   */
  readonly ended: (id: JobId) => Effect.Effect<JobInfo, JobNotFound | JobQueueError>
  /** What ends from now on, over all processes, about a quarter of a second after it happened. */
  readonly events: Stream.Stream<JobEvent, JobQueueError>
}>()("sluice/services/jobs/JobQueue") {}

/** The JSON text of a payload, or why it has none. */
type Encoder = (payload: unknown) => Result.Result<string, string>

/** Compiling a codec costs far more than using it, so each kind's is kept as long as the kind itself. */
const encoders = new WeakMap<object, Encoder>()

const encoderOf = <N extends string, P, S, F>(kind: Kind<N, P, S, F>): Encoder => {
  const known = encoders.get(kind)
  if (known !== undefined) return known
  const encode = Schema.encodeUnknownResult(Schema.toCodecJson(kind.payload))
  const encoder: Encoder = (payload) => {
    const encoded = encode(payload)
    return Result.isFailure(encoded)
      ? Result.fail(encoded.failure.message)
      : Result.succeed(JSON.stringify(encoded.success) ?? "null")
  }
  encoders.set(kind, encoder)
  return encoder
}

/** A codec is the user's code: an error that it throws is taken for its answer. */
const encode = <N extends string, P, S, F>(kind: Kind<N, P, S, F>, payload: P): Result.Result<string, string> =>
  Result.getOrElse(Result.try(() => encoderOf(kind)(payload)), (error) => Result.fail(Foreign.thrown(error)))

const enqueueRules = {
  delay: JobOption.delay,
  runAt: JobOption.instant,
  priority: JobOption.priority,
  unique: JobOption.key,
  whenUnique: JobOption.whenUnique,
  key: JobOption.key,
  tenant: JobOption.name,
  maxAttempts: JobOption.maxAttempts
} as const

/** The text that the kind's own function says of a payload; null when it says none. */
const textOf = <N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  which: "unique" | "key",
  payload: P
): Result.Result<string | null, JobOptionInvalid> => {
  const of = kind[which]
  if (of === undefined) return Result.succeed(null)
  const invalid = (given: string) =>
    new JobOptionInvalid({
      where: `kind "${kind.name}"`,
      option: `${which}(payload)`,
      given,
      expected: `${JobOption.key.expected}, or undefined`
    })
  return Result.flatMap(
    Result.try({ try: () => of(payload) ?? null, catch: (error) => invalid(`not said: ${Foreign.thrown(error)}`) }),
    (text) =>
      text === null || JobOption.key.holds(text) ? Result.succeed(text) : Result.fail(invalid(JobOption.shown(text)))
  )
}

/** What is wrong with the options of an enqueueing. */
export const invalidOptions = <N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  options: EnqueueOptions | undefined
): JobOptionInvalid | undefined => JobOption.invalid(`a job of kind "${kind.name}"`, options, enqueueRules)

/** The stored form of a job with valid options; fails when the payload is not what it may be. */
export const prepare = <N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  payload: P,
  options: EnqueueOptions | undefined
): Result.Result<NewJob, JobPayloadInvalid | JobOptionInvalid> => {
  const encoded = encode(kind, payload)
  if (Result.isFailure(encoded)) {
    return Result.fail(new JobPayloadInvalid({ kind: kind.name, issue: encoded.failure }))
  }
  const unique = options?.unique === undefined ? textOf(kind, "unique", payload) : Result.succeed(options.unique)
  if (Result.isFailure(unique)) return Result.fail(unique.failure)
  const key = options?.key === undefined ? textOf(kind, "key", payload) : Result.succeed(options.key)
  if (Result.isFailure(key)) return Result.fail(key.failure)
  return Result.succeed({
    queue: kind.queue,
    kind: kind.name,
    payload: encoded.success,
    priority: options?.priority ?? kind.priority,
    maxAttempts: options?.maxAttempts ?? kind.maxAttempts,
    delayMillis: options?.delay === undefined ? 0 : Duration.toMillis(Duration.fromInputUnsafe(options.delay)),
    runAtMillis: options?.runAt === undefined ? null : options.runAt.getTime(),
    unique: unique.success,
    whenUnique: options?.whenUnique ?? kind.whenUnique,
    key: key.success,
    keyConcurrency: kind.keyConcurrency,
    tenant: options?.tenant ?? null
  })
}

const isJobId = Schema.is(JobId)
const isFinal = (info: JobInfo) => info.state === "succeeded" || info.state === "dead" || info.state === "cancelled"

const make = Effect.gen(function*() {
  const store = yield* JobStore
  const records = yield* JobRecords

  const enqueueMany: JobQueue["Service"]["enqueueMany"] = (kind, payloads, options) =>
    Effect.suspend((): Effect.Effect<ReadonlyArray<JobId>, EnqueueError> => {
      const wrong = invalidOptions(kind, options)
      if (wrong !== undefined) return Effect.fail(wrong)
      const jobs: Array<NewJob> = []
      for (const payload of payloads) {
        const prepared = prepare(kind, payload, options)
        if (Result.isFailure(prepared)) return Effect.fail(prepared.failure)
        jobs.push(prepared.success)
      }
      return jobs.length === 0 ? Effect.succeed([]) : store.insert(jobs)
    })

  /** A text that is no id belongs to no job: the store is not asked. */
  const found = (id: JobId) => isJobId(id) ? records.find(id) : Effect.undefined

  return JobQueue.of({
    enqueue: (kind, payload, options) =>
      Effect.flatMap(
        enqueueMany(kind, [payload], options),
        // A store answers one id per job, in order.
        (ids) => ids[0] === undefined ? Effect.die("JobStore.insert answered no id") : Effect.succeed(ids[0])
      ),
    enqueueMany,
    offer: (kind, payload, options) =>
      Effect.suspend((): Effect.Effect<Offered, EnqueueError> => {
        const wrong = invalidOptions(kind, options)
        if (wrong !== undefined) return Effect.fail(wrong)
        const prepared = prepare(kind, payload, options)
        return Result.isFailure(prepared) ? Effect.fail(prepared.failure) : store.offer(prepared.success)
      }),
    transaction: (effect) => store.transact(effect),
    cancel: Effect.fn("JobQueue.cancel")(function*(id: JobId) {
      const outcome = isJobId(id) ? yield* records.cancel(id) : "unknown"
      return outcome === "unknown" ? yield* new JobNotFound({ id }) : outcome
    }),
    find: (id) => Effect.map(found(id), Option.fromUndefinedOr),
    ended: Effect.fn("JobQueue.ended")(function*(id: JobId) {
      let seen: JobInfo | undefined
      const look = Effect.flatMap(found(id), (info): Effect.Effect<JobInfo, JobNotFound> => {
        if (info === undefined) {
          // Only a success of a kind that keeps no history leaves no trace.
          return seen === undefined
            ? Effect.fail(new JobNotFound({ id }))
            : Effect.succeed({ ...seen, state: "succeeded", failure: null })
        }
        seen = info
        return Effect.succeed(info)
      })
      let info = yield* look
      while (!isFinal(info)) info = yield* Effect.andThen(records.mayHaveEnded(id), look)
      return info
    }),
    events: Stream.unwrap(
      Effect.map(records.ended(undefined), ({ cursor }) =>
        Stream.paginate(cursor, (cursor) =>
          Effect.map(
            Effect.delay(records.ended(cursor), "250 millis"),
            (page) => [page.events, Option.some(page.cursor)] as const
          )))
    )
  })
})

/** The queue on any job storage. */
export const layer: Layer.Layer<JobQueue, never, JobStore | JobRecords> = Layer.effect(JobQueue, make)
