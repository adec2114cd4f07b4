import { Cause, Clock, Deferred, Duration, Effect, Exit, Latch, Layer, Schedule, type Scope } from "effect"
import { JobQueueError } from "../../../services/jobs/JobError.ts"
import type { Handler } from "../../../services/jobs/JobHandler.ts"
import * as JobOption from "../../../services/jobs/JobOption.ts"
import { JobStore, type Membership } from "../../../services/jobs/JobStore.ts"
import { JobWorker, type WorkerOptions } from "../../../services/jobs/JobWorker.ts"
import * as Shutdown from "../../../services/tasks/Shutdown.ts"
import * as Supervisor from "../../../services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../services/tasks/TaskGroup.ts"
import { ClaimWatch } from "./ClaimWatch.ts"
import { JobEngine } from "./Session.ts"
import type { EngineOptions, Tally } from "./WorkerTypes.ts"

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

const engineOptions = (options: WorkerOptions): EngineOptions => {
  const millis = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))
  const concurrency = options.concurrency ?? 20
  const leaseMillis = Math.ceil(millis(options.lease ?? "4 seconds"))
  return {
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

/** A beat that is a little late must not be missed, and who looks for the dead has to be well himself: that takes a few beats in a lease. */
const minBeats = 3

const checkLease = ({ beatMillis, leaseMillis }: EngineOptions): Effect.Effect<void, JobQueueError> =>
  leaseMillis >= minBeats * beatMillis ? Effect.void : Effect.fail(
    new JobQueueError({
      operation: "join",
      reason: "Rejected",
      detail: `a lease of ${leaseMillis} ms is too short for a beat every ${beatMillis} ms: it has to be ${
        minBeats * beatMillis
      } ms at least`
    })
  )

/** The defect of a session that ended by an interruption of its own. */
const interrupted = "jobs: the session was interrupted from within"

const make = Effect.fnUntraced(function*<R>(
  handlers: ReadonlyArray<Handler<R>>,
  options: WorkerOptions
): Effect.fn.Return<JobWorker["Service"], JobQueueError, JobStore | R | Scope.Scope> {
  const store = yield* JobStore
  const settings = engineOptions(options)
  yield* checkLease(settings)
  const label = options.label ?? "worker"
  const claims = new ClaimWatch(yield* Clock.currentTimeMillis)
  const tally: Tally = { running: 0, buffered: 0, settled: 0, lost: 0, draining: false, claims }
  const queues = [...new Set(handlers.map((handler) => handler.kind.queue))]
  const joining = { queues, label, leaseMillis: settings.leaseMillis, beatMillis: settings.beatMillis }
  const first = yield* Deferred.make<void, JobQueueError>()
  const over = yield* Deferred.make<void>()
  const joined = Latch.makeUnsafe(false)
  let current: JobEngine<R> | undefined

  const enter = (engine: JobEngine<R>) =>
    Effect.sync(() => {
      current = engine
      joined.openUnsafe()
    })
  const leave = (engine: JobEngine<R>) =>
    Effect.sync(() => {
      current = undefined
      tally.buffered = 0
      joined.closeUnsafe()
      Deferred.doneUnsafe(engine.ended, Exit.succeed("lost"))
    })

  const sessionOf = (member: Membership) =>
    // A handler that cannot be interrupted is left behind, as if its worker had died: it must not keep the program from ending.
    TaskGroup.use({ name: `jobs ${label}`, onFailure: "cancel", grace: Math.max(1_000, settings.drainGraceMillis) })((
      group
    ) =>
      Effect.gen(function*() {
        const engine = new JobEngine(store, member, group, handlers, settings, tally)
        yield* Effect.addFinalizer((exit) =>
          Effect.andThen(
            leave(engine),
            Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? engine.giveBack : Effect.void
          )
        )
        yield* enter(engine)
        // It has joined: what dies from here on is the session's affair and no longer the layer's.
        yield* Deferred.succeed(first, undefined)
        yield* engine.start
        const why = yield* engine.end
        yield* group.cancel
        return why
      })
    )

  /** One membership, from joining to draining or losing the lease. */
  const session = Effect.scoped(Effect.gen(function*() {
    const member = yield* store.join(joining)
    return tally.draining ? "drained" as const : yield* Effect.scoped(sessionOf(member))
  })).pipe(
    // Only a group that is being torn down refuses a task.
    Effect.catchTag("GroupClosed", () => Effect.succeed("lost" as const)),
    // An interruption of this fiber passes by here: this one came from within, and would be taken for the end.
    Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.die(interrupted) : Effect.failCause(cause)),
    // The first failure to join is the layer's failure; later ones are outages that end.
    Effect.tapCause((cause) => Deferred.failCause(first, cause)),
    // A worker that was full and is between two memberships claims nothing, and should.
    Effect.onExit(() => Effect.map(Clock.currentTimeMillis, (now) => claims.wants(now)))
  )

  const run = session.pipe(
    Effect.tapError((error) => tally.draining ? Effect.void : Effect.logWarning("jobs: worker session ended", error)),
    Effect.retry(Schedule.spaced("500 millis")),
    Effect.repeat({ until: (why) => why === "drained" }),
    // A defect is nobody's plan, but a worker that sits idle for ever helps nobody: it is logged, and there is another session after a while.
    Supervisor.run({ name: `worker ${label}`, maxRestarts: Infinity }),
    // It never gives up.
    Effect.orDie,
    Effect.ensuring(Deferred.succeed(over, undefined))
  )

  const drain = Effect.suspend(() => {
    tally.draining = true
    return current === undefined ? Effect.void : Effect.raceFirst(current.drain, Deferred.await(current.ended))
  })

  /** Asks the membership of the moment; one that ended meanwhile has no answer. */
  const isIdle = Effect.andThen(
    joined.await,
    Effect.suspend(() =>
      current === undefined
        ? Effect.succeed(false)
        : Effect.raceFirst(Effect.as(current.idle, true), Effect.as(Deferred.await(current.ended), false))
    )
  )

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
    idle: Effect.raceFirst(Effect.asVoid(Effect.repeat(isIdle, { until: (answer) => answer })), Deferred.await(over))
  })
})

/**
 * A worker with these handlers, running until the layer closes. Compose it into any app: it needs a job store (for example
 * `PostgresJobQueue.layer`) and what its handlers need. Throws `JobOptionInvalid` for an option that is not what it may be.
 *
 * @example JobWorker.layer([JobHandler.plain(Welcome, sendMail)], { concurrency: 50 })
 */
export const layer = <const H extends ReadonlyArray<Handler<unknown>>>(
  handlers: H,
  options: WorkerOptions = {}
): Layer.Layer<JobWorker, JobQueueError, JobStore | Handler.Services<H[number]>> => {
  JobOption.assertValid("JobWorker.layer", options, rules)
  return Layer.effect(
    JobWorker,
    // The union of what the handlers need is what H says; an array of one type cannot say it.
    make(handlers as ReadonlyArray<Handler<Handler.Services<H[number]>>>, options)
  )
}
