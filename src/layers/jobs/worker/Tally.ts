import type { WorkerStatus } from "../../../services/jobs/JobWorker.ts"
import type { WorkerSettings } from "../../../services/jobs/WorkerSettings.ts"
import { ClaimWatch } from "./ClaimWatch.ts"

/** What a worker counts of itself over all its sessions. */
export class Tally {
  /** Jobs whose handler is running. */
  running = 0
  /** Jobs claimed and not started. */
  buffered = 0
  /** Attempts that ended. */
  settled = 0
  /** Settles that were refused because the lease was lost. */
  lost = 0
  isDraining = false
  readonly claims: ClaimWatch

  constructor(nowMillis: number) {
    this.claims = new ClaimWatch(nowMillis)
  }

  status({ label, leaseMillis }: WorkerSettings, nowMillis: number): WorkerStatus {
    const { buffered, lost, running, settled } = this
    const claimStalledMillis = this.claims.stalledMillis(nowMillis)
    return { label, running, buffered, settled, lost, draining: this.isDraining, claimStalledMillis, leaseMillis }
  }
}
