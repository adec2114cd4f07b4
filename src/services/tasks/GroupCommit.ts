/**
 * Group commit: many requests, few flushes. What arrives while the flushes in flight are busy goes together into the next one. Alone, a
 * request does not wait for company; under load groups grow by themselves. Each request is answered once: when its flush has ended, or
 * when its caller's deadline has come.
 */
import { Cause, Clock, Deferred, Effect, Exit, Fiber, FiberSet, Latch, Option, type Scope } from "effect"
import { Alarm } from "./Alarm.ts"
import * as Deadline from "./Deadline.ts"
import * as InvalidOption from "./InvalidOption.ts"

/** How requests are grouped. Limits are whole numbers of at least one; anything else is `InvalidOption`. */
export interface Options<Request, Answer, E> {
  /** Writes a group; answers one exit for each request, in order, so that a bad one fails alone. */
  readonly flush: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<Exit.Exit<Answer, E>>, E>
  /**
   * How much of a flush a request takes. A request is never split: one that is heavier than `maxWeight` goes alone.
   *
   * @default 1 for each
   */
  readonly weight?: ((request: Request) => number) | undefined
  /** What one flush takes at most. */
  readonly maxWeight: number
  /** Flushes at the same time. */
  readonly inFlight: number
  /**
   * Whether the next group is sent before the one before is answered, and takes half of all who wait for an answer: so the database has
   * one half while their callers have the other, and neither side waits. For callers that have work of their own with each answer (HTTP);
   * where they have none it only makes twice the flushes.
   */
  readonly isOverlapping: boolean
  /** When so much weight waits, the next request finds it full. */
  readonly capacity: number
  /**
   * What happens to a request that finds it full: it waits outside, in the order of its coming, until there is room; or it fails with
   * this at once, where holding it back would only make it late.
   */
  readonly whenFull: "wait" | ((request: Request) => E)
  /**
   * Whether a failed flush says nothing about its requests one by one (no connection, say): each gets the failure. Else
   * each is tried alone.
   */
  readonly isCommon: (error: E) => boolean
  /**
   * What a request fails with when the deadline of its caller has come. It may still be written: nobody is told any more.
   *
   * @default deadlines are not looked at
   */
  readonly late?: ((request: Request) => E) | undefined
}

/**
 * Answers the request when its flush has ended, or fails it at the deadline of the fiber that asks. The request is handed in when this is
 * called, and not when its effect is run: between noting a request and handing it in there is no step at which a caller could be
 * interrupted. A caller that is interrupted while it waits leaves its request to be written, unless that is still outside.
 */
export type Submit<Request, Answer, E> = (
  request: Request,
  caller: Fiber.Fiber<unknown, unknown>
) => Effect.Effect<Answer, E>

/** Makes a group commit; it ends with the scope, and whoever still waits then is interrupted. */
export const make = Effect.fnUntraced(function*<Request, Answer, E>(
  options: Options<Request, Answer, E>
): Effect.fn.Return<Submit<Request, Answer, E>, never, Scope.Scope> {
  InvalidOption.wholeNumber("GroupCommit maxWeight", options.maxWeight, 1)
  InvalidOption.wholeNumber("GroupCommit capacity", options.capacity, 1)
  const inFlight = InvalidOption.wholeNumber("GroupCommit inFlight", options.inFlight, 1)
  const clock = yield* Clock.Clock
  const fork = yield* FiberSet.runtime(yield* FiberSet.make<void>())()
  const desk = new Desk(options, clock, (effect) => fork(effect))
  yield* Effect.addFinalizer(() => Effect.sync(() => desk.close()))
  yield* Effect.forEach(Array.from({ length: inFlight }), () => Effect.forkScoped(desk.flusher), { discard: true })
  return (request, caller) => desk.submit(request, caller)
})

interface Entry<Request, Answer, E> {
  readonly request: Request
  readonly weight: number
  readonly answer: Deferred.Deferred<Answer, E>
  /** By the alarm's clock. */
  readonly dueMillis: number
}

