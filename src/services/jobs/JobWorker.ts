import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Shutdown from "../tasks/Shutdown.ts"
import * as TaskGroup from "../tasks/TaskGroup.ts"
import { ClaimWatch } from "./ClaimWatch.ts"
import { JobEngine } from "./JobEngine.ts"
import type { JobQueueError } from "./JobError.ts"
import type { Handler } from "./JobHandler.ts"
import type { EngineOptions, Tally } from "./JobSession.ts"
import { type CronEntry, JobStore } from "./JobStore.ts"

/** What one worker is doing right now. */
export interface WorkerStatus {
  readonly label: string
  /** Jobs whose handler is running. */
  readonly running: number
  /** Jobs claimed and not yet started. */
  readonly buffered: number
  /** Attempts ended since the worker started. */
  readonly settled: number
  /** Settles that were refused because the lease was lost. */
  readonly lost: number
  readonly draining: boolean
  /** For how long it has had room for jobs and no answer to a claim; about the poll's length at most while all is well. */
  readonly claimStalledMillis: number
  readonly leaseMillis: number
}

/** How a worker works. */
export interface WorkerOptions {
  /** Handlers (or batches) at the same time. @default 20 */
  readonly concurrency?: number
  /** Transactions of transactional and batch handlers at the same time; each holds a connection. @default 4 */
  readonly transactions?: number
  /** Jobs claimed in one statement at most. @default 1000 */
  readonly maxClaim?: number
  /** A worker that has not beaten for so long is declared dead by the others. @default 4 seconds */
  readonly lease?: Duration.Input
  /** Time between heartbeats; they also find dead workers and due jobs. @default 500 millis */
  readonly beat?: Duration.Input
  /** How often an idle worker looks without being woken. @default 1 second */
  readonly poll?: Duration.Input
  /** How long a drain waits for running handlers before it interrupts them. @default 10 seconds */
  readonly drainGrace?: Duration.Input
  /** What to enqueue on a timetable; see `JobCron.make`. */
  readonly crons?: ReadonlyArray<CronEntry>
  /** How the worker is shown to operators. @default "worker" */
  readonly label?: string
}

/** A worker of this process: claims, runs and settles until its layer is closed. */
export class JobWorker extends Context.Service<JobWorker, {
  readonly status: Effect.Effect<WorkerStatus>
  /**
   * Stops claiming, gives back what has not started, lets handlers finish for the grace period, then interrupts them and
   * gives their attempts back. Closing the layer does the same.
   */
  readonly drain: Effect.Effect<void>
  /** Waits until this worker finds nothing more to do. For tests and one-shot runs. */
  readonly idle: Effect.Effect<void>
}>()("sluice/services/jobs/JobWorker") {}

const engineOptions = (options: WorkerOptions): EngineOptions => {
  const millis = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))
  const concurrency = Math.max(1, options.concurrency ?? 20)
  return {
    concurrency,
    transactions: Math.max(1, Math.min(concurrency, options.transactions ?? 4)),
    maxClaim: Math.max(1, options.maxClaim ?? 1000),
    beatMillis: Math.max(10, millis(options.beat ?? "500 millis")),
    leaseMillis: Math.max(100, millis(options.lease ?? "4 seconds")),
    pollMillis: Math.max(10, millis(options.poll ?? "1 second")),
    drainGraceMillis: millis(options.drainGrace ?? "10 seconds"),
    crons: options.crons ?? []
  }
}

const make = Effect.fnUntraced(function*<R>(
  handlers: ReadonlyArray<Handler<R>>,
  options: WorkerOptions
): Effect.fn.Return<JobWorker["Service"], JobQueueError, JobStore | R | Scope.Scope> {
  const store = yield* JobStore
  const settings = engineOptions(options)
  const label = options.label ?? "worker"
  const claims = new ClaimWatch(yield* Clock.currentTimeMillis)
  const tally: Tally = { running: 0, buffered: 0, settled: 0, lost: 0, draining: false, claims }
  const queues = [...new Set(handlers.map((handler) => handler.kind.queue))]
  const joining = { queues, label, leaseMillis: settings.leaseMillis, beatMillis: settings.beatMillis }
  const first = yield* Deferred.make<void, JobQueueError>()
  const over = yield* Deferred.make<void>()
  let current: JobEngine<R> | undefined

  /** One membership, from joining to draining or losing the lease. */
  const session = Effect.scoped(Effect.gen(function*() {
    const member = yield* store.join(joining)
    return yield* TaskGroup.use({ name: `jobs ${label}`, onFailure: "cancel" })((group) =>
      Effect.gen(function*() {
        const engine = new JobEngine(store, member, group, handlers, settings, tally)
        yield* engine.start
        current = engine
        yield* Deferred.succeed(first, undefined)
        const why = yield* Deferred.await(engine.ended)
        yield* group.cancel
        return why
      })
    )
  })).pipe(
    // Only a group that is being torn down refuses a task.
    Effect.catchTag("GroupClosed", () => Effect.succeed("lost" as const))
  )

  const run = session.pipe(
    // The first failure to join is the layer's failure; later ones are outages that end.
    Effect.tapError((error) => Deferred.fail(first, error)),
    // A worker that was full and is between two memberships claims nothing, and should.
    Effect.onExit(() => Effect.map(Clock.currentTimeMillis, (now) => claims.wants(now))),
    Effect.tapCause((cause) => tally.draining ? Effect.void : Effect.logWarning("jobs: worker session ended", cause)),
    Effect.retry(Schedule.spaced("500 millis")),
    Effect.repeat({ until: (why) => why === "drained" }),
    Effect.ensuring(Deferred.succeed(over, undefined))
  )

  const drain = Effect.suspend(() => {
    tally.draining = true
    return current === undefined ? Effect.void : current.drain
  })

  yield* Effect.forkScoped(run)
  yield* Deferred.await(first)
  yield* Effect.addFinalizer(() => drain)
  yield* Shutdown.onDrain(`jobs ${label}`, drain)
  return JobWorker.of({
    status: Effect.map(Clock.currentTimeMillis, (now) => ({
      label,
      running: tally.running,
      buffered: tally.buffered,
      settled: tally.settled,
      lost: tally.lost,
      draining: tally.draining,
      claimStalledMillis: claims.stalledMillis(now),
      leaseMillis: settings.leaseMillis
    })),
    drain,
    idle: Effect.suspend(() => current === undefined ? Effect.void : current.idle)
  })
})

/**
 * A worker with these handlers, running until the layer closes. Compose it into any app: it needs a job store (for example
 * `PostgresJobQueue.layer`) and what its handlers need.
 *
 * @example JobWorker.layer([JobHandler.plain(Welcome, sendMail)], { concurrency: 50 })
 */
export const layer = <const H extends ReadonlyArray<Handler<unknown>>>(
  handlers: H,
  options: WorkerOptions = {}
): Layer.Layer<JobWorker, JobQueueError, JobStore | Handler.Services<H[number]>> =>
  Layer.effect(
    JobWorker,
    // The union of what the handlers need is what H says; an array of one type cannot say it.
    make(handlers as ReadonlyArray<Handler<Handler.Services<H[number]>>>, options)
  )
