/**
 * Many requests, few transactions: what arrives while the flushes in flight are busy goes together into the next one. Alone, a request does not wait for
 * company; under load batches grow by themselves. Each request is answered when its flush has committed, or when its caller's deadline has come.
 */
import { Cause, Clock, Deferred, Effect, Exit, type Fiber, Latch, Option, Queue, type Scope } from "effect"
import * as Deadline from "../../services/tasks/Deadline.ts"

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

  const answerAll = (batch: ReadonlyArray<Waiting<Request, Answer, E>>, exits: ReadonlyArray<Exit.Exit<Answer, E>>) =>
    Effect.sync(() => {
      for (const [index, waiting] of batch.entries()) {
        patience.delete(waiting)
        Deferred.doneUnsafe(waiting.answer, exits[index] ?? Exit.die("a flush answered too little"))
      }
    })

  const flushOnce = (batch: ReadonlyArray<Waiting<Request, Answer, E>>) =>
    Effect.flatMap(
      Effect.exit(options.flush(batch.map((waiting) => waiting.request))),
      (exit) =>
        answerAll(
          batch,
          Exit.isSuccess(exit) ? exit.value : batch.map((): Exit.Exit<Answer, E> => Exit.failCause(exit.cause))
        )
    )

  const flush = (batch: ReadonlyArray<Waiting<Request, Answer, E>>) =>
    Effect.matchCauseEffect(options.flush(batch.map((waiting) => waiting.request)), {
      onSuccess: (exits) => answerAll(batch, exits),
      onFailure: (cause) => {
        const error = Cause.findErrorOption(cause)
        const isCommon = batch.length === 1 || Option.isNone(error) || options.isCommon(error.value)
        return isCommon
          ? answerAll(batch, batch.map((): Exit.Exit<Answer, E> => Exit.failCause(cause)))
          : Effect.forEach(batch, (waiting) => flushOnce([waiting]), { discard: true })
      }
    })

  yield* Effect.forEach(
    Array.from({ length: options.inFlight }),
    () => Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.takeBetween(queue, 1, options.maxBatch), flush))),
    { discard: true }
  )

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
