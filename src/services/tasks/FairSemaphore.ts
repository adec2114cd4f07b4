import { Effect, Exit, type Option, type Scheduler, Schema, type Scope } from "effect"
import { limit, wholeNumber } from "./InvalidOption.ts"
import { type Label, render } from "./TaskNode.ts"
import * as Tasks from "./Tasks.ts"

/** More permits were asked for than there are in all: waiting would be for ever, and would hold up everyone behind. */
export class PermitsUnavailable extends Schema.TaggedError<PermitsUnavailable>()("PermitsUnavailable", {
  semaphore: Schema.String,
  requested: Schema.Int,
  total: Schema.Int
}) {
  override get message(): string {
    return `${this.requested} permits of ${this.semaphore} were asked for, of ${this.total} in all`
  }
}

/**
 * A semaphore whose waiters are served strictly in the order in which they came: a large request waits its turn and is
 * not overtaken (Go's x/sync semaphore has the same rule). Taking, releasing and giving up are O(1) at any number of
 * waiters; permits are handed over, so that nobody can barge in between.
 */
export interface FairSemaphore {
  /** Runs the effect with one permit. With a total of zero it waits until the semaphore is resized. */
  readonly withPermit: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Runs the effect with so many permits; fails when there are not so many in all (of zero: none), now or after a resize. */
  readonly withPermits: (
    permits: number
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | PermitsUnavailable, R>
  /** Runs the effect if the permits are free and nobody waits; `None` otherwise. */
  readonly withPermitsIfAvailable: (
    permits: number
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E, R>
  /** Takes permits until the scope closes. */
  readonly takeScoped: (permits: number) => Effect.Effect<void, PermitsUnavailable, Scope.Scope>
  /** Changes the total. Fewer: holders keep theirs until they release. Waiters that ask for more than the total fail. */
  readonly resize: (total: number) => Effect.Effect<void>
  /** Figures of this moment. */
  readonly stats: Effect.Effect<{ readonly total: number; readonly taken: number; readonly waiting: number }>
}

/**
 * Makes a semaphore.
 *
 * @param permits how many there are in all: a whole number; zero pauses it until it is resized, Infinity is no limit
 * @default options.name "semaphore": waiting tasks show "permit of <name>"
 */
export const make = (permits: number, options?: { readonly name?: Label | undefined }): Effect.Effect<FairSemaphore> =>
  Effect.sync(() => makeUnsafe(permits, options))

/** `make` outside of an Effect. */
export const makeUnsafe = (permits: number, options?: { readonly name?: Label | undefined }): FairSemaphore =>
  new Permits(permits, options?.name ?? "semaphore")

interface Waiter {
  readonly permits: number
  readonly resume: (effect: Effect.Effect<void>) => void
  /** Whether it waits also while there are not so many permits in all. */
  readonly isPatient: boolean
  state: "queued" | "given" | "refused"
  previous: Waiter | undefined
  next: Waiter | undefined
}

const asked = (permits: number): number => wholeNumber("FairSemaphore permits", permits, 0)

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

class Permits implements FairSemaphore {
  private readonly name: Label
  private total: number
  private taken = 0
  private waiting = 0
  private head: Waiter | undefined = undefined
  private tail: Waiter | undefined = undefined
  private dispatcher: Scheduler.SchedulerDispatcher | undefined = undefined
  private readonly showWait: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

  constructor(total: number, name: Label) {
    this.total = limit("FairSemaphore permits", total, 0)
    this.name = name
    this.showWait = Tasks.waiting(() => `permit of ${render(name)}`)
  }

  readonly stats = Effect.sync(() => ({ total: this.total, taken: this.taken, waiting: this.waiting }))

  readonly withPermit = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptibleMask((restore) =>
      // A request for one permit is never refused: it waits, even for a total of zero to grow.
      Effect.flatMap(this.acquire(1, true, restore), () => this.holding(1, restore(self)))
    )

  withPermits(permits: number) {
    return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | PermitsUnavailable, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          this.acquire(permits, false, restore),
          (isGiven): Effect.Effect<A, E | PermitsUnavailable, R> =>
            isGiven ? this.holding(permits, restore(self)) : this.refused(permits)
        )
      )
  }

