import { Cause, type Duration, Effect, Exit, Queue, Schema, Stream } from "effect"
import type { GroupCore } from "./GroupCore.ts"
import { limit, wholeNumber } from "./InvalidOption.ts"
import * as TaskGroup from "./TaskGroup.ts"
import type { Label } from "./TaskNode.ts"

/** A race without runners: it could never end. */
export class NoTasks extends Schema.TaggedError<NoTasks>()("NoTasks", {}) {
  override get message(): string {
    return "there was no task to wait for"
  }
}

/** How many run at once, and what they are called in the live tree. */
export interface Options<in A = unknown> {
  /**
   * How many tasks live at once, at least one: there are never more fibers than that, however many items.
   *
   * @default 16 for items, "unbounded" for effects that are given one by one
   */
  readonly concurrency?: number | "unbounded" | undefined
  /** @default "fan-out" */
  readonly name?: Label | undefined
  /** @default "#" and the number of the item */
  readonly taskName?: ((item: A, index: number) => string) | undefined
  /** How long cancelled tasks may clean up before they are named and left behind. */
  readonly grace?: Duration.Input | undefined
}

type Hook<B, E> = (exit: Exit.Exit<B, E>, index: number) => boolean

/** What each of the functions below chooses where the caller does not. */
interface Defaults {
  readonly concurrency: number
  readonly name: string
}

const itemDefaults: Defaults = { concurrency: 16, name: "fan-out" }
const effectDefaults: Defaults = { concurrency: Number.POSITIVE_INFINITY, name: "fan-out" }
const raceDefaults: Defaults = { concurrency: Number.POSITIVE_INFINITY, name: "race" }

const keptMax = 64

/** What is to be run, and how. */
interface Work<A, B, E, R> {
  readonly items: Iterable<A>
  readonly f: (item: A, index: number) => Effect.Effect<B, E, R>
  readonly options: Options<A> | undefined
  readonly defaults: Defaults
}

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

/** Runs all effects at once and gives their values in order; the first failure cancels the rest. */
export const all = <Eff extends Any>(
  effects: Iterable<Eff>,
  options?: Options<Eff>
): Effect.Effect<Array<Effect.Success<Eff>>, Effect.Error<Eff>, Effect.Services<Eff>> =>
  results({ items: effects, f: unified<Eff>, options, defaults: effectDefaults })

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

/** Explicitly undefined is the default too. */
const concurrencyOf = (options: Options<never> | undefined, defaults: Defaults): number => {
  const given = options?.concurrency ?? defaults.concurrency
  return given === "unbounded" ? Number.POSITIVE_INFINITY : limit("FanOut concurrency", given, 1)
}

/**
 * The dispatcher is the body of a group: it forks the next item when fewer than the limit live, and ends early when the
 * group closes. `E` is what can fail the group, `EItem` what an item can fail with (the hook takes it).
 */
const run = <A, B, E, R, EItem = E>(
  work: Work<A, B, EItem, R>,
  makeHook: (core: GroupCore<E>) => Hook<B, EItem>
): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    const { defaults, options } = work
    const concurrency = concurrencyOf(options, defaults)
    return TaskGroup.withCore<E, void, never, R>(
      { name: options?.name ?? defaults.name, grace: options?.grace },
      (core) => dispatch(core, work, concurrency, makeHook(core))
    )
  })

const dispatch = <A, B, E, R, EItem>(
  core: GroupCore<E>,
  { f, items, options }: Work<A, B, EItem, R>,
  concurrency: number,
  hook: Hook<B, EItem>
): Effect.Effect<void, never, R> =>
  Effect.withFiber((fiber) => {
    const iterator = items[Symbol.iterator]()
    let next: IteratorResult<A> | undefined
    let count = 0
    const slot = Effect.callback<void>((resume) => {
      const isFree = () => core.live < concurrency || core.phase !== "open"
      // A task may have ended since the dispatcher looked.
      if (isFree()) return resume(Effect.void)
      const forget: Effect.Effect<void> = core.observe(() => {
        if (isFree()) resume(forget)
      })
      return forget
    })
    const fork = (item: A): Effect.Effect<unknown, never, R> => {
      const index = count++
      const label = options?.taskName === undefined
        ? () => `#${index}`
        : () => options.taskName?.(item, index) ?? ""
      const effect = Effect.suspend(() => f(item, index))
      return core.fork(effect, label, (exit) => hook(exit, index), fiber)
    }
    return Effect.onExit(
      Effect.whileLoop({
        while: () => core.phase === "open" && (next = iterator.next()).done !== true,
        body: () => {
          const item: A = next?.value
          return core.live < concurrency ? fork(item) : Effect.flatMap(slot, () => fork(item))
        },
        step: () => {}
      }),
      // A generator that is left early gets its `finally`.
      () => Effect.sync(() => next?.done === true ? undefined : iterator.return?.())
    )
  })
