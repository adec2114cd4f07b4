/** Structured concurrency: groups, deadlines, fair permits, supervision, shutdown and the live task tree. */
export * as Cleanup from "../services/tasks/Cleanup.ts"
export * as Deadline from "../services/tasks/Deadline.ts"
export * as FairSemaphore from "../services/tasks/FairSemaphore.ts"
export * as Shutdown from "../services/tasks/Shutdown.ts"
export * as TaskGroup from "../services/tasks/TaskGroup.ts"
export * as Tasks from "../services/tasks/Tasks.ts"
