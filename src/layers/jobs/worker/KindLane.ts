import { Duration } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { Handler } from "../../../services/jobs/JobHandler.ts"
import type { ClaimedJob } from "../../../services/jobs/JobStore.ts"

/** How long a lane goes without groups after its first conflict, and at most. */
const aloneFirstMillis = 5_000
const aloneMaxMillis = 600_000

/**
 * Claimed jobs of one kind that wait for a slot. It says how many of them share a transaction: fewer after a group
 * failed, more while groups succeed.
 */
export class KindLane<R> {
  readonly handler: Handler<R>
  readonly timeoutMillis: number
  private readonly jobs: Array<ClaimedJob> = []
  /** Where the next job is: taking one is O(1), and the array is dropped when it is empty. */
  private head = 0
  /** Jobs whose group failed: each gets a transaction of its own. */
  private readonly solo: Array<ClaimedJob> = []
  private size: number
  /** Groups that met the locks of others stay at one job until then; each time for twice as long. */
  private aloneUntilMillis = 0
  private aloneMillis = 0

  constructor(handler: Handler<R>) {
    this.handler = handler
    this.timeoutMillis = Duration.toMillis(handler.kind.timeout)
    this.size = handler.maxGroup
  }

  /** How many jobs share a transaction now. */
  get groupSize(): number {
    return this.size
  }

  /** How many jobs wait here. */
  get waiting(): number {
    return this.jobs.length - this.head + this.solo.length
  }

  /** The jobs that wait here. */
  get ids(): ReadonlyArray<JobId> {
    return [...this.solo, ...this.jobs.slice(this.head)].map((job) => job.id)
  }

  add(job: ClaimedJob): void {
    this.jobs.push(job)
  }

  /** Takes jobs back whose group failed. */
  addApart(jobs: ReadonlyArray<ClaimedJob>): void {
    this.solo.push(...jobs)
  }

  /** The jobs of the next transaction; none when none wait. */
  take(): ReadonlyArray<ClaimedJob> {
    const solo = this.solo.shift()
    if (solo !== undefined) return [solo]
    const jobs = this.jobs.slice(this.head, this.head + Math.max(1, this.size))
    this.head += jobs.length
    if (this.head === this.jobs.length) {
      this.jobs.length = 0
      this.head = 0
    }
    return jobs
  }

  /** Takes one job out, when it waits here. */
  remove(id: JobId): ClaimedJob | undefined {
    for (const [list, from] of [[this.jobs, this.head], [this.solo, 0]] as const) {
      const index = list.findIndex((job, at) => at >= from && job.id === id)
      if (index >= 0) return list.splice(index, 1)[0]
    }
    return undefined
  }

  /** Takes all jobs out. */
  clear(): ReadonlyArray<ClaimedJob> {
    const all = [...this.solo.splice(0), ...this.jobs.splice(0).slice(this.head)]
    this.head = 0
    return all
  }

  /** A group succeeded: the next may be larger. */
  grow(nowMillis: number): void {
    if (nowMillis < this.aloneUntilMillis) return
    this.size = Math.min(this.handler.maxGroup, Math.ceil(this.size * 1.25) + 1)
  }

  /** A group failed for one of its jobs: smaller groups lose less. */
  shrink(): void {
    this.size = Math.max(1, Math.floor(this.size / 4))
  }

  /** A group met locks of others: what they lock has no common order, so that groups would deadlock again and again. */
  goAlone(nowMillis: number): void {
    if (nowMillis >= this.aloneUntilMillis) {
      this.aloneMillis = Math.min(aloneMaxMillis, Math.max(aloneFirstMillis, this.aloneMillis * 2))
    }
    this.size = 1
    this.aloneUntilMillis = nowMillis + this.aloneMillis
  }
}
