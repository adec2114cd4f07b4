import { Effect, type Exit, type Fiber, type Scheduler } from "effect"

/**
 * So many starts, ends and interruptions may stand upon each other before the next one goes through the scheduler. A
 * stack holds some 1,200 of the smallest; what a program does between them needs room too.
 */
const depthMax = 32

/**
 * Keeps the stack small in a tree of tasks. Starting, ending and interrupting are synchronous, so that a task which
 * spawns the next one, joins it or cancels it in its cleanup does so on the stack of that one: a chain of 100,000 would use
 * it up.
 */
export class CallStack {
  private depth = 0
  turn = 0
  private isTurnEnding = false

  /** Resumes or interrupts a fiber: now, or from the scheduler when too many calls stand upon each other. */
  call(dispatcher: Scheduler.SchedulerDispatcher, f: () => void): void {
    if (this.depth >= depthMax) return dispatcher.scheduleTask(f, 0)
    this.depth++
    f()
    this.depth--
  }

  /** `Fiber.await`, resumed by a `call`. */
  exitOf<A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Exit.Exit<A, E>> {
    return Effect.withFiber((waiter) => {
      const ended = fiber.pollUnsafe()
      if (ended !== undefined) return Effect.succeed(ended)
      return Effect.callback<Exit.Exit<A, E>>((resume) => {
        const forget = fiber.addObserver((exit) =>
          this.call(waiter.currentDispatcher, () => resume(Effect.succeed(exit)))
        )
        return Effect.sync(forget)
      })
    })
  }

  /** `Fiber.interrupt`, by a `call`. */
  interrupt(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.call(fiber.currentDispatcher, () => fiber.interruptUnsafe(undefined))
      return Effect.asVoid(this.exitOf(fiber))
    })
  }

  /**
   * Counts a start that is made by what started so deep in that turn of the scheduler. What started in an earlier turn is no
   * longer on the stack. (When a start returns cannot be seen from inside: the turn is the nearest thing.)
   */
  depthBelow(turn: number, depth: number, spawner: Fiber.Fiber<unknown, unknown>): number {
    if (turn !== this.turn) return 1
    if (depth > 0 && !this.isTurnEnding) this.endTurn(spawner)
    return depth + 1
  }

  private endTurn(spawner: Fiber.Fiber<unknown, unknown>): void {
    this.isTurnEnding = true
    spawner.currentDispatcher.scheduleTask(() => {
      this.turn++
      this.isTurnEnding = false
    }, 0)
  }
}

/** Whether a start so deep on the stack had better wait for the next turn. */
export const isTooDeep = (depth: number): boolean => depth % depthMax === 0
