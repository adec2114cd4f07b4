import type { JobAttemptFailure, JobId, JobState } from "./Job.ts"

/**
 * What becomes of a parent when a child is dead or was cancelled: it is dead too ("fail", until the child is redriven), it runs when all
 * have ended however that was ("ignore"), or it runs at once ("continue"). Its other children go on.
 */
export type WhenChildFails = "fail" | "ignore" | "continue"

/** A child as its parent sees it. */
export interface Child {
  readonly id: JobId
  readonly kind: string
  readonly state: JobState
  readonly result: unknown
  /** Why its last attempt failed; null when none has, and when it has succeeded. */
  readonly failure: JobAttemptFailure | null
}
