import { Cause, Effect, Exit, Queue, Schema, Stream } from "effect"
import { concurrencyOf, type Defaults, type Options, run, type Work } from "./Dispatch.ts"
import { limit, wholeNumber } from "./InvalidOption.ts"

export type { Options } from "./Dispatch.ts"

/** A race without runners: it could never end. */
export class NoTasks extends Schema.TaggedError<NoTasks>()("NoTasks", {}) {
  override get message(): string {
    return "there was no task to wait for"
  }
}

const itemDefaults: Defaults = { concurrency: 16, name: "fan-out" }
const effectDefaults: Defaults = { concurrency: Number.POSITIVE_INFINITY, name: "fan-out" }
const raceDefaults: Defaults = { concurrency: Number.POSITIVE_INFINITY, name: "race" }

const keptMax = 64

/**
 * Runs the function on every item and gives the results in the order of the items. The first failure cancels the rest;
 * the others' failures are behind it in the cause. An item whose task is cancelled has no result, so that the whole is
 * cancelled with it. The items are pulled one by one as tasks become free.
 *
 * @default options.concurrency 16
 */
export const forEach = <A, B, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A>
): Effect.Effect<Array<B>, E, R> => results({ items, f, options, defaults: itemDefaults })

const results = <A, B, E, R>(work: Work<A, B, E, R>): Effect.Effect<Array<B>, E, R> =>
  Effect.suspend(() => {
    const values: Array<B> = []
    return Effect.as(
      whole(work, (value, index) => {
        values[index] = value
      }),
      values
    )
  })

/** Runs all items, each of which must give its value: the first that is cancelled cancels the whole. */
const whole = <A, B, E, R>(
  work: Work<A, B, E, R>,
  onValue: (value: B, index: number) => void
): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    let cancelled: Exit.Exit<never, E> | undefined
    const all = run<A, B, E, R>(work, (core) => (exit, index) => {
      if (Exit.isSuccess(exit)) {
        onValue(exit.value, index)
      } else if (Cause.hasInterruptsOnly(exit.cause) && core.phase === "open") {
        cancelled = Exit.failCause(exit.cause)
        core.stop(true, "another one was cancelled")
      }
      return false
    })
    return Effect.flatMap(all, () => cancelled ?? Effect.void)
  })

/**
 * `forEach` for its effects alone: memory does not grow with the number of items. There are no results to miss: a
 * cancelled item counts as done.
 */
export const forEachDiscard = <A, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<unknown, E, R>,
  options?: Options<A>
): Effect.Effect<void, E, R> => run<A, unknown, E, R>({ items, f, options, defaults: itemDefaults }, () => () => false)

type Any = Effect.Effect<unknown, unknown, unknown>
type Unified<Eff extends Any> = Effect.Effect<Effect.Success<Eff>, Effect.Error<Eff>, Effect.Services<Eff>>

/** What every effect of a mixed list is; TypeScript does not unify the members of a generic by itself. */
const unified = <Eff extends Any>(effect: Eff) => effect as Any as Unified<Eff>

/** Effects to be run together: a list, or a record whose keys are their names in the live tree. */
type Together = Iterable<Any> | { readonly [name: string]: Any }
type MemberOf<Effects extends Together> = Effects extends Iterable<infer Eff extends Any> ? Eff
  : Extract<Effects[keyof Effects], Any>
/** A tuple gives a tuple, a record a record, any other list an array. */
type ValuesOf<Effects extends Together> = Effects extends ReadonlyArray<Any> | { readonly [name: string]: Any }
  ? { -readonly [Key in keyof Effects]: Effects[Key] extends Any ? Effect.Success<Effects[Key]> : never }
  : Array<Effect.Success<MemberOf<Effects>>>

const isList = (effects: Together): effects is Iterable<Any> => Symbol.iterator in effects

/**
 * Runs all effects at once and gives their values as they were given: a tuple for a tuple, a record for a record, an
 * array for any other list. The first failure cancels the rest.
 */
export const all = <const Effects extends Together>(
  effects: Effects,
  options?: Options<MemberOf<Effects>>
): Effect.Effect<ValuesOf<Effects>, Effect.Error<MemberOf<Effects>>, Effect.Services<MemberOf<Effects>>> => {
  // TypeScript does not follow values through a conditional type.
  type All = Effect.Effect<never, Effect.Error<MemberOf<Effects>>, Effect.Services<MemberOf<Effects>>>
  const given = options as Options<Any> | undefined
  const work = { f: unified<Any>, defaults: effectDefaults }
  if (isList(effects)) return results({ ...work, items: effects, options: given }) as unknown as All
  const names = Object.keys(effects)
  const taskName = given?.taskName ?? ((_: Any, index: number) => names[index] ?? "")
  const named = results({ ...work, items: Object.values<Any>(effects), options: { ...given, taskName } })
  return Effect.map(
    named,
    (values) => Object.fromEntries(values.map((value, index) => [names[index], value]))
  ) as unknown as All
}

