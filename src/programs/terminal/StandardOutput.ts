/** Standard output, where results go and nothing else. */
import { type Cause, Effect, Exit, Fiber, Queue, type Scope, Stdio, Stream } from "effect"
import { failureOf, isOutputClosed, OutputClosed, type OutputError } from "./OutputError.ts"

/** Batches of text between a writer and a slow reader. */
const batchesMax = 16

/** A way to write results. */
export interface Writer {
  /** Fails with `OutputClosed` when nobody reads any more. */
  readonly write: (text: string) => Effect.Effect<void, OutputError | OutputClosed>
  /** Ends when all that was written is out; nothing is written after it. */
  readonly flush: Effect.Effect<void, OutputError | OutputClosed>
}

/** Opens it. What was written is out when the scope has closed; whether it could be, only `flush` tells. */
export const open: Effect.Effect<Writer, never, Stdio.Stdio | Scope.Scope> = Effect.gen(function*() {
  const stdio = yield* Stdio.Stdio
  const texts = yield* Queue.bounded<string, Cause.Done>(batchesMax)
  const writer = yield* Effect.forkChild(
    Stream.run(Stream.fromQueue(texts), stdio.stdout({ endOnDone: false })).pipe(
      Effect.mapError((error) => failureOf("standard output", error)),
      // Whoever waits for room must learn that there will be none.
      Effect.onExit(() => Queue.shutdown(texts))
    ),
    { startImmediately: true }
  )
  yield* Effect.addFinalizer(() => Effect.andThen(Queue.end(texts), Fiber.await(writer)))
  const ended = Effect.flatMap(
    Fiber.await(writer),
    (exit) => Exit.isSuccess(exit) ? Effect.fail(new OutputClosed()) : Effect.failCause(exit.cause)
  )
  return {
    // The queue of a writer that has ended takes nothing.
    write: (text) => Effect.flatMap(Queue.offer(texts, text), (isTaken) => isTaken ? Effect.void : ended),
    flush: Effect.andThen(Queue.end(texts), Effect.asVoid(Fiber.join(writer)))
  }
})

/** Writes lines; a reader that has gone is the end, not a failure. */
export const print = <E, R>(
  lines: Stream.Stream<string, E, R>
): Effect.Effect<void, E | OutputError, R | Stdio.Stdio> =>
  Effect.scoped(Effect.gen(function*() {
    const { flush, write } = yield* open
    yield* Stream.runForEachArray(lines, (chunk) => write(chunk.map((line) => `${line}\n`).join(""))).pipe(
      Effect.andThen(flush),
      Effect.catchIf(isOutputClosed, () => Effect.void)
    )
  }))
