import type { Effect } from "effect"
import * as NodeLeaks from "../../src/layers/tasks/NodeLeaks.ts"
import type { LeakFound } from "../../src/services/tasks/Leaks.ts"
import * as Tasks from "../../src/services/tasks/Tasks.ts"

/** Gives a test a task tree of its own, and fails it when anything it started outlives it. */
export const leakFree = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LeakFound, R> =>
  self.pipe(NodeLeaks.check(), Tasks.isolated("test"))
