import type { JobFailure, JobId, JobInfo } from "./Job.ts"

/** Which dead letters to run again. */
export interface RedriveFilter {
  readonly queue?: string
  readonly kind?: string
  readonly reason?: JobFailure["reason"]
  readonly ids?: ReadonlyArray<JobId>
  /** @default 1000, at most 100000 */
  readonly limit?: number
}

/** What a redrive with the same filter would do. */
export interface RedrivePreview {
  /** How many dead letters would run again, the limit at most. */
  readonly matched: number
  /** How many are meant and would stay: their unique text is that of a live job, or of another one among them. */
  readonly held: number
  /** The first ten that would run again. */
  readonly sample: ReadonlyArray<JobInfo>
}
