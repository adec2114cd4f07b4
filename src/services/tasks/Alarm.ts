/**
 * One timer for everything that a fetcher waits for: gates that open, retries that come due, deadlines that pass. A timer each would
 * cost more than the request.
 */
import { type Clock, Duration, Effect, type Fiber } from "effect"

interface Entry {
  readonly atMillis: number
  readonly owner: object
  readonly wake: () => void
}

export class Alarm {
  private readonly clock: Clock.Clock
  private readonly fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  private readonly entries: Array<Entry> = []
  private readonly onScan: (nowMillis: number) => number
  private scanAtMillis = Infinity
  private setForMillis = Infinity
  private sleeper: Fiber.Fiber<void> | undefined = undefined

  /**
   * @param fork runs the timer; its fibers end with the fetcher
   * @param onScan looks through what has a deadline, ends what is due, and says when to look again
   */
  constructor(
    clock: Clock.Clock,
    fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>,
    onScan: (nowMillis: number) => number
  ) {
    this.clock = clock
    this.fork = fork
    this.onScan = onScan
  }

  /** Monotonic milliseconds: a wall clock that jumps moves no deadline. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** Calls `wake` at that time, unless its owner has been forgotten by then. */
  at(atMillis: number, owner: object, wake: () => void): void {
    push(this.entries, { atMillis, owner, wake })
    if (atMillis < this.setForMillis) this.set(atMillis)
  }

  /** Something with a deadline at that time has begun or changed. */
  scanBy(atMillis: number): void {
    if (atMillis >= this.scanAtMillis) return
    this.scanAtMillis = atMillis
    if (atMillis < this.setForMillis) this.set(atMillis)
  }

  /** Nothing has a deadline any more. */
  noScan(): void {
    this.scanAtMillis = Infinity
    if (this.entries.length === 0) this.unset()
  }

  /** Drops what this owner waits for. */
  forget(owner: object): void {
    const kept = this.entries.filter((entry) => entry.owner !== owner)
    if (kept.length === this.entries.length) return
    this.entries.length = 0
    for (const entry of kept) push(this.entries, entry)
    if (this.entries.length === 0 && this.scanAtMillis === Infinity) this.unset()
  }

  private unset(): void {
    const sleeper = this.sleeper
    this.sleeper = undefined
    this.setForMillis = Infinity
    sleeper?.interruptUnsafe()
  }

  private set(atMillis: number): void {
    this.unset()
    if (atMillis === Infinity) return
    this.setForMillis = atMillis
    const waitMillis = Math.max(0, Math.ceil(atMillis - this.now()))
    const sleeper: Fiber.Fiber<void> = this.fork(
      Effect.flatMap(this.clock.sleep(Duration.millis(waitMillis)), () =>
        Effect.sync(() => {
          // Fired: there is nothing left to interrupt.
          this.sleeper = undefined
          this.setForMillis = Infinity
          this.fire()
        }))
    )
    if (this.setForMillis === atMillis) this.sleeper = sleeper
  }

  private fire(): void {
    const nowMillis = this.now()
    for (let first = this.entries[0]; first !== undefined && first.atMillis <= nowMillis; first = this.entries[0]) {
      pop(this.entries)
      first.wake()
    }
    if (this.scanAtMillis <= nowMillis) {
      this.scanAtMillis = Infinity
      this.scanBy(this.onScan(nowMillis))
    }
    const nextMillis = Math.min(this.scanAtMillis, this.entries[0]?.atMillis ?? Infinity)
    if (nextMillis < this.setForMillis) this.set(nextMillis)
  }
}

/** A binary heap by time, in an array. */
const push = (heap: Array<Entry>, entry: Entry): void => {
  let index = heap.push(entry) - 1
  while (index > 0) {
    const parent = (index - 1) >> 1
    const above = heap[parent]
    if (above === undefined || above.atMillis <= entry.atMillis) break
    heap[index] = above
    index = parent
  }
  heap[index] = entry
}

const pop = (heap: Array<Entry>): void => {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let index = 0
  while (true) {
    const left = 2 * index + 1
    const leftEntry = heap[left]
    if (leftEntry === undefined) break
    const rightEntry = heap[left + 1]
    const isRight = rightEntry !== undefined && rightEntry.atMillis < leftEntry.atMillis
    const least = isRight ? rightEntry : leftEntry
    if (least.atMillis >= last.atMillis) break
    heap[index] = least
    index = isRight ? left + 1 : left
  }
  heap[index] = last
}
