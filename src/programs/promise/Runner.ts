import { Cause, type Context, Deferred, Effect, Exit, type ManagedRuntime, Stream } from "effect"
import { SluiceClosed } from "./Failures.ts"

/** The seam between effects and promises: runs them with the services of one Sluice, for as long as that is open. */
export class Runner<R> {
  private readonly runtime: ManagedRuntime.ManagedRuntime<R, unknown>
  private readonly context: Context.Context<R>
  private readonly closing = Deferred.makeUnsafe<never, SluiceClosed>()
  private readonly iterators = new Set<AsyncIterator<unknown>>()
  private closed: Promise<void> | undefined

  constructor(runtime: ManagedRuntime.ManagedRuntime<R, unknown>, context: Context.Context<R>) {
    this.runtime = runtime
    this.context = context
  }

  /** Rejects with an `Error` always: that of the effect, the reason of the signal, or `SluiceClosed`. */
  readonly run = async <A, E>(effect: Effect.Effect<A, E, R>, signal?: AbortSignal): Promise<A> => {
    if (this.closed !== undefined) throw new SluiceClosed()
    signal?.throwIfAborted()
    const exit = await this.runtime.runPromiseExit(effect, { signal })
    if (Exit.isSuccess(exit)) return exit.value
    throw Cause.hasInterruptsOnly(exit.cause) ? this.whyCut(signal) : errorOf(Cause.squash(exit.cause))
  }

  /** A stream as `for await` takes it; each loop runs it anew, and leaving the loop ends it. */
  readonly iterate = <A, E>(stream: Stream.Stream<A, E, R>, signal?: AbortSignal): AsyncIterable<A> => ({
    [Symbol.asyncIterator]: () => {
      if (this.closed !== undefined) return failing(new SluiceClosed())
      if (signal?.aborted === true) return failing(errorOf(signal.reason))
      const stopping = Effect.raceFirst(Deferred.await(this.closing), aborted(signal))
      const source = Stream.toAsyncIterableWith(Stream.interruptWhen(stream, stopping), this.context)
      const iterator = source[Symbol.asyncIterator]()
      this.iterators.add(iterator)
      const leave = () => void this.iterators.delete(iterator)
      return {
        next: () =>
          iterator.next().then(
            (result) => {
              if (result.done !== true) return result
              leave()
              // Closing ends what is waited for as if the list were through.
              if (this.closed !== undefined) throw new SluiceClosed()
              return result
            },
            (error: unknown) => {
              leave()
              throw errorOf(error)
            }
          ),
        return: async () => {
          leave()
          await iterator.return?.()
          return { done: true, value: undefined }
        }
      }
    }
  })

  /** Ends what runs, and then the services themselves, the last built first. */
  readonly close = (): Promise<void> => {
    this.closed ??= this.end()
    return this.closed
  }

  private async end(): Promise<void> {
    Deferred.doneUnsafe(this.closing, Exit.fail(new SluiceClosed()))
    await Promise.allSettled(Array.from(this.iterators, async (iterator) => iterator.return?.()))
    await this.runtime.dispose()
  }

  private whyCut(signal: AbortSignal | undefined): unknown {
    return signal?.aborted === true ? errorOf(signal.reason) : new SluiceClosed()
  }
}

/** Fails with the signal's reason once it is aborted. */
const aborted = (signal: AbortSignal | undefined): Effect.Effect<never, unknown> =>
  signal === undefined ? Effect.never : Effect.callback<never, unknown>((resume) => {
    const stop = () => resume(Effect.fail(signal.reason))
    if (signal.aborted) return stop()
    signal.addEventListener("abort", stop, { once: true })
    return Effect.sync(() => signal.removeEventListener("abort", stop))
  })

/** What is thrown is an `Error`, whatever a signal or a library gave. */
export const errorOf = (error: unknown): Error =>
  error instanceof Error ? error : new Error(String(error), { cause: error })

const failing = (error: Error): AsyncIterator<never> => ({
  next: async () => {
    throw error
  }
})