type Group<Request, Answer, E> = ReadonlyArray<Entry<Request, Answer, E>>
type Exits<Answer, E> = ReadonlyArray<Exit.Exit<Answer, E>>

/** A group whose flush has ended, and that has not been told so yet. */
interface Written<Request, Answer, E> {
  readonly entries: Group<Request, Answer, E>
  readonly weight: number
  readonly exits: Exits<Answer, E>
}

const nothing = { entries: [], weight: 0, exits: [] }

/** Lighter groups are not worth a flush more. */
const worthHalving = 16

const leastOne = (weight: number): number => weight >= 1 ? weight : 1

class Desk<Request, Answer, E> {
  private readonly options: Options<Request, Answer, E>
  private readonly line: Line<Entry<Request, Answer, E>>
  /** Those who wait with a deadline, under one alarm: a timer for each would cost more than what it guards. */
  private readonly patient = new Set<Entry<Request, Answer, E>>()
  private readonly alarm: Alarm
  /** What wakes the flushers that have nothing to do. */
  private readonly idle: Array<Latch.Latch> = []
  private isClosed = false

  constructor(
    options: Options<Request, Answer, E>,
    clock: Clock.Clock,
    fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  ) {
    this.options = options
    this.line = new Line(options.capacity)
    this.alarm = new Alarm(clock, fork, (nowMillis) => this.expire(nowMillis))
  }

  submit(request: Request, caller: Fiber.Fiber<unknown, unknown>): Effect.Effect<Answer, E> {
    if (this.isClosed) return Effect.interrupt
    const { late, weight, whenFull } = this.options
    const leftMillis = late === undefined ? Infinity : Deadline.remainingMillisUnsafe(caller)
    const entry: Entry<Request, Answer, E> = {
      request,
      weight: weight === undefined ? 1 : leastOne(weight(request)),
      answer: Deferred.makeUnsafe<Answer, E>(),
      dueMillis: leftMillis === Infinity ? Infinity : this.alarm.now() + leftMillis
    }
    const isInside = this.line.enter(entry)
    if (!isInside && whenFull !== "wait") return Effect.fail(whenFull(request))
    if (leftMillis !== Infinity) {
      this.patient.add(entry)
      this.alarm.scanBy(entry.dueMillis)
    }
    if (isInside) {
      this.idle.pop()?.openUnsafe()
      return Deferred.await(entry.answer)
    }
    this.line.waitOutside(entry)
    return Effect.onInterrupt(Deferred.await(entry.answer), () =>
      Effect.sync(() => {
        this.line.leave(entry)
        this.patient.delete(entry)
      }))
  }

  /** Sends one group after the other; there may be several at it. */
  get flusher(): Effect.Effect<never> {
    const { line, options } = this
    const { isOverlapping, maxWeight } = options
    return Effect.suspend(() => {
      let flying: Group<Request, Answer, E> = []
      let before: Written<Request, Answer, E> = nothing
      const answerBefore = Effect.sync(() => {
        const { entries, exits } = before
        before = nothing
        this.answer(entries, exits)
      })
      const company = this.company()
      const rounds = Effect.gen(function*() {
        while (true) {
          if (!isOverlapping || line.weight === 0) {
            yield* answerBefore
            yield* company
          }
          const half = Math.max(worthHalving, Math.ceil((line.weight + before.weight) / 2))
          const { entries, weight } = line.take(isOverlapping ? Math.min(maxWeight, half) : maxWeight)
          // Another flusher may have taken all.
          if (entries.length === 0) continue
          flying = entries
          const flushing = yield* Effect.forkChild(flush(options, entries), { startImmediately: true })
          yield* answerBefore
          before = { entries, weight, exits: yield* Fiber.join(flushing) }
          flying = []
        }
      })
      return Effect.ensuring(rounds, Effect.andThen(answerBefore, Effect.sync(() => this.interrupt(flying))))
    })
  }

