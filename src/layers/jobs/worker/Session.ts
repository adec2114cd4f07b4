import { Cause, Deferred, Effect, Exit, Queue } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { Handler } from "../../../services/jobs/JobHandler.ts"
import { Reporter } from "../../../services/jobs/JobProgress.ts"
import type { JobStore, Membership } from "../../../services/jobs/JobStore.ts"
import type { WorkerSettings } from "../../../services/jobs/WorkerSettings.ts"
import type { Outage } from "../../../services/postgres/Outage.ts"
import type * as TaskGroup from "../../../services/tasks/TaskGroup.ts"
import { Attempts } from "./Attempts.ts"
import { Backlog } from "./Backlog.ts"
import { Claimer } from "./Claimer.ts"
import { FailureLog } from "./FailureLog.ts"
import { Heart } from "./Heart.ts"
import { Reports } from "./Reports.ts"
import { Runner } from "./Runner.ts"
import { Settler } from "./Settler.ts"
import type { Tally } from "./Tally.ts"
import { Transactions } from "./Transactions.ts"

/** What a session works with. */
export interface SessionParts<R> {
  readonly store: JobStore["Service"]
  readonly member: Membership
  readonly group: TaskGroup.TaskGroup
  readonly handlers: ReadonlyArray<Handler<R>>
  readonly settings: WorkerSettings
  readonly tally: Tally
  readonly outage: Outage
}

/** How a session ended. */
type End = "drained" | "lost" | { readonly interrupted: string }

/**
 * One membership of one worker: claims, runs and settles until it drains or its lease is lost. Its parts touch their state from one thread
 * and between yields only, so they need no locks.
 *
 * ```
 *   Claimer ── jobs ──▶ Runner (Backlog, Attempts) ── verdicts ──▶ Settler
 *      ▲                   │ freed, ready                            │ freed, ready
 *      └───────────────────┴─────────────────────────────────────────┘
 * ```
 */
export class Session<R> {
  private readonly ending = Deferred.makeUnsafe<End>()
  /** What ran, or had run and was not settled, when the first of the tasks ended. */
  private begunAtEnd: ReadonlyArray<JobId> | undefined
  private readonly parts: SessionParts<R>
  private readonly settler: Settler
  private readonly runner: Runner<R>
  private readonly claimer: Claimer<R>
  private readonly heart: Heart
  private readonly failureLog = new FailureLog()
  private readonly reports: Reports

  constructor(parts: SessionParts<R>) {
    const { handlers, member, settings, store } = parts
    this.parts = parts
    const shared = {
      ...parts,
      worker: member.worker,
      leaseMillis: settings.leaseMillis,
      backlog: new Backlog(handlers),
      failureLog: this.failureLog,
      onFreed: () => this.claimer.freed(),
      onReady: () => this.claimer.ready()
    }
    const settler = new Settler(shared)
    const attempts = new Attempts({ ...shared, settler, transactions: new Transactions({ ...shared, store }) })
    const runner = new Runner({ ...shared, settler, attempts })
    this.settler = settler
    this.runner = runner
    this.reports = new Reports({ ...shared, running: (id) => runner.running(id) })
    this.claimer = new Claimer({ ...shared, settler, runner })
    this.heart = new Heart({ ...shared, onCancel: (id) => runner.cancel(id), onLost: this.lost })
  }

  /** Starts the session's own tasks in its group. */
  get start(): Effect.Effect<void, TaskGroup.GroupClosed, R> {
    return Effect.gen({ self: this }, function*() {
      yield* this.vital("signals", this.listen)
      yield* this.vital("heartbeat", this.heart.beating)
      yield* this.vital("chores", this.heart.tending)
      yield* this.vital("settler", this.settler.run)
      yield* this.vital("timeouts", this.runner.timeouts)
      yield* this.vital("failures", this.failureLog.run)
      yield* this.vital("progress", this.reports.run)
      // What runs handlers is forked from here, and has the reporter from here.
      yield* this.vital("claimer", Effect.provideService(this.claimer.run, Reporter, this.reports.take))
    })
  }

  /**
   * Starts a task without which there is no session. Its defect ends the group. It never ends by itself, and nobody here interrupts it: an
   * interruption ends the session.
   */
  private vital(name: string, task: Effect.Effect<void, never, R>): Effect.Effect<void, TaskGroup.GroupClosed, R> {
    const watched = Effect.onExit(task, (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit)) return
        this.begunAtEnd ??= [...this.runner.ids, ...this.settler.ids]
        this.runner.abandon()
        if (Cause.hasInterruptsOnly(exit.cause)) this.conclude({ interrupted: name })
      }))
    return Effect.asVoid(this.parts.group.spawn(watched, { name }))
  }

  private conclude(end: End): void {
    Deferred.doneUnsafe(this.ending, Exit.succeed(end))
  }

  /** Why the session ended. Dies when one of its tasks was interrupted while the session went on. */
  get end(): Effect.Effect<"drained" | "lost"> {
    return Effect.flatMap(
      Deferred.await(this.ending),
      (end) =>
        typeof end === "string" ? Effect.succeed(end) : Effect.andThen(
          // An interruption of the whole session reaches this fiber too, and takes effect here.
          Effect.yieldNow,
          Effect.die(`jobs: the task "${end.interrupted}" was interrupted by somebody else than its worker`)
        )
    )
  }

  /** Waits until the session has ended, however that was. */
  get ended(): Effect.Effect<void> {
    return Effect.asVoid(Deferred.await(this.ending))
  }

  /** Nothing of the session goes on: whoever waits for its end need not wait longer. */
  close(): void {
    this.conclude("lost")
  }

  /**
   * After a defect: gives back the jobs that were claimed and had not begun; no attempt of theirs is counted. Jobs that
   * had begun count, as when a worker dies.
   */
  get giveBack(): Effect.Effect<void> {
    const { member, store } = this.parts
    return Effect.matchCauseEffect(store.giveBackUnknown(member.worker, this.claimer.claims, this.begunAtEnd ?? []), {
      onSuccess: () => Effect.void,
      // Leaving the fleet gives them back all the same, or else the lapse of the lease, which counts an attempt.
      onFailure: (cause) => Effect.logDebug("jobs: could not give back what had not begun", cause)
    })
  }

  /** Waits until a claim that began after this call found nothing, and nothing is under way. */
  get idle(): Effect.Effect<void> {
    return this.claimer.idle
  }

  private get listen(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const signal = yield* Queue.take(this.parts.member.signals)
        if (signal._tag === "Wake") this.claimer.ready()
        else yield* this.runner.cancel(signal.id)
      }
    })
  }

  private get lost(): Effect.Effect<void> {
    return Effect.andThen(this.runner.stopAll("Lost"), Effect.sync(() => this.conclude("lost")))
  }

  /**
   * Claims no more, gives back what has not started, lets handlers finish for the grace, then interrupts them. Ends
   * when everything is settled.
   */
  get drain(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const { settings: { drainGraceMillis, leaseMillis }, tally } = this.parts
      tally.isDraining = true
      this.claimer.drain()
      this.runner.release()
      const finished = Effect.andThen(this.claimer.awaitClosed, this.runner.awaitEmpty)
      yield* Effect.timeoutOption(finished, drainGraceMillis)
      yield* this.runner.stopAll("Drained")
      yield* Effect.timeoutOption(finished, drainGraceMillis)
      this.runner.release()
      yield* Effect.timeoutOption(this.settler.awaitFlushed, leaseMillis)
      this.conclude("drained")
    })
  }
}
