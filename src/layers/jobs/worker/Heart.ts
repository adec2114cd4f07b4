import { Clock, Effect, Exit, Latch } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { Beat, Chores, JobStore, Membership } from "../../../services/jobs/JobStore.ts"
import type { WorkerSettings } from "../../../services/jobs/WorkerSettings.ts"
import type { Outage } from "../../../services/postgres/Outage.ts"
import type { Tally } from "./Tally.ts"

/** What a heart works with. */
export interface HeartParts {
  readonly store: JobStore["Service"]
  readonly member: Membership
  readonly settings: WorkerSettings
  readonly tally: Tally
  readonly outage: Outage
  /** Somebody asked to cancel a job that runs here. */
  readonly onCancel: (id: JobId) => Effect.Effect<void>
  /** The fleet has declared this worker dead. */
  readonly onLost: Effect.Effect<void>
  /** Jobs of lost workers, or due ones, were made ready. */
  readonly onReady: () => void
}

/**
 * Shows the fleet that this worker lives. Each beat also finds chores that somebody has to do for all workers: jobs of lost workers to take
 * back, due jobs, the timetable. Chores may wait for the store; the heartbeat does not wait for them.
 */
export class Heart {
  private readonly parts: HeartParts
  private readonly found = Latch.makeUnsafe(false)
  private lost: Beat["lost"] = []
  private isDue = false
  private dueAtMillis: number | undefined

  constructor(parts: HeartParts) {
    this.parts = parts
  }

  /** Beats until the worker is declared dead. */
  get beating(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const { member, onCancel, onLost, outage } = this.parts
        const beat = yield* Effect.exit(member.beat)
        if (Exit.isFailure(beat)) yield* outage.failed("heartbeat", beat.cause)
        else {
          yield* outage.worked
          if (!beat.value.alive) {
            yield* Effect.logWarning(`jobs: worker ${member.worker} was declared dead: joining anew`)
            return yield* onLost
          }
          for (const id of beat.value.cancelled) yield* onCancel(id)
          if (beat.value.deadWorkers > 0) {
            yield* Effect.logWarning(`jobs: ${beat.value.deadWorkers} worker(s) declared dead`)
          }
          this.lost = beat.value.lost
          this.isDue ||= beat.value.isDue
          yield* this.due(beat.value.nextDueMillis)
          this.found.openUnsafe()
        }
        yield* Effect.sleep(this.parts.settings.beatMillis)
      }
    })
  }

  private due(nextMillis: number | undefined): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      this.dueAtMillis = nextMillis === undefined ? undefined : now + nextMillis
    })
  }

  /** Does the chores that each beat finds, and makes due jobs ready when they become due. */
  get tending(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const before = yield* Clock.currentTimeMillis
        const dueMillis = this.dueAtMillis === undefined ? 0 : this.dueAtMillis - before
        const pause = dueMillis > 0 ? dueMillis : this.parts.settings.beatMillis
        const isBeat = yield* Effect.timeoutOption(this.found.await, Math.max(5, pause + 1))
        this.found.closeUnsafe()
        const now = yield* Clock.currentTimeMillis
        const isDue = this.isDue || (this.dueAtMillis !== undefined && this.dueAtMillis <= now)
        this.isDue = false
        if (this.lost.length > 0 || isDue) yield* this.tend(isDue)
        if (isBeat._tag === "Some" && this.parts.settings.crons.length > 0 && !this.parts.tally.isDraining) {
          yield* this.tick
        }
      }
    })
  }

  private tend(isDue: boolean): Effect.Effect<void> {
    return Effect.matchCauseEffect(this.parts.member.tend(this.lost, isDue), {
      // The next beat of any worker finds it again.
      onFailure: (cause) => Effect.logDebug("jobs: could not tend the fleet", cause),
      onSuccess: (done) => this.tended(done, isDue)
    })
  }

  private tended(done: Chores, isDue: boolean): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (done.held === 0) this.lost = []
      if (done.recovered > 0) yield* Effect.logWarning(`jobs: ${done.recovered} job(s) of lost workers recovered`)
      if (isDue) yield* this.due(done.nextDueMillis)
      if (isDue || done.recovered > 0) this.parts.onReady()
    })
  }

  private get tick(): Effect.Effect<void> {
    const { member, outage, settings, store } = this.parts
    // A timetable that dies must not take the jobs with it.
    return Effect.matchCauseEffect(store.tick(member.worker, settings.crons), {
      onSuccess: () => Effect.void,
      onFailure: (cause) => outage.failed("cron", cause)
    })
  }
}
