/** Runs the jobs of a test to their end, on virtual time. */
import { Context, Duration, Effect, Layer, type Scope } from "effect"
import * as TestClock from "effect/testing/TestClock"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { JobOptionInvalid, JobQueueError } from "../../services/jobs/JobError.ts"
import type { Handler } from "../../services/jobs/JobHandler.ts"
import { JobStore, type QueueStats } from "../../services/jobs/JobStore.ts"
import { JobWorker } from "../../services/jobs/JobWorker.ts"
import * as FastForward from "../../services/jobs/testing/FastForward.ts"
import { JobTestError } from "../../services/jobs/testing/JobTestError.ts"
import * as MemoryJobQueue from "./MemoryJobQueue.ts"
import * as Worker from "./worker/Worker.ts"

/** How far a drain goes. */
export interface DrainOptions {
  /** So much virtual time may pass; what is due later stays where it is. @default "1 hour" */
  readonly within?: Duration.Input
  /** More attempts than these are an endless loop: the drain fails. @default 10000 */
  readonly maxAttempts?: number
  /** Handlers (or batches) at the same time. @default 20 */
  readonly concurrency?: number
}

/** What a drain did. */
export interface Drained {
  readonly succeeded: number
  readonly cancelled: number
  readonly dead: number
  /** Attempts that failed and ran again. */
  readonly retried: number
  /** Jobs that still wait: due later than the drain went, paused, of a queue that no handler is for, or for children that are. */
  readonly waiting: number
  /** How far the clock was moved. */
  readonly elapsed: Duration.Duration
}

type Counts = Omit<Drained, "elapsed">

/** A queue that has jobs and gives none waits for its rate: it is asked again after so long. */
const rateLookMillis = 1_000

const sumOf = (stats: ReadonlyArray<QueueStats>): Counts => {
  const sum = (count: (row: QueueStats) => number) => stats.reduce((total, row) => total + count(row), 0)
  return {
    succeeded: sum((row) => row.succeeded),
    cancelled: sum((row) => row.cancelled),
    dead: sum((row) => row.dead),
    retried: sum((row) => row.retried),
    waiting: sum((row) => row.ready + row.scheduled + row.blocked + row.waiting + row.running)
  }
}

/** A worker that beats and looks seldom, so that the clock gets far in few steps, and that leaves at once. */
const workerOf = <const H extends ReadonlyArray<Handler<unknown>>>(handlers: H, concurrency: number) =>
  Effect.map(
    Layer.build(
      Worker.layer(handlers, { beat: "1 hour", lease: "1 day", poll: "1 hour", drainGrace: 0, concurrency })
    ),
    (context) => Context.get(context, JobWorker)
  )

/** A kind without a handler would be given back and claimed again until the limit. */
const checkKinds = Effect.fnUntraced(function*(handlers: ReadonlyArray<Handler<unknown>>) {
  const admin = yield* JobAdmin
  const kinds = new Set(handlers.map(({ kind }) => kind.name))
  for (const queue of new Set(handlers.map(({ kind }) => kind.queue))) {
    for (const state of ["ready", "scheduled", "blocked", "waiting"] as const) {
      const { jobs } = yield* admin.list({ queue, state, limit: 1_000 })
      const stranger = jobs.find(({ kind }) => !kinds.has(kind))
      if (stranger === undefined) continue
      const detail =
        `job ${stranger.id} of kind "${stranger.kind}" waits in queue "${queue}", and no handler was given for it`
      return yield* new JobTestError({ detail })
    }
  }
  return undefined
})

/** How long until a job of these queues may run; undefined when none waits for time. */
const nextMillis = (queues: ReadonlySet<string>, stats: ReadonlyArray<QueueStats>, dueMillis: number | undefined) => {
  const isRated = stats.some((row) => queues.has(row.queue) && row.ready > 0 && !row.paused)
  return isRated ? Math.min(rateLookMillis, dueMillis ?? Infinity) : dueMillis
}

const draining = Effect.fnUntraced(function*<const H extends ReadonlyArray<Handler<unknown>>>(
  handlers: H,
  { concurrency = 20, maxAttempts = 10_000, within = "1 hour" }: DrainOptions
): Effect.fn.Return<
  Drained,
  JobTestError | JobOptionInvalid | JobQueueError,
  JobStore | JobAdmin | Scope.Scope | Handler.Services<H[number]>
> {
  const clock = yield* FastForward.testClock
  const admin = yield* JobAdmin
  const store = yield* JobStore
  const began = clock.currentTimeMillisUnsafe()
  const untilMillis = began + Duration.toMillis(Duration.fromInputUnsafe(within))
  const queues = new Set(handlers.map(({ kind }) => kind.queue))
  const before = sumOf(yield* admin.stats)
  // Asks what is due; it works on nothing, and is never declared dead.
  const member = yield* store.join({ queues: [], label: "drain", leaseMillis: Infinity, beatMillis: 1 })
  const worker = yield* workerOf(handlers, concurrency)
  const bounded = Effect.flatMap(worker.status, ({ settled }) =>
    settled <= maxAttempts
      ? Effect.void
      : Effect.fail(new JobTestError({ detail: `more than ${maxAttempts} attempts: do jobs enqueue each other?` })))
  while (true) {
    yield* checkKinds(handlers)
    yield* FastForward.forward(worker.idle, untilMillis - clock.currentTimeMillisUnsafe(), bounded)
    yield* bounded
    const { isDue, nextDueMillis } = yield* member.beat
    const next = nextMillis(queues, yield* admin.stats, isDue ? 0 : nextDueMillis)
    if (next === undefined || clock.currentTimeMillisUnsafe() + next > untilMillis) break
    yield* clock.adjust(next)
  }
  const after = sumOf(yield* admin.stats)
  return {
    succeeded: after.succeeded - before.succeeded,
    cancelled: after.cancelled - before.cancelled,
    dead: after.dead - before.dead,
    retried: after.retried - before.retried,
    waiting: after.waiting,
    elapsed: Duration.millis(clock.currentTimeMillisUnsafe() - began)
  }
})

/**
 * Runs the jobs that wait with these handlers, and what they enqueue, as a worker does: with retries, timeouts, keys and
 * priorities. It moves the `TestClock` to the next job that is due, again and again, until none is left within an hour
 * (`within`) of virtual time. Fails with `JobTestError` when handlers do not end in that time, and when there are more
 * attempts than `maxAttempts`.
 *
 * @example
 * const { dead, succeeded } = yield* JobTest.drain([welcome, report])
 */
export const drain = <const H extends ReadonlyArray<Handler<unknown>>>(
  handlers: H,
  options: DrainOptions = {}
): Effect.Effect<
  Drained,
  JobTestError | JobOptionInvalid | JobQueueError,
  JobStore | JobAdmin | Handler.Services<H[number]>
> => Effect.scoped(draining(handlers, options))

/**
 * A queue in memory and a `TestClock`: all that the tests of one's own jobs need. Where there is a `TestClock` already, as in `it.effect`,
 * `MemoryJobQueue.layerMemory` does.
 */
export const layer = Layer.merge(MemoryJobQueue.layerMemory, TestClock.layer())
