/** `JobWorker` of `sluice/jobs`: what a worker is, and the layer that runs one. */
export { layer } from "../../layers/jobs/worker/Worker.ts"
export { JobWorker, type WorkerOptions, type WorkerStatus } from "../../services/jobs/JobWorker.ts"
