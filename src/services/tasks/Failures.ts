import { Cause, Effect } from "effect"
import { type Label, render } from "./TaskNode.ts"

/** How many failures are kept beside the first one, and how many defects are logged; the rest is counted. */
const keptMax = 64

/**
 * What went wrong in a group: the first failure, those beside it, and the defects that cannot stand beside a failure.
 *
 * @internal
 */
export class Failures<E> {
  private first: Cause.Cause<E> | undefined = undefined
  private readonly siblings: Array<Cause.Reason<E>> = []
  private readonly defects: Array<Cause.Cause<unknown>> = []
  private omitted = 0

  get isEmpty(): boolean {
    return this.first === undefined
  }

  /** Records a failure and says whether it is the first one. Interruption alone is no failure. */
  add(cause: Cause.Cause<E>): "first" | "further" | "none" {
    const reasons = cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))
    if (reasons.length === 0) return "none"
    const failure = Cause.fromReasons(reasons)
    if (this.first === undefined) {
      this.first = failure
      return "first"
    }
    if (this.siblings.length + this.defects.length >= keptMax) this.omitted++
    // Beside a defect, Effect no longer lets a typed failure be caught: it goes to the log instead.
    else if (Cause.hasDies(failure) && !Cause.hasDies(this.first)) this.defects.push(failure)
    else this.siblings.push(...failure.reasons)
    return "further"
  }

  /** Remembers a defect that is not the outcome: it is logged when the group ends. */
  addDefect(cause: Cause.Cause<unknown>): void {
    if (!Cause.hasDies(cause)) return
    if (this.defects.length < keptMax) this.defects.push(cause)
    else this.omitted++
  }

  /** The cause with all the failures behind it. */
  behind(cause: Cause.Cause<E>): Cause.Cause<E> {
    if (this.first === undefined) return cause
    return Cause.fromReasons([...cause.reasons, ...this.first.reasons, ...this.siblings])
  }

  /** Logs what the outcome does not say. */
  report(group: Label): Effect.Effect<void> {
    if (this.defects.length === 0 && this.omitted === 0) return Effect.void
    const name = render(group)
    const logs = this.defects.map((cause) =>
      Effect.logError(`${name}: a task died beside the failure that is kept`, cause)
    )
    if (this.omitted > 0) logs.push(Effect.logError(`${name}: ${this.omitted} more failures were left out`))
    return Effect.all(logs, { discard: true })
  }
}
