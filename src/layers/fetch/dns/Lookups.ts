/**
 * Lookups under way, bounded: so many at a time, the others in the order in which they came. A lookup that takes long, or that nobody
 * waits for any more, leaves its place to the next one and goes on aside, so that names that are silent hold up none of the others.
 */
import type { Answer, Cancel, Lookup } from "./Answer.ts"
import type { Timers } from "./Timers.ts"

/** What becomes of a lookup. */
export interface Lookout {
  readonly done: (answer: Answer) => void
  readonly held: (isHeld: boolean) => void
}

export interface LookupsOptions {
  /** At a time; each asks for two address families. @default 128 */
  readonly lookupsMax?: number | undefined
  /** That take long, or that nobody waits for, at a time. @default 1_024 */
  readonly slowMax?: number | undefined
  /** What takes longer is slow. @default 1_000 */
  readonly slowMillis?: number | undefined
}

/** One lookup, from its place in the queue to its end. */
export class Running {
  readonly hostname: string
  readonly lookout: Lookout
  isWanted = true
  /** It waits for a turn of the resolver's own. */
  isHeld = false
  /** Ends it, where that can be done. */
  cancel: Cancel = () => {}
  /** Ends the wait for its being slow. */
  stopTimer: Cancel = () => {}

  constructor(hostname: string, lookout: Lookout) {
    this.hostname = hostname
    this.lookout = lookout
  }
}

export class Lookups {
  private readonly lookup: Lookup
  private readonly timers: Timers
  private readonly lookupsMax: number
  private readonly slowMax: number
  private readonly slowMillis: number
  private readonly waiting = new Set<Running>()
  private readonly quick = new Set<Running>()
  /** The longest under way first. */
  private readonly slow = new Set<Running>()
  /** Those that wait, or have waited, for a turn of the resolver's own, which bounds them. */
  private readonly parked = new Set<Running>()
  private isStarting = false

  constructor(lookup: Lookup, timers: Timers, options: LookupsOptions) {
    this.lookup = lookup
    this.timers = timers
    this.lookupsMax = options.lookupsMax ?? 128
    this.slowMax = options.slowMax ?? 1024
    this.slowMillis = options.slowMillis ?? 1000
  }

  run(hostname: string, lookout: Lookout): Running {
    const running = new Running(hostname, lookout)
    if (this.quick.size < this.lookupsMax) this.start(running)
    else {
      this.waiting.add(running)
      lookout.held(true)
    }
    return running
  }

  /** Nobody waits for it any more. If it has begun it goes on aside, for what it still may find out. */
  leave(running: Running): void {
    running.isWanted = false
    if (this.waiting.has(running) || running.isHeld) this.drop(running)
    else if (this.quick.has(running)) this.stepAside(running)
  }

  /** Ends all of them. */
  close(): void {
    for (const running of [...this.waiting, ...this.quick, ...this.slow, ...this.parked]) this.drop(running)
  }

  private start(running: Running): void {
    this.quick.add(running)
    this.slowIn(running)
    const cancel = this.lookup(
      running.hostname,
      (answer) => this.ended(running, answer),
      (isHeld) => this.held(running, isHeld)
    )
    if (typeof cancel === "function") running.cancel = cancel
  }

  private held(running: Running, isHeld: boolean): void {
    running.isHeld = isHeld
    running.lookout.held(isHeld)
    if (!isHeld) return
    running.stopTimer()
    this.slow.delete(running)
    this.parked.add(running)
    if (this.quick.delete(running)) this.next()
  }

  private slowIn(running: Running): void {
    running.stopTimer = this.timers.after(this.slowMillis, () => this.stepAside(running))
  }

  private stepAside(running: Running): void {
    running.stopTimer()
    if (this.slow.size >= this.slowMax) {
      const unwanted = [...this.slow, running].find((each) => !each.isWanted)
      // All of those aside are waited for: this one keeps its place for a while.
      if (unwanted === undefined) return this.slowIn(running)
      this.drop(unwanted)
      if (unwanted === running) return this.next()
    }
    this.quick.delete(running)
    this.slow.add(running)
    this.next()
  }

  private next(): void {
    // A lookup that is answered at once frees its place at once: that is for the loop that goes on, not for one within it.
    if (this.isStarting) return
    this.isStarting = true
    for (const running of this.waiting) {
      if (this.quick.size >= this.lookupsMax) break
      this.waiting.delete(running)
      running.lookout.held(false)
      this.start(running)
    }
    this.isStarting = false
  }

  private ended(running: Running, answer: Answer): void {
    running.stopTimer()
    if (this.quick.delete(running)) this.next()
    else if (!this.slow.delete(running) && !this.parked.delete(running)) return
    running.lookout.done(answer)
  }

  private drop(running: Running): void {
    running.stopTimer()
    for (const each of [this.waiting, this.quick, this.slow, this.parked]) each.delete(running)
    running.cancel()
    running.lookout.done({ code: "ECANCELLED" })
  }
}
