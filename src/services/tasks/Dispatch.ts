/**
 * Items become tasks of a group as there is room for them: what is below `FanOut`.
 *
 * @internal
 */
import { type Duration, Effect, type Exit } from "effect"
import type { GroupCore } from "./GroupCore.ts"
import { limit } from "./InvalidOption.ts"
import * as TaskGroup from "./TaskGroup.ts"
import type { Label } from "./TaskNode.ts"

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

/** Sees how an item ended; `true` when that is not to fail the group. */
type Hook<B, E> = (exit: Exit.Exit<B, E>, index: number) => boolean

/** What a function chooses where the caller does not. */
export interface Defaults {
  readonly concurrency: number
  readonly name: string
}

/** What is to be run, and how. */
export interface Work<A, B, E, R> {
  readonly items: Iterable<A>
  readonly f: (item: A, index: number) => Effect.Effect<B, E, R>
  readonly options: Options<A> | undefined
  readonly defaults: Defaults
}

/** Explicitly undefined is the default too. */
export const concurrencyOf = (options: Options<never> | undefined, defaults: Defaults): number => {
  const given = options?.concurrency ?? defaults.concurrency
  return given === "unbounded" ? Number.POSITIVE_INFINITY : limit("FanOut concurrency", given, 1)
}

/**
 * The dispatcher is the body of a group: it forks the next item when fewer than the limit live, and ends early when the
 * group closes. `E` is what can fail the group, `EItem` what an item can fail with (the hook takes it).
 */
export const run = <A, B, E, R, EItem = E>(
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