/** Runs the function on every item and gives every exit, failures and defects included, in the order of the items. */
export const collect = <A, B, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A>
): Effect.Effect<Array<Exit.Exit<B, E>>, never, R> =>
  Effect.suspend(() => {
    const exits: Array<Exit.Exit<B, E>> = []
    return Effect.as(
      run<A, B, never, R, E>({ items, f, options, defaults: itemDefaults }, (core) => (exit, index) => {
        exits[index] = exit
        // Of a whole that is being interrupted nobody gets the exits.
        if (core.phase !== "open" && Exit.isFailure(exit)) core.noteDefect(exit.cause)
        return true
      }),
      exits
    )
  })

/**
 * The results in the order in which they come. Tasks wait while the reader is behind; leaving the stream early cancels
 * what still runs; the first failure ends the stream after the results before it.
 *
 * @default options.concurrency 16, options.bufferSize the concurrency, at most 1024
 */
export const stream = <A, B, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A> & { readonly bufferSize?: number | undefined }
): Stream.Stream<B, E, R> =>
  Stream.suspend(() => {
    const concurrency = concurrencyOf(options, itemDefaults)
    const bufferSize = limit("FanOut bufferSize", options?.bufferSize ?? Math.min(1024, concurrency), 1)
    return Stream.callback<B, E, R>(
      (queue) => {
        const offered = (item: A, index: number) => Effect.flatMap(f(item, index), (b) => Queue.offer(queue, b))
        const work = { items, f: offered, options, defaults: itemDefaults }
        const all = Effect.onExit(whole(work, () => {}), (exit) =>
          // A reader that has left gets no cause any more.
          Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause) && Cause.hasDies(exit.cause)
            ? Effect.logError("a task of a stream died when its reader had left", exit.cause)
            : Effect.void)
        return Effect.andThen(all, Queue.end(queue))
      },
      { bufferSize }
    )
  })

/** One batch of items at a time, each run like `forEach`; the next one starts when the reader asks for it. */
export const batches = <A, B, E, R>(
  items: Iterable<A>,
  size: number,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A>
): Stream.Stream<ReadonlyArray<B>, E, R> =>
  Stream.suspend(() => {
    const concurrency = wholeNumber("FanOut batches size", size, 1)
    return Stream.fromIterable(items).pipe(
      Stream.grouped(size),
      Stream.rechunk(1),
      Stream.zipWithIndex,
      Stream.mapEffect(([batch, number]) =>
        results({
          items: batch,
          f: (item: A, index) => f(item, number * size + index),
          options,
          defaults: { ...itemDefaults, concurrency }
        })
      )
    )
  })

/** The first success; the others are cancelled. When all fail, the cause has all their failures, in order of time. */
export const firstSuccess = <Eff extends Any>(
  effects: Iterable<Eff>,
  options?: Options<Eff>
): Effect.Effect<Effect.Success<Eff>, Effect.Error<Eff> | NoTasks, Effect.Services<Eff>> =>
  race({ items: effects, f: unified<Eff>, options, defaults: raceDefaults }, Exit.isSuccess)

/** The first to end, however it ends; the others are cancelled. */
export const firstCompleted = <Eff extends Any>(
  effects: Iterable<Eff>,
  options?: Options<Eff>
): Effect.Effect<Effect.Success<Eff>, Effect.Error<Eff> | NoTasks, Effect.Services<Eff>> =>
  race({ items: effects, f: unified<Eff>, options, defaults: raceDefaults }, () => true)

const race = <Item, A, E, R>(
  work: Work<Item, A, E, R>,
  isWinner: (exit: Exit.Exit<A, E>) => boolean
): Effect.Effect<A, E | NoTasks, R> =>
  Effect.suspend(() => {
    let winner: Exit.Exit<A, E> | undefined
    const reasons: Array<Cause.Reason<E>> = []
    const runners = run<Item, A, never, R, E>(
      work,
      (core) => (exit) => {
        if (winner !== undefined || core.phase !== "open") {
          // A loser has lost, and so have all when they are interrupted; only a defect in their cleanup is worth a line.
          if (Exit.isFailure(exit)) core.noteDefect(exit.cause)
        } else if (isWinner(exit)) {
          winner = exit
          core.stop(false, "another one came first")
        } else if (Exit.isFailure(exit) && reasons.length < keptMax) {
          reasons.push(...exit.cause.reasons)
        }
        return true
      }
    )
    return Effect.flatMap(runners, (): Effect.Effect<A, E | NoTasks> => {
      if (winner !== undefined) return winner
      return reasons.length === 0 ? new NoTasks() : Effect.failCause(Cause.fromReasons(reasons))
    })
  })
