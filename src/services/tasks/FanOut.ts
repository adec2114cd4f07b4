import { Cause, type Duration, Effect, Exit, Queue, Schema, Stream } from "effect"
import type { GroupCore } from "./GroupCore.ts"
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
   * How many tasks live at once: there are never more fibers than that, however many items.
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

const concurrencyDefault = 16
const keptMax = 64

/**
 * Runs the function on every item and gives the results in the order of the items. The first failure cancels the rest;
 * the others' failures are behind it in the cause. The items are pulled one by one as tasks become free.
 *
 * @default options.concurrency 16
 */
export const forEach = <A, B, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A>
): Effect.Effect<Array<B>, E, R> =>
  Effect.suspend(() => {
    const results: Array<B> = []
    return Effect.as(
      run<A, B, E, R>(items, f, options, () => (exit, index) => {
        if (Exit.isSuccess(exit)) results[index] = exit.value
        return false
      }),
      results
    )
  })

/** `forEach` for its effects alone: memory does not grow with the number of items. */
export const forEachDiscard = <A, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<unknown, E, R>,
  options?: Options<A>
): Effect.Effect<void, E, R> => run<A, unknown, E, R>(items, f, options, () => () => false)

type Any = Effect.Effect<unknown, unknown, unknown>
type Unified<Eff extends Any> = Effect.Effect<Effect.Success<Eff>, Effect.Error<Eff>, Effect.Services<Eff>>

/** What every effect of a mixed list is; TypeScript does not unify the members of a generic by itself. */
const unified = <Eff extends Any>(effect: Eff) => effect as Any as Unified<Eff>

/** Runs all effects at once and gives their values in order; the first failure cancels the rest. */
export const all = <Eff extends Any>(
  effects: Iterable<Eff>,
  options?: Options<Eff>
): Effect.Effect<Array<Effect.Success<Eff>>, Effect.Error<Eff>, Effect.Services<Eff>> =>
  forEach(effects, unified, { concurrency: "unbounded", ...options })

/** Runs the function on every item and gives every exit, failures and defects included, in the order of the items. */
export const collect = <A, B, E, R>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A>
): Effect.Effect<Array<Exit.Exit<B, E>>, never, R> =>
  Effect.suspend(() => {
    const exits: Array<Exit.Exit<B, E>> = []
    return Effect.as(
      run<A, B, never, R, E>(items, f, options, () => (exit, index) => {
        exits[index] = exit
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
  Stream.callback<B, E, R>(
    (queue) =>
      Effect.andThen(
        forEachDiscard(items, (item, index) => Effect.flatMap(f(item, index), (b) => Queue.offer(queue, b)), options),
        Queue.end(queue)
      ),
    { bufferSize: options?.bufferSize ?? Math.min(1024, limitOf(options)) }
  )

/** One batch of items at a time, each run like `forEach`; the next one starts when the reader asks for it. */
export const batches = <A, B, E, R>(
  items: Iterable<A>,
  size: number,
  f: (item: A, index: number) => Effect.Effect<B, E, R>,
  options?: Options<A>
): Stream.Stream<ReadonlyArray<B>, E, R> =>
  Stream.fromIterable(items).pipe(
    Stream.grouped(size),
    Stream.rechunk(1),
    Stream.zipWithIndex,
    Stream.mapEffect(([batch, number]) =>
      forEach(batch, (item, index) => f(item, number * size + index), { concurrency: size, ...options })
    )
  )

/** The first success; the others are cancelled. When all fail, the cause has all their failures, in order of time. */
export const firstSuccess = <Eff extends Any>(
  effects: Iterable<Eff>,
  options?: Options<Eff>
): Effect.Effect<Effect.Success<Eff>, Effect.Error<Eff> | NoTasks, Effect.Services<Eff>> =>
  race(effects, unified<Eff>, options, Exit.isSuccess)

/** The first to end, however it ends; the others are cancelled. */
export const firstCompleted = <Eff extends Any>(
  effects: Iterable<Eff>,
  options?: Options<Eff>
): Effect.Effect<Effect.Success<Eff>, Effect.Error<Eff> | NoTasks, Effect.Services<Eff>> =>
  race(effects, unified<Eff>, options, () => true)

const race = <Item, A, E, R>(
  items: Iterable<Item>,
  f: (item: Item) => Effect.Effect<A, E, R>,
  options: Options<Item> | undefined,
  isWinner: (exit: Exit.Exit<A, E>) => boolean
): Effect.Effect<A, E | NoTasks, R> =>
  Effect.suspend(() => {
    let winner: Exit.Exit<A, E> | undefined
    const reasons: Array<Cause.Reason<E>> = []
    const runners = run<Item, A, never, R, E>(
      items,
      f,
      { concurrency: "unbounded", name: "race", ...options },
      (core) => (exit) => {
        if (winner !== undefined) {
          // A loser has lost; only a defect in its cleanup is worth a line.
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

const limitOf = (options: Options<never> | undefined): number =>
  options?.concurrency === "unbounded"
    ? Number.POSITIVE_INFINITY
    : Math.max(1, options?.concurrency ?? concurrencyDefault)

/**
 * The dispatcher is the body of a group: it forks the next item when fewer than the limit live, and ends early when the
 * group closes. `E` is what can fail the group, `EItem` what an item can fail with (the hook takes it).
 */
const run = <A, B, E, R, EItem = E>(
  items: Iterable<A>,
  f: (item: A, index: number) => Effect.Effect<B, EItem, R>,
  options: Options<A> | undefined,
  makeHook: (core: GroupCore<E>) => Hook<B, EItem>
): Effect.Effect<void, E, R> =>
  TaskGroup.withCore<E, void, never, R>(
    { name: options?.name ?? "fan-out", grace: options?.grace },
    (core) =>
      Effect.withFiber((fiber) => {
        const hook = makeHook(core)
        const limit = limitOf(options)
        const iterator = items[Symbol.iterator]()
        let next: IteratorResult<A> | undefined
        let count = 0
        const slot = Effect.callback<void>((resume) => {
          const isFree = () => core.live < limit || core.phase !== "open"
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
              return core.live < limit ? fork(item) : Effect.flatMap(slot, () => fork(item))
            },
            step: () => {}
          }),
          // A generator that is left early gets its `finally`.
          () => Effect.sync(() => next?.done === true ? undefined : iterator.return?.())
        )
      })
  )
