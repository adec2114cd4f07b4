import { type Cause, Clock, Effect, Exit, Fiber, Latch } from "effect"
import * as Foreign from "../../../services/jobs/Foreign.ts"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { ClaimedJob } from "../../../services/jobs/JobStore.ts"
import type { WorkerSettings } from "../../../services/jobs/WorkerSettings.ts"
import type * as TaskGroup from "../../../services/tasks/TaskGroup.ts"
import type { Attempts } from "./Attempts.ts"
import type { Backlog, Stop, Unit } from "./Backlog.ts"
import type { Settler } from "./Settler.ts"
import type { Tally } from "./Tally.ts"

/** A job of a kind that nobody here knows waits so long. */
const unknownKindMillis = 5_000
/** Deadlines are looked at once in an hour at least: no timer sleeps for ever. */
const deadlineLookMaxMillis = 3_600_000

/** What a runner works with. */
export interface RunnerParts<R> {
  readonly group: TaskGroup.TaskGroup
  readonly settings: WorkerSettings
  readonly tally: Tally
  readonly backlog: Backlog<R>
  readonly attempts: Attempts<R>
  readonly settler: Settler
  /** A slot or a transaction is free, or will be if nothing follows: there may be room for more jobs. */
  readonly onFreed: () => void
}

interface Slot<R> {
  unit: Unit<R> | undefined
  task: TaskGroup.Task<void> | undefined
}

/** Runs what was claimed: slots that take unit after unit out of the backlog, and hand verdicts to the settler. */
export class Runner<R> {
  private readonly slots = new Set<Slot<R>>()
  /** Slots that hold a transaction. */
  private transacting = 0
  /** The earliest deadline that the timeouts wait for. */
  private deadlineMillis = Infinity
  private readonly sooner = Latch.makeUnsafe(false)
  private readonly empty = Latch.makeUnsafe(true)
  private readonly parts: RunnerParts<R>

  constructor(parts: RunnerParts<R>) {
    this.parts = parts
  }

  /** Slots in use. */
  get busy(): number {
    return this.slots.size
  }

  get freeSlots(): number {
    return this.parts.settings.concurrency - this.slots.size
  }

  /** How many of the free slots may hold a transaction. */
  get freeTransactions(): number {
    return Math.min(this.freeSlots, this.parts.settings.transactions - this.transacting)
  }

  /** The jobs that are being run. */
  get ids(): ReadonlyArray<JobId> {
    return [...this.slots].flatMap(({ unit }) => unit === undefined ? [] : unit.jobs.map((job) => job.id))
  }

  /** A job of this id that is being run. */
  running(id: JobId): ClaimedJob | undefined {
    return [...this.slots].flatMap(({ unit }) => unit?.jobs ?? []).find((job) => job.id === id)
  }

  /** Waits until no slot is in use. */
  get awaitEmpty(): Effect.Effect<void> {
    return this.empty.await
  }

  /** Takes claimed jobs in. A worker that drains gives them back: it starts no more. */
  accept(jobs: ReadonlyArray<ClaimedJob>): Effect.Effect<void, never, R> {
    return Effect.suspend(() => {
      const { backlog, settler, tally } = this.parts
      let unknown: string | undefined
      for (const job of jobs) {
        if (tally.isDraining) settler.settle(job, { _tag: "Released", delayMillis: 0 })
        else if (!backlog.add(job)) {
          unknown = job.kind
          settler.settle(job, { _tag: "Released", delayMillis: unknownKindMillis })
        }
      }
      const dispatch = this.dispatch()
      return unknown === undefined
        ? dispatch
        : Effect.andThen(Effect.logWarning(`jobs: no handler here for kind "${unknown}": given back`), dispatch)
    })
  }

  /** Gives back what has not started. */
  release(): void {
    for (const job of this.parts.backlog.clear()) this.parts.settler.settle(job, { _tag: "Released", delayMillis: 0 })
  }

  // ------------------------------------------------------------------- slots

  /** Opens slots while there is work for them. */
  private dispatch(): Effect.Effect<void, never, R> {
    return Effect.suspend(() => {
      const opened: Array<Slot<R>> = []
      while (this.slots.size < this.parts.settings.concurrency) {
        const unit = this.take()
        if (unit === undefined) break
        const slot: Slot<R> = { unit, task: undefined }
        this.begin(slot, unit)
        if (this.slots.size === 0) this.empty.closeUnsafe()
        this.slots.add(slot)
        opened.push(slot)
      }
      return opened.length === 0
        ? Effect.void
        : Effect.forEach(opened, (slot) => this.open(slot), { discard: true })
    })
  }

  private open(slot: Slot<R>): Effect.Effect<void, never, R> {
    return Effect.matchEffect(this.parts.group.spawn(this.runSlot(slot), { name: () => describe(slot.unit) }), {
      onSuccess: (task) => Effect.sync(() => void (slot.task = task)),
      // Only a group that is being cancelled takes no tasks, and its jobs are no longer ours.
      onFailure: () =>
        Effect.sync(() => {
          if (slot.unit !== undefined) this.end(slot.unit)
          this.close(slot)
        })
    })
  }

  private close(slot: Slot<R>): void {
    this.slots.delete(slot)
    if (this.slots.size === 0) this.empty.openUnsafe()
    this.parts.onFreed()
  }

  private take(): Unit<R> | undefined {
    const { backlog, settings } = this.parts
    return backlog.waiting === 0 ? undefined : backlog.take(this.transacting < settings.transactions)
  }

  private begin(slot: Slot<R>, unit: Unit<R>): void {
    const { backlog, tally } = this.parts
    slot.unit = unit
    tally.running += unit.jobs.length
    tally.buffered = backlog.waiting
    if (unit.lane.handler.mode !== "plain") this.transacting++
  }

