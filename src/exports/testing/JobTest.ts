/** `JobTest` of `sluice/testing`: the tests of one's own jobs, on virtual time and without a database. */
export { drain, type Drained, type DrainOptions, layer } from "../../layers/jobs/JobDrain.ts"
export {
  assertEnqueued,
  enqueued,
  type EnqueuedJob,
  type EnqueuedOptions,
  type LookError,
  type PayloadMatch,
  refuteEnqueued
} from "../../services/jobs/testing/EnqueuedJobs.ts"
export { fastForward, type FastForwardOptions } from "../../services/jobs/testing/FastForward.ts"
export { JobTestError } from "../../services/jobs/testing/JobTestError.ts"
export { perform, type Performed, type PerformOptions } from "../../services/jobs/testing/Perform.ts"
