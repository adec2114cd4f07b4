import { Clock, Effect, Queue, type Scope } from "effect"
import type { JobId } from "../../services/jobs/Job.ts"
import type { Beat, Chores, JoinOptions, Membership, Signal } from "../../services/jobs/JobStore.ts"
import type { MemoryJobTable } from "./MemoryJobTable.ts"

interface Member {
  readonly options: JoinOptions
  readonly signals: Queue.Queue<Signal>
  isIdle: boolean
  beatAt: number
  /** Claims up to this number are refused. */
  sealed: number
  /** When it left or was declared dead: it claims nothing, and stays until its jobs are free. */
  lostAt: number | undefined
}

/** The workers of the in-memory queue: who is a member, who sleeps, who is lost, and what is taken back from those. */
export class MemoryFleet {
  private readonly table: MemoryJobTable
  private readonly members = new Map<number, Member>()
  private lastWorker = 0

  constructor(table: MemoryJobTable) {
    this.table = table
  }

  has(worker: number): boolean {
    return this.members.has(worker)
  }

  /** When this worker was lost, in epoch milliseconds; undefined while it is a member, null when there is none of that number. */
  lostAt(worker: number): number | undefined | null {
    const member = this.members.get(worker)
    return member === undefined ? null : member.lostAt
  }

  /** Whether a claim is carried out: its worker is a member and has not given it up. */
  mayClaim(worker: number, nth: number): boolean {
    const member = this.members.get(worker)
    return member !== undefined && member.lostAt === undefined && member.sealed < nth
  }

  /** Refuses the claims of a worker up to the `nth` from now on; false when they are refused already. */
  seal(worker: number, nth: number): boolean {
    const member = this.members.get(worker)
    if (member === undefined || member.sealed >= nth) return false
    member.sealed = nth
    return true
  }

  /** Tells sleeping workers of these queues. */
  wake(queues: Iterable<string>): void {
    const touched = new Set(queues)
    for (const member of this.members.values()) {
      if (member.isIdle && member.options.queues.some((queue) => touched.has(queue))) {
        Queue.offerUnsafe(member.signals, { _tag: "Wake" })
      }
    }
  }

  wakeAll(): void {
    for (const member of this.members.values()) Queue.offerUnsafe(member.signals, { _tag: "Wake" })
  }

  /** Tells a worker that one of its jobs is to be cancelled. */
  cancel(worker: number, id: JobId): void {
    const member = this.members.get(worker)
    if (member !== undefined) Queue.offerUnsafe(member.signals, { _tag: "Cancel", id })
  }

  /** Joins until the scope closes. */
  join(options: JoinOptions): Effect.Effect<Membership, never, Scope.Scope> {
    return Effect.gen({ self: this }, function*() {
      const worker = ++this.lastWorker
      const signals = yield* Queue.sliding<Signal>(1024)
      const beatAt = yield* Clock.currentTimeMillis
      const member: Member = { options, signals, isIdle: false, beatAt, sealed: 0, lostAt: undefined }
      this.members.set(worker, member)
      yield* Effect.addFinalizer(() =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          this.lose(member, now)
          this.bury(now)
        })
      )
      return {
        worker,
        signals,
        idle: (isIdle) => Effect.sync(() => void (member.isIdle = isIdle)),
        beat: Effect.map(Clock.currentTimeMillis, (now) => this.beat(worker, member, now)),
        tend: (_, isDue) => Effect.map(Clock.currentTimeMillis, (now) => this.tend(isDue, now))
      }
    })
  }

  private lose(member: Member, now: number): void {
    member.lostAt ??= now
    member.isIdle = false
  }

  private beat(worker: number, self: Member, now: number): Beat {
    if (self.lostAt !== undefined) {
      return { alive: false, deadWorkers: 0, lost: [], isDue: false, nextDueMillis: undefined, cancelled: [] }
    }
    self.beatAt = now
    let deadWorkers = 0
    for (const member of this.members.values()) {
      if (member.lostAt !== undefined || now - member.beatAt <= member.options.leaseMillis) continue
      this.lose(member, now)
      deadWorkers++
    }
    const live = [...this.table.live.values()]
    return {
      alive: true,
      deadWorkers,
      lost: [...this.members].flatMap(([id, member]) => member.lostAt === undefined ? [] : [id]),
      cancelled: live.filter((row) => row.worker === worker && row.cancelRequested).map((row) => row.id),
      isDue: live.some((row) => row.state === "scheduled" && row.runAt <= now),
      nextDueMillis: this.table.nextDue(now)
    }
  }

  private tend(isDue: boolean, now: number): Chores {
    const buried = this.bury(now)
    if (isDue) this.table.promote(now)
    return { ...buried, nextDueMillis: this.table.nextDue(now) }
  }

  /** Takes back what lost workers run, and forgets those of whom nothing is left. */
  private bury(now: number): { readonly recovered: number; readonly held: number } {
    const buried = { recovered: 0, held: 0 }
    for (const [id, member] of this.members) {
      if (member.lostAt === undefined) continue
      const { held, recovered } = this.table.recover(id, now)
      buried.recovered += recovered
      buried.held += held
      if (held === 0) this.members.delete(id)
    }
    if (buried.recovered > 0) this.wake([...this.table.live.values()].map((row) => row.queue))
    return buried
  }
}
