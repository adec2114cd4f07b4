import { Clock, Effect, Exit, Latch } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { Beat, Chores, Membership } from "../../../services/jobs/JobStore.ts"
import type { Session } from "./WorkerTypes.ts"

/** What a heartbeat means to the rest of its session. */
export interface HeartListener {
  readonly cancel: (id: JobId) => Effect.Effect<void>
  /** The fleet has declared this worker dead. */
  readonly lost: Effect.Effect<void>
}

/**
 * Shows the fleet that this worker lives, and does what it finds to do for all: jobs of lost workers, due jobs, the timetable. Those may wait for the store;
 * the heartbeat waits for none of them.
 */
export class JobHeart {
  private readonly session: Session
  private readonly member: Membership
  private readonly listener: HeartListener
  private readonly found = Latch.makeUnsafe(false)
  private lost: Beat["lost"] = []
  private isDue = false
  private dueAtMillis: number | undefined

  constructor(session: Session, member: Membership, listener: HeartListener) {
    this.session = session
    this.member = member
    this.listener = listener
  }

  /** Milliseconds until the next scheduled job is due; undefined when none is known of. */
  nextDueMillis(nowMillis: number): number | undefined {
    return this.dueAtMillis === undefined || this.dueAtMillis <= nowMillis ? undefined : this.dueAtMillis - nowMillis
  }

  /** Beats until the worker is declared dead. */
  get beating(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const beat = yield* Effect.exit(this.member.beat)
        if (Exit.isFailure(beat)) yield* this.session.outage.failed("heartbeat", beat.cause)
        else {
          yield* this.session.outage.worked
          if (!beat.value.alive) {
            yield* Effect.logWarning(`jobs: worker ${this.session.worker} was declared dead: joining anew`)
            return yield* this.listener.lost
          }
          for (const id of beat.value.cancelled) yield* this.listener.cancel(id)
          if (beat.value.deadWorkers > 0) {
            yield* Effect.logWarning(`jobs: ${beat.value.deadWorkers} worker(s) declared dead`)
          }
          this.lost = beat.value.lost
          this.isDue ||= beat.value.isDue
          yield* this.due(beat.value.nextDueMillis)
          this.found.openUnsafe()
        }
        yield* Effect.sleep(this.session.options.beatMillis)
      }
    })
  }

  private due(nextMillis: number | undefined): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      this.dueAtMillis = nextMillis === undefined ? undefined : now + nextMillis
    })
  }

  /** Does after each beat what that found, and when a job becomes due what is due. */
  get tending(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const before = yield* Clock.currentTimeMillis
        const pause = this.nextDueMillis(before) ?? this.session.options.beatMillis
        const isBeat = yield* Effect.timeoutOption(this.found.await, Math.max(5, pause + 1))
        this.found.closeUnsafe()
        const now = yield* Clock.currentTimeMillis
        const isDue = this.isDue || (this.dueAtMillis !== undefined && this.dueAtMillis <= now)
        this.isDue = false
        if (this.lost.length > 0 || isDue) yield* this.tend(isDue)
        if (isBeat._tag === "Some" && this.session.options.crons.length > 0 && !this.session.tally.draining) {
          yield* this.tick
        }
      }
    })
  }

  private tend(isDue: boolean): Effect.Effect<void> {
    return Effect.matchCauseEffect(this.member.tend(this.lost, isDue), {
      // The next beat, of whomever, finds it again.
      onFailure: (cause) => Effect.logDebug("jobs: could not tend the fleet", cause),
      onSuccess: (done) => this.tended(done, isDue)
    })
  }

  private tended(done: Chores, isDue: boolean): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (done.held === 0) this.lost = []
      if (done.recovered > 0) yield* Effect.logWarning(`jobs: ${done.recovered} job(s) of lost workers recovered`)
      if (isDue) yield* this.due(done.nextDueMillis)
      if (isDue || done.recovered > 0) this.session.onReady()
    })
  }

  private get tick(): Effect.Effect<void> {
    // A timetable that dies must not take the jobs with it.
    return Effect.matchCauseEffect(this.session.store.tick(this.session.worker, this.session.options.crons), {
      onSuccess: () => Effect.void,
      onFailure: (cause) => this.session.outage.failed("cron", cause)
    })
  }
}
