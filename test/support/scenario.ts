import { it } from "@effect/vitest"
import { Cause, Effect, Exit, Schema } from "effect"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { leakFree } from "./leakFree.ts"

/** A typed failure that says who failed. */
export class Boom extends Schema.TaggedError<Boom>()("Boom", { who: Schema.String }) {}

/**
 * One conformance scenario: `source` is the case of a public suite that it answers (see the anchors, A4), `claim` what
 * holds here. Time is virtual, the task tree is its own, and nothing may be left behind.
 */
export const scenario = <E>(source: string, claim: string, body: Effect.Effect<void, E, Scope.Scope>): void => {
  // The first sleep of a TestClock that was never adjusted opens an interruptible region (it forks a warning), which cuts
  // a sleep in a cleanup short (effect 4.1.0): an adjustment by nothing puts that behind.
  it.effect(`[${source}] ${claim}`, () => leakFree(Effect.scoped(Effect.andThen(TestClock.adjust(0), body))))
}

/** Remembers what happened, in order. */
export const makeTrace = () => {
  const events: Array<string> = []
  const mark = (event: string) =>
    Effect.sync(() => {
      events.push(event)
    })
  return {
    events,
    mark,
    /** Waits for ever, and marks that it was cancelled. */
    untilCancelled: (name: string) => Effect.onInterrupt(Effect.never, () => mark(`${name} cancelled`))
  }
}

/** Who failed, in the order of the cause. */
export const failuresOf = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<string> =>
  Exit.isSuccess(exit)
    ? []
    : exit.cause.reasons.flatMap((reason) =>
      Cause.isFailReason(reason) && reason.error instanceof Boom
        ? [reason.error.who]
        : Cause.isDieReason(reason)
        ? [`died: ${String(reason.defect)}`]
        : []
    )

/** Whether the exit is an interruption and nothing else. */
export const isInterrupted = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
