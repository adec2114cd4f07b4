import { Cause, Clock, Deferred, Effect, Exit, Latch, Layer, Schedule, type Scope } from "effect"
import { JobOptionInvalid, type JobQueueError } from "../../../services/jobs/JobError.ts"
import type { Handler } from "../../../services/jobs/JobHandler.ts"
import { JobStore, type Membership } from "../../../services/jobs/JobStore.ts"
import { JobWorker, type WorkerOptions } from "../../../services/jobs/JobWorker.ts"
import * as WorkerSettings from "../../../services/jobs/WorkerSettings.ts"
import { Outage } from "../../../services/postgres/Outage.ts"
import * as Shutdown from "../../../services/tasks/Shutdown.ts"
import * as Supervisor from "../../../services/tasks/Supervisor.ts"
import * as TaskGroup from "../../../services/tasks/TaskGroup.ts"
import { Session } from "./Session.ts"
import { Tally } from "./Tally.ts"

/** A session that ended unplanned is followed by another after so long. */
const rejoin = Schedule.spaced("500 millis")

/** Handlers that cannot be interrupted still have so long at least. */
const graceMinMillis = 1_000

/** The defect of a session that ended by an interruption of its own. */
const interrupted = "jobs: the session was interrupted from within"

/** A worker over all its memberships: when one ends and the worker does not drain, it joins the fleet again. */
class Worker<R> {
  private readonly store: JobStore["Service"]
  private readonly handlers: ReadonlyArray<Handler<R>>
  private readonly settings: WorkerSettings.WorkerSettings
  private readonly tally: Tally
  private readonly outage: Outage
  /** The session of the moment. */
  private session: Session<R> | undefined
  /** Open while there is one. */
  private readonly joined = Latch.makeUnsafe(false)
  private readonly first = Deferred.makeUnsafe<void, JobQueueError>()
  private readonly over = Latch.makeUnsafe(false)

  constructor(
    store: JobStore["Service"],
    handlers: ReadonlyArray<Handler<R>>,
    settings: WorkerSettings.WorkerSettings,
    nowMillis: number
  ) {
    this.store = store
    this.handlers = handlers
    this.settings = settings
    this.tally = new Tally(nowMillis)
    this.outage = new Outage(`jobs: the store does not answer the worker "${settings.label}"`)
  }

  /** Joins the fleet again and again until it has drained. */
  get run(): Effect.Effect<void, never, R> {
    return this.membership.pipe(
      Effect.tapError((error) => this.tally.isDraining ? Effect.void : this.outage.failed("joining", error)),
      Effect.retry(rejoin),
      Effect.repeat({ until: (why) => why === "drained" }),
      // A defect is logged, and another session begins after a while: a worker that stays away helps nobody.
      Supervisor.run({ name: `worker ${this.settings.label}`, maxRestarts: Infinity }),
      // It never gives up.
      Effect.orDie,
      Effect.ensuring(Effect.sync(() => this.outage.forget())),
      Effect.ensuring(this.over.open),
      Effect.asVoid
    )
  }

  /** The first session has begun, or could not. */
  get started(): Effect.Effect<void, JobQueueError> {
    return Deferred.await(this.first)
  }

  get service(): JobWorker["Service"] {
    return JobWorker.of({
      status: Effect.map(Clock.currentTimeMillis, (now) => this.tally.status(this.settings, now)),
      drain: this.drain,
      idle: this.idle
    })
  }

