/**
 * Where outcomes wait until the stream's consumer takes them, a batch at a time.
 */
import { Cause, Effect, type Pull } from "effect"

export class Outlet<A, E> {
  private items: Array<A> = []
  private failure: Cause.Cause<E> | undefined = undefined
  private waiting: (() => void) | undefined = undefined
  private readonly isFinished: () => boolean
  private readonly onTaken: () => void

  /**
   * @param isFinished whether nothing will come any more
   * @param onTaken there is room again
   */
  constructor(isFinished: () => boolean, onTaken: () => void) {
    this.isFinished = isFinished
    this.onTaken = onTaken
  }

  get size(): number {
    return this.items.length
  }

  push(item: A): void {
    this.items.push(item)
    this.wake()
  }

  /** Ends the stream with this, after what is here. */
  fail(cause: Cause.Cause<E>): void {
    this.failure ??= cause
    this.wake()
  }

  /** Something has changed: whoever waits looks again. */
  wake(): void {
    const waiting = this.waiting
    this.waiting = undefined
    waiting?.()
  }

  readonly pull: Pull.Pull<readonly [A, ...Array<A>], E> = Effect.suspend(() => {
    const [first, ...rest] = this.items
    if (first !== undefined) {
      this.items = []
      this.onTaken()
      return Effect.succeed([first, ...rest])
    }
    if (this.failure !== undefined) return Effect.failCause(this.failure)
    if (this.isFinished()) return Cause.done()
    // After the first one, the rest of this turn's outcomes: one step of the stream for all of them.
    return Effect.flatMap(this.some, () => Effect.flatMap(Effect.yieldNow, () => this.pull))
  })

  private readonly some: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.items.length > 0 || this.failure !== undefined || this.isFinished()) resume(Effect.void)
    else this.waiting = () => resume(Effect.void)
  })
}
