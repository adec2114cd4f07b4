import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Schema, type Scope } from "effect"
import { CurrentDeadline } from "./CurrentDeadline.ts"
import { type ForkedTask, GroupCore, type OnFailure } from "./GroupCore.ts"
import { duration } from "./InvalidOption.ts"
import { CurrentTask, type Label, render, TaskNode } from "./TaskNode.ts"

/** A task was spawned into a group that no longer takes any: it has not run. */
export class GroupClosed extends Schema.TaggedError<GroupClosed>()("GroupClosed", {
  group: Schema.String,
  task: Schema.String
}) {
  override get message(): string {
    return `${this.group} is closing or closed: ${this.task} was not started`
  }
}

/** A task given to `start` ended without ever saying that it is ready. */
export class TaskNotReady extends Schema.TaggedError<TaskNotReady>()("TaskNotReady", {
  task: Schema.String
}) {
  override get message(): string {
    return `${this.task} ended before it was ready`
  }
}

/** A child of a group. */
export interface Task<out A, out E = never> {
  /** Its number in the live tree. */
  readonly id: number
  readonly name: string
  /** How it ended; asking twice is fine. */
  readonly await: Effect.Effect<Exit.Exit<A, E>>
  /** Its value or its failure; that of a cancelled task is an interruption. */
  readonly join: Effect.Effect<A, E>
  /** Cancels it, without error for the group, and waits for its cleanup. */
  readonly cancel: Effect.Effect<void>
}

/** What `start` gives: what the task said when it was ready, and the task. */
export interface Started<out A, out B, out E = never> {
  readonly value: A
  readonly task: Task<B, E>
}

/** A group that owns its children: leaving `use` means that they have all ended. */
export interface TaskGroup<in E = never> {
  readonly name: string
  /**
   * Starts a child at once. Any fiber that has the group may spawn, its own children included.
   *
   * @default options.name "task"
   */
  readonly spawn: <A, E1 extends E, R>(
    effect: Effect.Effect<A, E1, R>,
    options?: { readonly name?: Label | undefined }
  ) => Effect.Effect<Task<A, E1>, GroupClosed, R>
  /**
   * Starts a child and waits until it calls `ready`. What goes wrong before that is the failure of `start` and not of
   * the group; interrupting the wait cancels the child.
   */
  readonly start: <A, B, E1 extends E, R>(
    effect: (ready: (value: A) => Effect.Effect<void>) => Effect.Effect<B, E1, R>,
    options?: { readonly name?: Label | undefined }
  ) => Effect.Effect<Started<A, B, E1>, E1 | GroupClosed | TaskNotReady, R>
  /** Ends the group without error: its children are interrupted, it takes no new ones; the body goes on. */
  readonly cancel: Effect.Effect<void>
  /** Waits until no child lives. */
  readonly awaitEmpty: Effect.Effect<void>
  /** How many children live. */
  readonly size: Effect.Effect<number>
}

/** How a group behaves. */
export interface Options {
  /** @default "group" */
  readonly name?: Label | undefined
  /**
   * What a failing child does: `cancel` the group, which fails with it, or `keep` it for whoever reads the task.
   *
   * @default "cancel"
   */
  readonly onFailure?: OnFailure | undefined
  /**
   * How long children may go on once the group was told to stop. Who overstays is named in the log and left behind.
   *
   * @default Duration.infinity: wait for all cleanup
   */
  readonly grace?: Duration.Input | undefined
}

/**
 * Opens a group for the body and waits for the body and all children. The first failure, of a child or of the body,
 * cancels the rest and is the failure of the whole; the others' typed failures are kept behind it in the cause, their
 * defects are logged.
 *
 * @example TaskGroup.use<FetchError>({ name: "crawl" })((group) => group.spawn(fetchOne, { name: "robots.txt" }))
 */
export const use = <E = never>(options?: Options) =>
<A, E2, R>(
  body: (group: TaskGroup<E>) => Effect.Effect<A, E2, R>
): Effect.Effect<A, E | E2, R> => withCore<E, A, E2, R>(options, (core) => Effect.suspend(() => body(new Group(core))))

/** A group that lives in a `Scope`. */
export interface ScopedTaskGroup<in out E = never> extends TaskGroup<E> {
  /**
   * Waits until all children have ended, and fails as `use` would: with the first failure, the others behind it. Then the group is closed.
   * Who never joins finds a failure in the log when the scope closes.
   */
  readonly join: Effect.Effect<void, E>
}

/**
 * Opens a group in the current scope: for a service whose tasks live as long as its layer. Closing the scope cancels the children and waits
 * for their cleanup, within the `grace` if there is one. As in `use` the first failure of a child cancels the others, unless `onFailure` is
 * `keep`; it is the failure of `join`.
 *
 * @example Layer.effect(Feed, Effect.map(TaskGroup.scoped(), (group) => Feed.of({ follow: (url) => group.spawn(poll(url)) })))
 */
export const scoped = <E = never>(options?: Options): Effect.Effect<ScopedTaskGroup<E>, never, Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const opened = yield* Deferred.make<GroupCore<E>>()
    const over = yield* Deferred.make<void>()
    // The body of the group lasts until somebody joins or the scope closes, in a fiber of its own: the group outlives who opened it.
    const body = (core: GroupCore<E>) => Effect.andThen(Deferred.succeed(opened, core), Deferred.await(over))
    const fiber = yield* Effect.forkDetach(withCore<E, void, never, never>(options, body), { startImmediately: true })
    const core = yield* Deferred.await(opened)
    const group = new ScopedGroup(core, Deferred.succeed(over, undefined), fiber)
    yield* Effect.addFinalizer(() => group.close)
    return group
  }))