  private end(unit: Unit<R>): void {
    this.parts.tally.running -= unit.jobs.length
    if (unit.lane.handler.mode !== "plain") this.transacting--
  }

  /**
   * Runs units in a fiber below its own, and gives the slot up when that has ended; another takes its place. A handler of
   * JavaScript can end the fiber that runs it on the spot (`Foreign`), past all that waits in it: of this one, past nothing.
   */
  private runSlot(slot: Slot<R>): Effect.Effect<void, never, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function*() {
        const fiber = yield* Effect.forkChild(this.runUnits(slot), { startImmediately: true })
        // An interruption is passed on, and waited for.
        yield* Effect.exit(restore(Fiber.await(fiber)))
        yield* Fiber.interrupt(fiber)
        const exit = yield* Fiber.await(fiber)
        const unit = slot.unit
        if (unit !== undefined && Exit.isFailure(exit)) yield* this.broken(slot, unit, exit.cause)
        this.close(slot)
        yield* this.dispatch()
        // A defect outside of any unit is ours.
        if (unit === undefined) yield* exit
      })
    )
  }

  /** Runs unit after unit, until there is none or one was interrupted. */
  private runUnits(slot: Slot<R>): Effect.Effect<void, never, R> {
    const { attempts } = this.parts
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function*() {
        const clock = yield* Clock.Clock
        const fiber = yield* Effect.fiber
        while (true) {
          const unit = slot.unit
          if (unit === undefined) break
          this.limit(unit, elapsedMillis(clock))
          // Suspended: a handler that throws instead of failing throws here.
          const exit = yield* Effect.exit(restore(Effect.suspend(() => attempts.run(unit))))
          if (Exit.isFailure(exit)) {
            yield* this.broken(slot, unit, exit.cause)
            break
          }
          this.end(unit)
          slot.unit = undefined
          // An interruption that came too late for its unit must not hit the next one; what a handler forked ends with it.
          if (unit.stop !== undefined || Foreign.hasChildren(fiber)) break
          // Said before the slot is given up: what a claim brings at once is run in it.
          this.parts.onFreed()
          const following = this.take()
          if (following === undefined) break
          this.begin(slot, following)
        }
      })
    )
  }

  /** A unit was interrupted, or ended its fiber. */
  private broken(slot: Slot<R>, unit: Unit<R>, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    this.end(unit)
    slot.unit = undefined
    return this.parts.attempts.broken(unit, cause)
  }

  // ------------------------------------------------------------ interruption

  /** Cancels a job that waits here or runs here. */
  cancel(id: JobId): Effect.Effect<void> {
    return Effect.suspend(() => {
      const waiting = this.parts.backlog.remove(id)
      if (waiting !== undefined) {
        this.parts.settler.settle(waiting, { _tag: "Cancelled" })
        return Effect.void
      }
      return this.stop((unit) => unit.jobs.some((job) => job.id === id), { _tag: "Cancelled", id })
    })
  }

  /** Interrupts all units, without waiting for them. */
  stopAll(why: "Drained" | "Lost"): Effect.Effect<void> {
    return this.stop(() => true, { _tag: why })
  }

  private stop(matches: (unit: Unit<R>) => boolean, why: Stop): Effect.Effect<void> {
    return Effect.suspend(() => {
      const tasks: Array<TaskGroup.Task<void>> = []
      for (const { task, unit } of this.slots) {
        if (unit === undefined || unit.stop !== undefined || task === undefined || !matches(unit)) continue
        unit.stop = why
        tasks.push(task)
      }
      return Effect.forEach(tasks, (task) => Effect.forkChild(task.cancel), { discard: true })
    })
  }

  /** The session has ended: the jobs are no longer ours, whatever their interruption looks like. */
  abandon(): void {
    for (const { unit } of this.slots) if (unit !== undefined) unit.stop = { _tag: "Lost" }
  }

  // ---------------------------------------------------------------- timeouts

  private limit(unit: Unit<R>, nowMillis: number): void {
    unit.deadlineMillis = nowMillis + unit.lane.timeoutMillis
    if (unit.deadlineMillis >= this.deadlineMillis) return
    this.deadlineMillis = unit.deadlineMillis
    this.sooner.openUnsafe()
  }

  /** Interrupts what runs longer than its kind allows, at the deadline. */
  get timeouts(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const clock = yield* Clock.Clock
      while (true) {
        const now = elapsedMillis(clock)
        if (this.deadlineMillis <= now) {
          yield* this.stop((unit) => unit.deadlineMillis <= now, { _tag: "TimedOut" })
          this.deadlineMillis = this.nextDeadlineMillis(now)
        }
        this.sooner.closeUnsafe()
        const wait = Math.min(deadlineLookMaxMillis, this.deadlineMillis - now)
        yield* Effect.timeoutOption(this.sooner.await, wait)
      }
    })
  }

  /** The earliest deadline of the units that were not stopped; one that could not be yet is tried again at once. */
  private nextDeadlineMillis(nowMillis: number): number {
    let earliest = Infinity
    for (const { unit } of this.slots) {
      if (unit !== undefined && unit.stop === undefined) earliest = Math.min(earliest, unit.deadlineMillis)
    }
    return Math.max(earliest, nowMillis + 1)
  }
}

/** A clock that nobody sets: a correction of the time must not time out what runs. */
const elapsedMillis = (clock: Clock.Clock): number => Math.floor(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)

const describe = <R>(unit: Unit<R> | undefined): string =>
  unit === undefined
    ? "slot"
    : unit.jobs.length === 1
    ? `${unit.lane.handler.kind.name} ${unit.jobs[0]?.id}`
    : `${unit.lane.handler.kind.name} x ${unit.jobs.length}`
