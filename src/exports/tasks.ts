/**
 * Structured concurrency: groups that own their tasks, deadlines, fair permits, bounded queues, supervision, other
 * threads and programs, shutdown, and the live tree of it all.
 */
export * as NodeLoopMonitor from "../layers/tasks/NodeLoopMonitor.ts"
export * as WorkerThreads from "../layers/tasks/WorkerThreads.ts"
export * as Main from "../programs/process/Main.ts"
export * as CancelReason from "../services/tasks/CancelReason.ts"
export * as Cleanup from "../services/tasks/Cleanup.ts"
export * as Deadline from "../services/tasks/Deadline.ts"
export * as FairSemaphore from "../services/tasks/FairSemaphore.ts"
export * as FanOut from "../services/tasks/FanOut.ts"
export * as Grace from "../services/tasks/Grace.ts"
export { InvalidOption } from "../services/tasks/InvalidOption.ts"
export * as LoopMonitor from "../services/tasks/LoopMonitor.ts"
export * as Offload from "../services/tasks/Offload.ts"
export * as Shutdown from "../services/tasks/Shutdown.ts"
export * as Subprocess from "../services/tasks/Subprocess.ts"
export * as Supervisor from "../services/tasks/Supervisor.ts"
export * as TaskGroup from "../services/tasks/TaskGroup.ts"
export * as Tasks from "../services/tasks/Tasks.ts"
export * as WorkQueue from "../services/tasks/WorkQueue.ts"
