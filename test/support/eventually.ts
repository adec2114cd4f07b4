import { Duration, Effect } from "effect"
import { setTimeout as pause } from "node:timers/promises"

export interface Options {
  /** When to give up: a time that only a hang exceeds, on a loaded machine too. @default 45 seconds */
  readonly within?: Duration.Input
}

const pollMillis = 20

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, part) => typeof part === "bigint" ? String(part) : part) ?? String(value)

/**
 * Looks until what is seen is right, and gives it: for what nobody tells, as a row of a table or an answer of another process. In
 * real time, whatever clock the test has. Dies with what was seen last.
 */
export const eventually: {
  <A, B extends A, E, R>(
    look: Effect.Effect<A, E, R>,
    isRight: (seen: A) => seen is B,
    options?: Options
  ): Effect.Effect<B, E, R>
  <A, E, R>(look: Effect.Effect<A, E, R>, isRight: (seen: A) => boolean, options?: Options): Effect.Effect<A, E, R>
} = <A, E, R>(
  look: Effect.Effect<A, E, R>,
  isRight: (seen: A) => boolean,
  options: Options = {}
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const millis = Duration.toMillis(options.within ?? "45 seconds")
    const end = performance.now() + millis
    while (true) {
      const seen = yield* look
      if (isRight(seen)) return seen
      if (performance.now() >= end) {
        return yield* Effect.die(new Error(`not so within ${millis} ms; seen last: ${shown(seen)}`))
      }
      yield* Effect.promise((signal) => pause(pollMillis, undefined, { signal }).catch(() => {}))
    }
  })
