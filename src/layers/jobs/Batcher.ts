import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"

interface Waiting<A, B, E> {
  readonly items: ReadonlyArray<A>
  readonly done: Deferred.Deferred<ReadonlyArray<B>, E>
}

/** How a batcher behaves. */
export interface Options<A, B, E> {
  readonly run: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, E>
  /** Items of one flush at most; a caller's own items are never split. */
  readonly maxItems: number
  /** Flushes at the same time. */
  readonly inFlight: number
  /** Callers that may wait; the next one waits outside. */
  readonly maxWaiting: number
  /** A failed flush whose callers are to be tried one by one, since only one of them may be to blame. */
  readonly isolate: (error: E) => boolean
}

/**
 * Group commit: callers that come while a flush is under way share the next one, and each gets its own answer after the
 * commit. A lone caller does not wait for others.
 */
export const make = Effect.fnUntraced(function*<A, B, E>(
  options: Options<A, B, E>
): Effect.fn.Return<
  (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, E>,
  never,
  Scope.Scope
> {
  const waiting: Array<Waiting<A, B, E>> = []
  const some = Latch.makeUnsafe(false)
  const room = Latch.makeUnsafe(true)

  const take = (): ReadonlyArray<Waiting<A, B, E>> => {
    let count = 0
    let upTo = 0
    for (const entry of waiting) {
      if (upTo > 0 && count + entry.items.length > options.maxItems) break
      count += entry.items.length
      upTo++
    }
    const taken = waiting.splice(0, upTo)
    if (waiting.length === 0) some.closeUnsafe()
    if (waiting.length < options.maxWaiting) room.openUnsafe()
    return taken
  }

  const answer = (entry: Waiting<A, B, E>, exit: Exit.Exit<ReadonlyArray<B>, E>) =>
    Effect.sync(() => void Deferred.doneUnsafe(entry.done, exit))

  const flush = (entries: ReadonlyArray<Waiting<A, B, E>>): Effect.Effect<void> =>
    Effect.matchCauseEffect(options.run(entries.flatMap((entry) => entry.items)), {
      onSuccess: (results) => {
        let from = 0
        return Effect.forEach(entries, (entry) => {
          const own = results.slice(from, from + entry.items.length)
          from += entry.items.length
          return answer(entry, Exit.succeed(own))
        }, { discard: true })
      },
      onFailure: (cause) => {
        const mayIsolate = entries.length > 1 &&
          cause.reasons.some((reason) => reason._tag === "Fail" && options.isolate(reason.error))
        return mayIsolate
          ? Effect.forEach(entries, (entry) => flush([entry]), { discard: true })
          : Effect.forEach(entries, (entry) => answer(entry, Exit.failCause(cause)), { discard: true })
      }
    })

  const flusher = Effect.forever(Effect.gen(function*() {
    yield* some.await
    // Callers that are runnable now join this flush instead of waiting for the next.
    yield* Effect.yieldNow
    const entries = take()
    if (entries.length > 0) yield* flush(entries)
  }))
  yield* Effect.forEach(Array.from({ length: options.inFlight }), () => Effect.forkScoped(flusher), { discard: true })

  return (items) =>
    Effect.gen(function*() {
      while (waiting.length >= options.maxWaiting) {
        room.closeUnsafe()
        yield* room.await
      }
      const done = Deferred.makeUnsafe<ReadonlyArray<B>, E>()
      waiting.push({ items, done })
      some.openUnsafe()
      return yield* Deferred.await(done)
    })
})
