/**
 * Many requests, few transactions: what arrives while the flushes in flight are busy goes together into the next one. Alone, a request does not wait for
 * company; under load batches grow by themselves. Each request is answered when its flush has committed.
 */
import { Cause, Deferred, Effect, Exit, Option, Queue, type Scope } from "effect"

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
}

interface Waiting<Request, Answer, E> {
  readonly request: Request
  readonly answer: Deferred.Deferred<Answer, E>
}

/**
 * A function that answers each request when the flush it went with has committed. The request is handed in when the function is called, and not when its
 * effect is run: between noting a request and handing it in there is no step at which a caller could be interrupted.
 */
export const make = Effect.fnUntraced(function*<Request, Answer, E>(
  options: Options<Request, Answer, E>
): Effect.fn.Return<(request: Request) => Effect.Effect<Answer, E>, never, Scope.Scope> {
  const queue = yield* Queue.dropping<Waiting<Request, Answer, E>>(options.capacity)

  const answerAll = (batch: ReadonlyArray<Waiting<Request, Answer, E>>, exits: ReadonlyArray<Exit.Exit<Answer, E>>) =>
    Effect.sync(() => {
      for (const [index, waiting] of batch.entries()) {
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

  return (request) => {
    const answer = Deferred.makeUnsafe<Answer, E>()
    return Queue.offerUnsafe(queue, { request, answer }) ? Deferred.await(answer) : Effect.fail(options.full(request))
  }
})
