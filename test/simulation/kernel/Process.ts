/**
 * A simulated process: an Effect scheduler, clock and random of its own. `kill` is kill -9 (nothing of it ever runs again, no finalizer
 * either), `freeze` is SIGSTOP. Its clock may differ from the others' and drift; its monotonic clock does not.
 */
import { Clock, Context, Duration, Effect, type Fiber, Logger, Random } from "effect"
import * as Scheduler from "effect/Scheduler"
import * as Outage from "../../../src/services/postgres/Outage.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import { CurrentTask, makeRoot } from "../../../src/services/tasks/TaskNode.ts"
import * as Escapes from "./Escapes.ts"
import type { Kernel, Runner } from "./Kernel.ts"
import type { SeededRandom } from "./Random.ts"

/** How many operations a fiber does before it lets others: small numbers find what only shows in between. */
const budgets = [3, 17, 200, 2048] as const

export class Process implements Runner {
  isAlive = true
  isStopping = false
  frozenUntil = 0
  /** How far its wall clock is off, and how much further it goes with each millisecond. */
  skewMillis = 0
  private driftsFromMillis = 0
  private driftRate = 0
  readonly tasks: Array<() => void> = []
  readonly microtasks: Array<() => void> = []
  readonly name: string
  readonly random: SeededRandom
  /** What it was started with. */
  private main: Fiber.Fiber<unknown, unknown> | undefined
  private readonly kernel: Kernel
  private readonly strays: { readonly random: SeededRandom; readonly bytes: SeededRandom }
  private readonly context: Context.Context<never>
  private readonly whenKilled = new Set<() => void>()

  constructor(kernel: Kernel, name: string) {
    this.kernel = kernel
    this.name = name
    this.random = kernel.random.fork()
    this.strays = { random: this.random.fork(), bytes: this.random.fork() }
    const budget = this.random.pick(budgets)
    const dispatcher: Scheduler.SchedulerDispatcher = {
      scheduleTask: (task) => {
        if (!this.isAlive) return
        this.tasks.push(task)
        kernel.wake(this)
      },
      flush: () => {}
    }
    const scheduler: Scheduler.Scheduler = {
      executionMode: "async",
      shouldYield: (fiber) => fiber.currentOpCount >= budget,
      makeDispatcher: () => dispatcher
    }
    this.context = Context.make(Scheduler.Scheduler, scheduler).pipe(
      Context.add(Clock.Clock, this.clock()),
      // A live tree, a shutdown and outages of its own: in those of the test, what was killed would stand for ever.
      Context.add(CurrentTask, makeRoot(name, kernel.nowMillis)),
      Context.add(Shutdown.CurrentShutdown, Effect.runSync(Shutdown.make)),
      Context.add(Outage.CurrentAbsence, Outage.none()),
      // What it says of itself goes nowhere: the checkers look at what it does.
      Context.add(Logger.CurrentLoggers, new Set()),
      Context.add(Random.Random, {
        nextIntUnsafe: () => this.random.u32(),
        nextDoubleUnsafe: () => this.random.float()
      })
    )
  }

  /** What its wall clock says. */
  get clockMillis(): number {
    const { nowMillis } = this.kernel
    return Math.floor(nowMillis + this.skewMillis + (nowMillis - this.driftsFromMillis) * this.driftRate)
  }

  /** Its wall clock goes so much too fast, or too slow, from now on. */
  drift(rate: number): void {
    const { clockMillis } = this
    this.driftsFromMillis = this.kernel.nowMillis
    this.driftRate = rate
    this.skewMillis = clockMillis - this.kernel.nowMillis
  }

  /** Its wall clock is right again. */
  setClock(): void {
    this.driftRate = 0
    this.skewMillis = 0
  }

  enter(work: () => void): void {
    Escapes.enter({ process: this, kernel: this.kernel, ...this.strays }, work)
  }

  run<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> | undefined {
    let fiber: Fiber.Fiber<A, E> | undefined
    this.enter(() => {
      fiber = Effect.runForkWith(this.context)(effect)
    })
    this.main ??= fiber
    return fiber
  }

  /** SIGTERM: what it was started with is interrupted, and may take its time over it. */
  stop(): void {
    this.isStopping = true
    this.enter(() => this.main?.interruptUnsafe())
  }

  /** kill -9. */
  kill(): void {
    if (!this.isAlive) return
    this.isAlive = false
    this.tasks.length = 0
    this.kernel.forget(this)
    for (const tell of this.whenKilled) tell()
  }

  /** SIGSTOP, and SIGCONT after so long. */
  freeze(millis: number): void {
    this.frozenUntil = this.kernel.nowMillis + millis
    // Somebody has to look again when it thaws, if it does.
    if (Number.isFinite(millis)) this.kernel.after(millis, undefined, () => {})
  }

  thaw(): void {
    this.frozenUntil = 0
  }

  /** Gives back what ends that. */
  onKill(tell: () => void): () => void {
    const entry = (): void => tell()
    this.whenKilled.add(entry)
    return () => this.whenKilled.delete(entry)
  }

  private clock(): Clock.Clock {
    const nanos = () => BigInt(this.clockMillis) * 1_000_000n
    const monotonic = () => BigInt(Math.floor(this.kernel.nowMillis * 1e6))
    return {
      currentTimeMillisUnsafe: () => this.clockMillis,
      currentTimeMillis: Effect.sync(() => this.clockMillis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: monotonic,
      monotonicTimeNanos: Effect.sync(monotonic),
      sleep: (duration) => this.sleep(Duration.toMillis(duration))
    }
  }

  private sleep(millis: number): Effect.Effect<void> {
    if (millis <= 0) return Effect.yieldNow
    if (!Number.isFinite(millis)) return Effect.never
    return Effect.callback<void>((resume) => {
      // A timer of a real process is never exact.
      const timer = this.kernel.after(millis + this.random.float(), this, () => resume(Effect.void))
      return Effect.sync(() => {
        timer.isCancelled = true
      })
    })
  }
}