  /** One membership, from joining to draining or losing the lease. */
  private get membership(): Effect.Effect<"drained" | "lost", JobQueueError, R> {
    const { beatMillis, label, leaseMillis } = this.settings
    const queues = [...new Set(this.handlers.map((handler) => handler.kind.queue))]
    return Effect.scoped(Effect.gen({ self: this }, function*() {
      const member = yield* this.store.join({ queues, label, leaseMillis, beatMillis })
      yield* this.outage.worked
      return this.tally.isDraining ? "drained" as const : yield* Effect.scoped(this.working(member))
    })).pipe(
      // Only a group that is being torn down refuses a task.
      Effect.catchTag("GroupClosed", () => Effect.succeed("lost" as const)),
      // An interruption of this fiber passes by here. One that arrives here came from within, and would be taken for the end.
      Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.die(interrupted) : Effect.failCause(cause)),
      // The first failure to join is the layer's failure; later ones are outages that end.
      Effect.tapCause((cause) => Deferred.failCause(this.first, cause)),
      // A worker that was full and is between two memberships claims nothing, and should.
      Effect.onExit(() => Effect.map(Clock.currentTimeMillis, (now) => this.tally.claims.wants(now)))
    )
  }

  private working(
    member: Membership
  ): Effect.Effect<"drained" | "lost", TaskGroup.GroupClosed, R | Scope.Scope> {
    const { handlers, outage, settings, store, tally } = this
    // A handler that cannot be interrupted is left behind, as if its worker had died: it must not keep the program from ending.
    const grace = Math.max(graceMinMillis, settings.drainGraceMillis)
    return TaskGroup.use({ name: `jobs ${settings.label}`, onFailure: "cancel", grace })((group) =>
      Effect.gen({ self: this }, function*() {
        const session = new Session({ store, member, group, handlers, settings, tally, outage })
        yield* Effect.addFinalizer((exit) => {
          this.leave(session)
          return Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? session.giveBack : Effect.void
        })
        this.session = session
        this.joined.openUnsafe()
        // It has joined: what dies from here on is the session's affair and no longer the layer's.
        yield* Deferred.succeed(this.first, undefined)
        yield* session.start
        const why = yield* session.end
        yield* group.cancel
        return why
      })
    )
  }

  private leave(session: Session<R>): void {
    this.session = undefined
    this.tally.buffered = 0
    this.joined.closeUnsafe()
    session.close()
  }

  get drain(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { session, tally } = this
      tally.isDraining = true
      return session === undefined ? Effect.void : Effect.raceFirst(session.drain, session.ended)
    })
  }

  /** Waits until a session of this worker, or the worker itself, has nothing more to do. */
  private get idle(): Effect.Effect<void> {
    // A session that ended meanwhile has no answer: the next one is asked.
    const answer = Effect.suspend(() =>
      this.session === undefined
        ? Effect.succeed(false)
        : Effect.raceFirst(Effect.as(this.session.idle, true), Effect.as(this.session.ended, false))
    )
    const asked = Effect.repeat(Effect.andThen(this.joined.await, answer), { until: (isIdle) => isIdle })
    return Effect.raceFirst(Effect.asVoid(asked), this.over.await)
  }
}

const make = Effect.fnUntraced(function*<R>(
  handlers: ReadonlyArray<Handler<R>>,
  settings: WorkerSettings.WorkerSettings
): Effect.fn.Return<JobWorker["Service"], JobQueueError, JobStore | R | Scope.Scope> {
  yield* WorkerSettings.checkLease(settings)
  const worker = new Worker(yield* JobStore, handlers, settings, yield* Clock.currentTimeMillis)
  yield* Effect.forkScoped(worker.run)
  yield* worker.started
  yield* Effect.addFinalizer(() => worker.drain)
  yield* Shutdown.onDrain(`jobs ${settings.label}`, worker.drain)
  return worker.service
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
  const settings = WorkerSettings.of("JobWorker.layer", options)
  const kinds = handlers.map(({ kind }) => kind.name)
  const twice = kinds.find((kind, index) => kinds.indexOf(kind) !== index)
  if (twice !== undefined) {
    const where = `JobWorker.layer, kind ${JSON.stringify(twice)}`
    throw new JobOptionInvalid({ where, option: "handlers", given: "two", expected: "one for each kind" })
  }
  return Layer.effect(
    JobWorker,
    // The union of what the handlers need is what H says; an array of one type cannot say it.
    make(handlers as ReadonlyArray<Handler<Handler.Services<H[number]>>>, settings)
  )
}
