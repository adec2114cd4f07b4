import { type Cause, Effect, Exit, Queue, Schema } from "effect"
import * as FanOut from "./FanOut.ts"
import { limit, wholeNumber } from "./InvalidOption.ts"
import { type Label, render } from "./TaskNode.ts"
import * as Tasks from "./Tasks.ts"

/** The queue takes nothing more (offering), or has nothing more to give (taking). */
export class QueueClosed extends Schema.TaggedError<QueueClosed>()("QueueClosed", { queue: Schema.String }) {
  override get message(): string {
    return `${this.queue} is shut down`
  }
}

/**
 * A bounded queue between producers and consumers that knows when all its work is done. An item counts as unfinished
 * from the moment it is in the queue until whoever took it is through with it, however that ends.
 */
export interface WorkQueue<in out A> {
  /** Puts an item in; waits while the queue is full. */
  readonly offer: (item: A) => Effect.Effect<void, QueueClosed>
  /**
   * Takes one item and runs the function on it, in one step: an interruption comes before, and the item stays in the
   * queue, or after, and the item is the function's. It is done when the function has ended, failed or was interrupted.
   */
  readonly process: <B, E, R>(f: (item: A) => Effect.Effect<B, E, R>) => Effect.Effect<B, E | QueueClosed, R>
  /** Waits until nothing is unfinished. */
  readonly join: Effect.Effect<void>
  /** No more offers; what is in the queue is still given out. */
  readonly shutdown: Effect.Effect<void>
  /** No more offers, and what is in the queue is given back instead of given out. */
  readonly shutdownNow: Effect.Effect<Array<A>>
  /** Figures of this moment. */
  readonly stats: Effect.Effect<{ readonly queued: number; readonly inFlight: number; readonly capacity: number }>
}

/**
 * Makes a queue for at most `capacity` items: a whole number of at least one, or Infinity.
 *
 * @default options.name "queue"
 */
export const make = <A>(
  capacity: number,
  options?: { readonly name?: Label | undefined }
): Effect.Effect<WorkQueue<A>> =>
  Effect.suspend(() =>
    Effect.map(
      Queue.bounded<A, Cause.Done>(limit("WorkQueue capacity", capacity, 1)),
      (queue) => new Bounded(queue, options?.name ?? "queue")
    )
  )

/**
 * Runs consumers until the queue is shut down and empty; a failure of one stops the others.
 *
 * @default options.concurrency 1
 */
export const consume = <A, E, R>(
  queue: WorkQueue<A>,
  f: (item: A) => Effect.Effect<unknown, E, R>,
  options?: { readonly concurrency?: number | undefined; readonly name?: Label | undefined }
): Effect.Effect<void, E, R> => {
  type Step = { readonly isOpen: boolean; readonly exit: Exit.Exit<unknown, E> }
  const closed: Step = { isOpen: false, exit: Exit.void }
  // The exit of `f` is kept apart: it may itself be a QueueClosed, of another queue.
  const one = Effect.matchEffect(queue.process((item) => Effect.exit(f(item))), {
    onFailure: () => Effect.succeed(closed),
    onSuccess: (exit): Effect.Effect<Step, E> =>
      Exit.isSuccess(exit) ? Effect.succeed({ isOpen: true, exit }) : Effect.failCause(exit.cause)
  })
  const worker = Effect.gen(function*() {
    while ((yield* one).isOpen) { /* until closed */ }
  })
  return Effect.suspend(() => {
    const length = wholeNumber("WorkQueue.consume concurrency", options?.concurrency ?? 1, 1)
    return FanOut.forEachDiscard(Array.from({ length }), () => worker, {
      concurrency: "unbounded",
      name: options?.name ?? "consumers",
      taskName: (_, index) => `consumer ${index + 1}`
    })
  })
}

class Bounded<A> implements WorkQueue<A> {
  private readonly queue: Queue.Queue<A, Cause.Done>
  private readonly name: Label
  private inFlight = 0
  private readonly joiners = new Set<() => void>()

  constructor(queue: Queue.Queue<A, Cause.Done>, name: Label) {
    this.queue = queue
    this.name = name
  }

  offer(item: A): Effect.Effect<void, QueueClosed> {
    return Effect.suspend(() => {
      const offered = Queue.isFullUnsafe(this.queue)
        ? Tasks.waiting(() => `room in ${render(this.name)}`)(Queue.offer(this.queue, item))
        : Queue.offer(this.queue, item)
      return Effect.flatMap(offered, (isOffered) => isOffered ? Effect.void : this.closed)
    })
  }

  process<B, E, R>(f: (item: A) => Effect.Effect<B, E, R>): Effect.Effect<B, E | QueueClosed, R> {
    return Effect.suspend(() => {
      let isTaken = false
      // Nothing can come between the item leaving the queue and the call of the function.
      const attempt: Effect.Effect<B, E | QueueClosed, R> = Effect.suspend((): Effect.Effect<
        B,
        E | QueueClosed,
        R
      > => {
        const exit = Queue.takeUnsafe(this.queue)
        if (exit === undefined) return Effect.flatMap(this.awaitItem, () => attempt)
        if (!Exit.isSuccess(exit)) return this.closed
        isTaken = true
        this.inFlight++
        return f(exit.value)
      })
      return Effect.onExit(attempt, () => Effect.sync(() => isTaken ? this.done() : undefined))
    })
  }

  get join(): Effect.Effect<void> {
    return Tasks.waiting(() => `the end of ${render(this.name)}`)(
      Effect.callback<void>((resume) => {
        if (this.isIdle) return resume(Effect.void)
        const joiner = () => resume(Effect.void)
        this.joiners.add(joiner)
        return Effect.sync(() => this.joiners.delete(joiner))
      })
    )
  }

  get shutdown(): Effect.Effect<void> {
    return Effect.sync(() => {
      Queue.endUnsafe(this.queue)
    })
  }

  get shutdownNow(): Effect.Effect<Array<A>> {
    return Effect.sync(() => {
      Queue.endUnsafe(this.queue)
      const items: Array<A> = []
      for (let exit = Queue.takeUnsafe(this.queue); exit !== undefined; exit = Queue.takeUnsafe(this.queue)) {
        if (!Exit.isSuccess(exit)) break
        items.push(exit.value)
      }
      this.settle()
      return items
    })
  }

  readonly stats = Effect.sync(() => ({
    queued: Queue.sizeUnsafe(this.queue),
    inFlight: this.inFlight,
    capacity: this.queue.capacity
  }))

  private get isIdle(): boolean {
    return this.inFlight === 0 && Queue.sizeUnsafe(this.queue) === 0
  }

  private get closed(): Effect.Effect<never, QueueClosed> {
    return Effect.suspend(() => new QueueClosed({ queue: render(this.name) }))
  }

  private get awaitItem(): Effect.Effect<void> {
    return Tasks.waiting(() => `an item of ${render(this.name)}`)(Effect.exit(Queue.peek(this.queue)))
  }

  private done(): void {
    this.inFlight--
    this.settle()
  }

  private settle(): void {
    if (!this.isIdle) return
    const joiners = Array.from(this.joiners)
    this.joiners.clear()
    for (const joiner of joiners) joiner()
  }
}
