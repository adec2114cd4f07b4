/** Durable jobs: `sluice/jobs`. */
export * as Job from "../services/jobs/Job.ts"
export * as JobAdmin from "../services/jobs/JobAdmin.ts"
export * as JobCron from "../services/jobs/JobCron.ts"
export * as JobError from "../services/jobs/JobError.ts"
export * as JobHandler from "../services/jobs/JobHandler.ts"
export * as JobQueue from "../services/jobs/JobQueue.ts"
export * as JobStore from "../services/jobs/JobStore.ts"
export * as JobWorker from "../services/jobs/JobWorker.ts"
