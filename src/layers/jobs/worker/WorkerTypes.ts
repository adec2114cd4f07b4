import type { CronEntry, JobStore } from "../../../services/jobs/JobStore.ts"
import type * as TaskGroup from "../../../services/tasks/TaskGroup.ts"
import type { ClaimWatch } from "./ClaimWatch.ts"
import type { Outage } from "./Outage.ts"

/** What a worker was told, in milliseconds. */
export interface EngineOptions {
  readonly concurrency: number
  readonly transactions: number
  readonly maxClaim: number
  readonly beatMillis: number
  readonly leaseMillis: number
  readonly pollMillis: number
  readonly drainGraceMillis: number
  readonly crons: ReadonlyArray<CronEntry>
}

/** Counts that outlive a session. */
export interface Tally {
  running: number
  buffered: number
  settled: number
  lost: number
  draining: boolean
  readonly claims: ClaimWatch
}

/** What the parts of a worker share while one membership lasts. */
export interface Session {
  readonly store: JobStore["Service"]
  readonly worker: number
  readonly group: TaskGroup.TaskGroup
  readonly options: EngineOptions
  readonly tally: Tally
  readonly outage: Outage
  /** A slot or a settlement was freed: there may be room to claim. */
  readonly onRoom: () => void
  /** Something of ours became ready, or may have: claim again soon. */
  readonly onReady: () => void
}
