import { Context } from "effect"

/** A point in time that may move, below the one it was opened in. */
export interface DeadlineNode {
  readonly parent: DeadlineNode | undefined
  readonly depth: number
  atMillis: number
}

/** The earliest of a deadline and all those it was opened in; infinite without one. */
export const effectiveMillis = (node: DeadlineNode | undefined): number => {
  let earliest = Number.POSITIVE_INFINITY
  for (let at = node; at !== undefined; at = at.parent) earliest = Math.min(earliest, at.atMillis)
  return earliest
}

/** The deadline that the current fiber works under; inherited by every fiber that it forks. */
export const CurrentDeadline = Context.Reference<DeadlineNode | undefined>("sluice/services/tasks/CurrentDeadline", {
  defaultValue: () => undefined
})

/** The node that a deadline opened now is below: one that has passed binds nothing that is opened after it, which is cleanup. */
export const openBelow = (parent: DeadlineNode | undefined, nowMillis: number, atMillis: number): DeadlineNode => {
  let live = parent
  while (live !== undefined && live.atMillis <= nowMillis) live = live.parent
  return { parent: live, depth: (parent?.depth ?? 0) + 1, atMillis }
}