  withPermitsIfAvailable(permits: number) {
    return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R> =>
      Effect.uninterruptibleMask((restore) => {
        if (!this.take(asked(permits))) return Effect.succeedNone
        return Effect.asSome(this.holding(permits, restore(self)))
      })
  }

  takeScoped(permits: number): Effect.Effect<void, PermitsUnavailable, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        this.acquire(permits, false, restore),
        (isGiven) =>
          isGiven ? Effect.addFinalizer(() => Effect.sync(() => this.release(permits))) : this.refused(permits)
      )
    )
  }

  resize(total: number): Effect.Effect<void> {
    return Effect.sync(() => {
      const isSmaller = limit("FairSemaphore resize", total, 0) < this.total
      this.total = total
      for (let waiter = isSmaller ? this.head : undefined; waiter !== undefined;) {
        const next: Waiter | undefined = waiter.next
        if (!waiter.isPatient && waiter.permits > total) this.wake(waiter, "refused")
        waiter = next
      }
      this.grant()
    })
  }

  private holding<A, E, R>(permits: number, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.onExit(self, () => Effect.sync(() => this.release(permits)))
  }

  private refused(requested: number): Effect.Effect<never, PermitsUnavailable> {
    return Effect.suspend(() => new PermitsUnavailable({ semaphore: render(this.name), requested, total: this.total }))
  }

  private take(permits: number): boolean {
    if (this.head !== undefined || this.taken + permits > this.total) return false
    this.taken += permits
    return true
  }

  private release(permits: number): void {
    this.taken -= permits
    this.grant()
  }

  private grant(): void {
    for (let waiter = this.head; waiter !== undefined; waiter = this.head) {
      if (this.taken + waiter.permits > this.total) return
      this.taken += waiter.permits
      this.wake(waiter, "given")
    }
  }

  /** Only called uninterruptibly; `false` when there are not so many permits in all. */
  private acquire(permits: number, isPatient: boolean, restore: Restore): Effect.Effect<boolean> {
    return Effect.withFiber((fiber) => {
      if (this.take(asked(permits))) return Effect.succeed(true)
      this.dispatcher ??= fiber.cache.scheduler.makeDispatcher()
      if (!isPatient && permits > this.total) return Effect.succeed(false)
      let waiter: Waiter | undefined
      const wait = Effect.callback<void>((resume) => {
        waiter = { permits, isPatient, resume, state: "queued", previous: undefined, next: undefined }
        this.enqueue(waiter)
        // Permits may have become free since the first look.
        this.grant()
      })
      return Effect.map(
        // Between the hand-over and the next uninterruptible step an interruption may come: the permits go back.
        Effect.onExitIf(restore(this.showWait(wait)), Exit.isFailure, () => Effect.sync(() => this.giveUp(waiter))),
        () => waiter?.state === "given"
      )
    })
  }

  private giveUp(waiter: Waiter | undefined): void {
    if (waiter === undefined || waiter.state === "refused") return
    if (waiter.state === "given") return this.release(waiter.permits)
    this.unlink(waiter)
    this.grant()
  }

  /** Fibers are resumed from a queue and not from here: a chain of releases would grow the stack. */
  private wake(waiter: Waiter, state: "given" | "refused"): void {
    this.unlink(waiter)
    waiter.state = state
    this.dispatcher?.scheduleTask(() => waiter.resume(Effect.void), 0)
  }

  private enqueue(waiter: Waiter): void {
    waiter.previous = this.tail
    if (this.tail === undefined) this.head = waiter
    else this.tail.next = waiter
    this.tail = waiter
    this.waiting++
  }

  private unlink(waiter: Waiter): void {
    if (waiter.previous === undefined) this.head = waiter.next
    else waiter.previous.next = waiter.next
    if (waiter.next === undefined) this.tail = waiter.previous
    else waiter.next.previous = waiter.previous
    waiter.previous = undefined
    waiter.next = undefined
    this.waiting--
  }
}