/** @internal The machine below `use`, for the policies of `FanOut`. */
export const withCore = <E, A, E2, R>(
  options: Options | undefined,
  body: (core: GroupCore<E>) => Effect.Effect<A, E2, R>
): Effect.Effect<A, E | E2, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((owner) => {
      const now = owner.getRef(Clock.Clock).currentTimeMillisUnsafe()
      const core = new GroupCore<E>(
        new TaskNode("group", options?.name ?? "group", owner.getRef(CurrentTask), now),
        owner.getRef(CurrentDeadline),
        options?.onFailure ?? "cancel",
        options?.grace === undefined ? Duration.infinity : duration("TaskGroup grace", options.grace)
      )
      return core.run(body(core), owner, restore)
    })
  )

class ForkedHandle<A, E> implements Task<A, E> {
  private readonly forked: ForkedTask<A, E>
  constructor(forked: ForkedTask<A, E>) {
    this.forked = forked
  }
  get id(): number {
    return this.forked.node.id
  }
  get name(): string {
    return render(this.forked.node.label)
  }
  get await(): Effect.Effect<Exit.Exit<A, E>> {
    return this.forked.node.stack.exitOf(this.forked.fiber)
  }
  get join(): Effect.Effect<A, E> {
    return Effect.flatten(this.await)
  }
  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.forked.node.interrupt(this.forked.fiber)
      return Effect.asVoid(this.await)
    })
  }
}

class Group<E> implements TaskGroup<E> {
  private readonly core: GroupCore<E>
  constructor(core: GroupCore<E>) {
    this.core = core
  }

  get name(): string {
    return render(this.core.node.label)
  }

  get cancel(): Effect.Effect<void> {
    return Effect.sync(() => this.core.stop(false, () => `${this.name} was cancelled`))
  }

  get size(): Effect.Effect<number> {
    return Effect.sync(() => this.core.live)
  }

  get awaitEmpty(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.core.live === 0) return resume(Effect.void)
      return this.core.observe(() => {
        if (this.core.live === 0) resume(Effect.void)
      })
    })
  }

  spawn<A, E1 extends E, R>(
    effect: Effect.Effect<A, E1, R>,
    options?: { readonly name?: Label | undefined }
  ): Effect.Effect<Task<A, E1>, GroupClosed, R> {
    const label = options?.name ?? "task"
    return Effect.withFiber((fiber) =>
      Effect.flatMap(
        this.core.fork(effect, label, undefined, fiber),
        (forked) => forked === undefined ? this.closed(label) : Effect.succeed(new ForkedHandle(forked))
      )
    )
  }

  start<A, B, E1 extends E, R>(
    effect: (ready: (value: A) => Effect.Effect<void>) => Effect.Effect<B, E1, R>,
    options?: { readonly name?: Label | undefined }
  ): Effect.Effect<Started<A, B, E1>, E1 | GroupClosed | TaskNotReady, R> {
    const label = options?.name ?? "task"
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const ready = Deferred.makeUnsafe<A, E1 | TaskNotReady>()
        let isReady = false
        const settle = (exit: Exit.Exit<A, E1 | TaskNotReady>): void =>
          this.core.node.stack.call(fiber.currentDispatcher, () => Deferred.doneUnsafe(ready, exit))
        const child = Effect.suspend(() =>
          effect((value) =>
            Effect.sync(() => {
              isReady = true
              settle(Exit.succeed(value))
            })
          )
        )
        const hook = (exit: Exit.Exit<B, E1>): boolean => {
          if (isReady) return false
          const why = Exit.isFailure(exit)
            ? Exit.failCause(exit.cause)
            : Exit.fail(new TaskNotReady({ task: render(label) }))
          settle(why)
          return true
        }
        return Effect.flatMap(
          this.core.fork(child, label, hook, fiber),
          (forked): Effect.Effect<Started<A, B, E1>, E1 | GroupClosed | TaskNotReady> => {
            if (forked === undefined) return this.closed(label)
            const task = new ForkedHandle(forked)
            return Effect.map(
              Effect.onInterrupt(restore(Deferred.await(ready)), () => task.cancel),
              (value): Started<A, B, E1> => ({ value, task })
            )
          }
        )
      })
    )
  }

  private closed(label: Label): Effect.Effect<never, GroupClosed> {
    return Effect.suspend(() => new GroupClosed({ group: this.name, task: render(label) }))
  }
}

class ScopedGroup<E> extends Group<E> implements ScopedTaskGroup<E> {
  private readonly end: Effect.Effect<unknown>
  private readonly fiber: Fiber.Fiber<void, E>
  private isJoined = false

  constructor(core: GroupCore<E>, end: Effect.Effect<unknown>, fiber: Fiber.Fiber<void, E>) {
    super(core)
    this.end = end
    this.fiber = fiber
  }

  get join(): Effect.Effect<void, E> {
    return Effect.suspend(() => {
      this.isJoined = true
      return Effect.andThen(this.end, Effect.flatten(Fiber.await(this.fiber)))
    })
  }

  /** Cancels what still runs; nobody is there any more to be told of a failure. */
  get close(): Effect.Effect<void> {
    return this.cancel.pipe(
      Effect.andThen(this.end),
      Effect.andThen(Fiber.await(this.fiber)),
      Effect.flatMap((exit) =>
        Exit.isFailure(exit) && !this.isJoined && !Cause.hasInterruptsOnly(exit.cause)
          ? Effect.logError(`${this.name}: a task failed, and nobody joined the group`, exit.cause)
          : Effect.void
      )
    )
  }
}