  close(): void {
    this.isClosed = true
    this.interrupt(this.line.clear())
  }

  /** Waits until there is something to send, and lets callers that are runnable now join it instead of waiting for the next. */
  private company(): Effect.Effect<void> {
    const wake = Latch.makeUnsafe(false)
    return Effect.suspend(() => {
      if (this.line.weight > 0) return Effect.yieldNow
      wake.closeUnsafe()
      this.idle.push(wake)
      return Effect.andThen(wake.await, Effect.yieldNow)
    })
  }

  /** Whoever was answered before is not there any more: this is rare, and finds little. */
  private expire(nowMillis: number): number {
    const { late } = this.options
    let nextMillis = Infinity
    // A copy: who is answered may ask again at once.
    for (const entry of Array.from(this.patient)) {
      if (entry.dueMillis > nowMillis) nextMillis = Math.min(nextMillis, entry.dueMillis)
      else {
        this.line.leave(entry)
        if (late !== undefined) this.answerOne(entry, Exit.fail(late(entry.request)))
      }
    }
    return nextMillis
  }

  private answerOne(entry: Entry<Request, Answer, E>, exit: Exit.Exit<Answer, E>): void {
    this.patient.delete(entry)
    Deferred.doneUnsafe(entry.answer, exit)
  }

  private answer(group: Group<Request, Answer, E>, exits: Exits<Answer, E>): void {
    for (const [index, entry] of group.entries()) {
      this.answerOne(entry, exits[index] ?? Exit.die("a flush answered too little"))
    }
  }

  private interrupt(group: Group<Request, Answer, E>): void {
    this.answer(group, group.map(() => Exit.interrupt()))
  }
}

/** Writes a group, and one by one what a failure of all may have hit innocently. */
const flush = <Request, Answer, E>(
  options: Options<Request, Answer, E>,
  group: Group<Request, Answer, E>
): Effect.Effect<Exits<Answer, E>> =>
  Effect.matchCauseEffect(Effect.suspend(() => options.flush(group.map((entry) => entry.request))), {
    onSuccess: Effect.succeed,
    onFailure: (cause) => {
      const error = Cause.findErrorOption(cause)
      return group.length === 1 || Option.isNone(error) || options.isCommon(error.value)
        ? Effect.succeed(group.map(() => Exit.failCause(cause)))
        : Effect.map(Effect.forEach(group, (entry) => flush(options, [entry])), (exits) => exits.flat())
    }
  })

/** Who waits for a flush, in the order of their coming, and outside of it who found it full. */
class Line<A extends { readonly weight: number }> {
  /** What waits inside. */
  weight = 0
  private readonly capacity: number
  private readonly inside: Array<A> = []
  private readonly outside = new Set<A>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  /** Whether there was room. */
  enter(entry: A): boolean {
    if (this.weight >= this.capacity) return false
    this.inside.push(entry)
    this.weight += entry.weight
    return true
  }

  waitOutside(entry: A): void {
    this.outside.add(entry)
  }

  /** Only from outside: what is inside is written. */
  leave(entry: A): void {
    this.outside.delete(entry)
  }

  /** The first of them, up to so much weight but at least one; as many come in from outside as there is room for now. */
  take(maxWeight: number): { readonly entries: ReadonlyArray<A>; readonly weight: number } {
    let count = 0
    let weight = 0
    for (const entry of this.inside) {
      if (count > 0 && weight + entry.weight > maxWeight) break
      weight += entry.weight
      count++
    }
    const entries = this.inside.splice(0, count)
    this.weight -= weight
    for (const entry of this.outside) {
      if (!this.enter(entry)) break
      this.outside.delete(entry)
    }
    return { entries, weight }
  }

  clear(): ReadonlyArray<A> {
    const all = [...this.inside.splice(0), ...this.outside]
    this.outside.clear()
    this.weight = 0
    return all
  }
}
