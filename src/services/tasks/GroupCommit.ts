/**
 * Many requests, few transactions: what arrives while the flushes in flight are busy goes together into the next one. Alone, a request does not wait for
 * company; under load batches grow by themselves. Each request is answered when its flush has committed, or when its caller's deadline has come.
 */
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Latch, Option, Queue, type Scope } from "effect"
import * as Deadline from "./Deadline.ts"

/** How a batcher works. */
export interface Options<Request, Answer, E> {
  /** Writes a batch; answers one exit for each request, in order, so that a bad one fails alone. */
  readonly flush: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<Exit.Exit<Answer, E>>, E>
  /** Whether a failed flush says nothing about its requests one by one (no connection, say): then each gets the failure. */
  readonly isCommon: (error: E) => boolean
  /** Flushes at the same time. */
  readonly inFlight: number
  /** Requests in one flush at most. */
  readonly maxBatch: number
  /** Requests that wait at most. */
  readonly capacity: number
  /** What a request beyond that fails with, at once: holding it back would only make it late. */
  readonly full: (request: Request) => E
  /** What a request fails with whose caller's deadline has come. It may still be written: nobody is told any more. */
  readonly late: (request: Request) => E
}

interface Waiting<Request, Answer, E> {
  readonly request: Request
  readonly answer: Deferred.Deferred<Answer, E>
  readonly dueMillis: number
}

/** Fewer are not worth a flush more. */
const worthHalving = 16

/** Those who wait, with one timer for all of them: a timer for each would cost more than what it guards. */
class Patience<W extends { readonly dueMillis: number }> {
  private readonly waiting = new Set<W>()
  private readonly changed = Latch.makeUnsafe(false)
  private nextMillis = Number.POSITIVE_INFINITY
  private readonly onDue: (waiting: W) => void

  constructor(onDue: (waiting: W) => void) {
    this.onDue = onDue
  }

  add(waiting: W): void {
    this.waiting.add(waiting)
    if (waiting.dueMillis >= this.nextMillis) return
    this.nextMillis = waiting.dueMillis
    this.changed.openUnsafe()
  }

  delete(waiting: W): void {
    this.waiting.delete(waiting)
  }

  /** Sleeps until the first may be due. Whoever was answered before is not there any more, so the timer fires rarely. */
  get watch(): Effect.Effect<never> {
    const round = Effect.gen({ self: this }, function*() {
      this.changed.closeUnsafe()
      const clock = yield* Clock.Clock
      const left = this.nextMillis - clock.currentTimeMillisUnsafe()
      const due = Number.isFinite(left) ? Effect.sleep(Math.max(0, left)) : Effect.never
      yield* Effect.raceFirst(due, this.changed.await)
      this.expire(clock.currentTimeMillisUnsafe())
    })
    return Effect.forever(round)
  }

  private expire(nowMillis: number): void {
    this.nextMillis = Number.POSITIVE_INFINITY
    for (const waiting of this.waiting) {
      if (waiting.dueMillis > nowMillis) {
        this.nextMillis = Math.min(this.nextMillis, waiting.dueMillis)
        continue
      }
      this.waiting.delete(waiting)
      this.onDue(waiting)
    }
  }
}

/**
 * A function that answers each request when the flush it went with has committed, or fails it at the deadline of the fiber that asks. The request is
 * handed in when the function is called, and not when its effect is run: between noting a request and handing it in there is no step at which a caller could be interrupted.
 */
export const make = Effect.fnUntraced(function*<Request, Answer, E>(
  options: Options<Request, Answer, E>
): Effect.fn.Return<
  (request: Request, caller: Fiber.Fiber<unknown, unknown>) => Effect.Effect<Answer, E>,
  never,
  Scope.Scope
> {
  const patience = new Patience<Waiting<Request, Answer, E>>(({ answer, request }) =>
    Deferred.doneUnsafe(answer, Exit.fail(options.late(request)))
  )
  const queue = yield* Queue.dropping<Waiting<Request, Answer, E>>(options.capacity)

  type Batch = ReadonlyArray<Waiting<Request, Answer, E>>
  type Answers = ReadonlyArray<Exit.Exit<Answer, E>>

  const answerAll = (batch: Batch, exits: Answers) =>
    Effect.sync(() => {
      for (const [index, waiting] of batch.entries()) {
        patience.delete(waiting)
        Deferred.doneUnsafe(waiting.answer, exits[index] ?? Exit.die("a flush answered too little"))
      }
    })

  const allWith = (batch: Batch, cause: Cause.Cause<E>): Answers => batch.map(() => Exit.failCause(cause))

  const write = (batch: Batch): Effect.Effect<Answers, E> => options.flush(batch.map((waiting) => waiting.request))

  const writeAlone = (waiting: Waiting<Request, Answer, E>): Effect.Effect<Answers> =>
    Effect.matchCause(write([waiting]), {
      onFailure: (cause) => allWith([waiting], cause),
      onSuccess: (exits) => exits
    })

  const flush = (batch: Batch): Effect.Effect<Answers> =>
    Effect.matchCauseEffect(write(batch), {
      onSuccess: Effect.succeed,
      onFailure: (cause) => {
        const error = Cause.findErrorOption(cause)
        const isCommon = batch.length === 1 || Option.isNone(error) || options.isCommon(error.value)
        return isCommon
          ? Effect.succeed(allWith(batch, cause))
          : Effect.map(Effect.forEach(batch, writeAlone), (exits) => exits.flat())
      }
    })

  // Under load the next batch is sent first, and the one before is answered while it is under way. A batch takes half of all who wait for an answer: so
  // the database has one half while their callers have the other, and neither side waits.
  const flusher = Effect.gen(function*() {
    let before: { readonly size: number; readonly answer: Effect.Effect<void> } = { size: 0, answer: Effect.void }
    while (true) {
      if (Queue.sizeUnsafe(queue) === 0) {
        yield* before.answer
        before = { size: 0, answer: Effect.void }
      }
      const half = Math.ceil((Queue.sizeUnsafe(queue) + before.size) / 2)
      const batch = yield* Queue.takeBetween(queue, 1, Math.min(options.maxBatch, Math.max(worthHalving, half)))
      const flushing = yield* Effect.forkChild(flush(batch), { startImmediately: true })
      yield* before.answer
      const exits = yield* Fiber.join(flushing)
      before = { size: batch.length, answer: answerAll(batch, exits) }
    }
  })
  yield* Effect.forEach(Array.from({ length: options.inFlight }), () => Effect.forkScoped(flusher), { discard: true })

  yield* Effect.forkScoped(patience.watch)

  return (request, caller) => {
    const millis = Deadline.remainingMillisUnsafe(caller)
    const dueMillis = caller.getRef(Clock.Clock).currentTimeMillisUnsafe() + millis
    const waiting = { request, answer: Deferred.makeUnsafe<Answer, E>(), dueMillis }
    if (!Queue.offerUnsafe(queue, waiting)) return Effect.fail(options.full(request))
    if (Number.isFinite(dueMillis)) patience.add(waiting)
    return Deferred.await(waiting.answer)
  }
})
