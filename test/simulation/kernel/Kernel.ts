/**
 * Virtual time: what can happen next, and which of it does. Between processes the seed chooses; within a process tasks keep their order,
 * as in production. Nothing here waits, and nothing here asks a real clock.
 */
import { SeededRandom } from "./Random.ts"

/** Whoever has work to do: a simulated process. */
export interface Runner {
  readonly name: string
  readonly isAlive: boolean
  /** Until then none of its tasks and timers run (SIGSTOP). */
  readonly frozenUntil: number
  /** Runs something as this process. */
  readonly enter: (work: () => void) => void
  readonly tasks: Array<() => void>
}

export interface Timer {
  at: number
  readonly seq: number
  readonly runner: Runner | undefined
  readonly fire: () => void
  isCancelled: boolean
}

const isEarlier = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.seq < b.seq)

/** 14 November 2023, 22:13:20 UTC: any instant will do, if it is the same for all. */
export const epochMillis = 1_700_000_000_000

export class Kernel {
  nowMillis = epochMillis
  steps = 0
  /** What happened so far, as one number: two runs of one seed must agree on it. */
  hash = 0x811c9dc5
  /** Lines of the story, when somebody wants to read it. */
  story: Array<string> | undefined
  readonly random: SeededRandom
  private readonly runnable: Array<Runner> = []
  private readonly timers: Array<Timer> = []
  private seq = 0

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
  }

  /** Notes that something happened. */
  trace(text: string): void {
    let hash = this.hash
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
    this.hash = hash
  }

  /** Notes what a person would want to read. */
  tell(text: string): void {
    this.trace(text)
    this.story?.push(`${this.clock}  ${text}`)
  }

  /** Notes what somebody may want to read, and what is no part of what happened. */
  mention(text: string): void {
    this.story?.push(`${this.clock}  · ${text}`)
  }

  wake(runner: Runner): void {
    if (!this.runnable.includes(runner)) this.runnable.push(runner)
  }

  forget(runner: Runner): void {
    const at = this.runnable.indexOf(runner)
    if (at >= 0) this.runnable.splice(at, 1)
  }

  /** Does it `millis` from now; for a process that is killed meanwhile never. */
  after(millis: number, runner: Runner | undefined, fire: () => void): Timer {
    const timer = { at: this.nowMillis + millis, seq: this.seq++, runner, fire, isCancelled: false }
    this.push(timer)
    return timer
  }

  /** Runs until that instant, or until nothing is left to happen. */
  runUntil(atMillis: number): void {
    while (this.nowMillis < atMillis && this.step(atMillis)) {
      // Each step is one thing that happens.
    }
    this.nowMillis = Math.max(this.nowMillis, atMillis)
  }

  /** Runs until it is so; `false` when that never comes within the time. */
  runWhile(isUnsettled: () => boolean, millisMax: number): boolean {
    const end = this.nowMillis + millisMax
    while (isUnsettled()) if (this.nowMillis >= end || !this.step(end)) return false
    return true
  }

  private get clock(): string {
    return ((this.nowMillis - epochMillis) / 1000).toFixed(3).padStart(9)
  }

  private step(untilMillis: number): boolean {
    this.steps++
    const ready = this.runnable.filter((runner) => runner.frozenUntil <= this.nowMillis)
    const chosen = ready[ready.length > 1 ? this.random.below(ready.length) : 0]
    if (chosen !== undefined) {
      const task = chosen.tasks.shift()
      if (chosen.tasks.length === 0) this.forget(chosen)
      this.trace(chosen.name)
      if (task !== undefined) chosen.enter(task)
      return true
    }
    return this.fireNext(untilMillis)
  }

  private fireNext(untilMillis: number): boolean {
    for (let timer = this.timers[0]; timer !== undefined; timer = this.timers[0]) {
      if (timer.at > untilMillis) return false
      this.pop()
      const { runner } = timer
      if (timer.isCancelled || runner?.isAlive === false) continue
      if (runner !== undefined && runner.frozenUntil > timer.at) {
        timer.at = runner.frozenUntil
        this.push(timer)
        continue
      }
      this.nowMillis = Math.max(this.nowMillis, timer.at)
      this.trace(runner?.name ?? "world")
      if (runner === undefined) timer.fire()
      else runner.enter(timer.fire)
      return true
    }
    return false
  }

  private push(timer: Timer): void {
    const heap = this.timers
    let at = heap.push(timer) - 1
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = heap[parentAt]
      if (parent === undefined || isEarlier(parent, timer)) break
      heap[at] = parent
      at = parentAt
    }
    heap[at] = timer
  }

  private pop(): void {
    const heap = this.timers
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    while (true) {
      const left = heap[2 * at + 1]
      const right = heap[2 * at + 2]
      const isRight = right !== undefined && left !== undefined && isEarlier(right, left)
      const child = isRight ? right : left
      if (child === undefined || isEarlier(last, child)) break
      heap[at] = child
      at = 2 * at + (isRight ? 2 : 1)
    }
    heap[at] = last
  }
}
