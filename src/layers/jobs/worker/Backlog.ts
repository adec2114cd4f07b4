import { Duration } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { Handler } from "../../../services/jobs/JobHandler.ts"
import type { ClaimedJob } from "../../../services/jobs/JobStore.ts"

/** Claimed jobs of one kind that wait for a slot. */
export interface Lane<R> {
  readonly handler: Handler<R>
  readonly jobs: Array<ClaimedJob>
  /** Where the next job is: taking one is O(1), and the array is dropped when it is empty. */
  head: number
  /** Jobs whose group failed: each gets a transaction of its own. */
  readonly solo: Array<ClaimedJob>
  /** How many jobs share a transaction now: it shrinks when groups fail and grows while they succeed. */
  group: number
  /** Groups that met others' locks stay at one job until then; each time for twice as long. */
  aloneUntilMillis: number
  aloneMillis: number
}

/** How long a lane goes without groups after its first conflict, and at most. */
const aloneFirstMillis = 5_000
const aloneMaxMillis = 600_000

/** A group succeeded: the next may be larger. */
export const grow = <R>(lane: Lane<R>, nowMillis: number): void => {
  if (nowMillis < lane.aloneUntilMillis) return
  lane.group = Math.min(lane.handler.maxGroup, Math.ceil(lane.group * 1.25) + 1)
}

/** A group failed for one of its jobs: smaller groups lose less. */
export const shrink = <R>(lane: Lane<R>): void => {
  lane.group = Math.max(1, Math.floor(lane.group / 4))
}

/** A group met locks of others: what they lock has no common order, so that groups would deadlock again and again. */
export const goAlone = <R>(lane: Lane<R>, nowMillis: number): void => {
  if (nowMillis >= lane.aloneUntilMillis) {
    lane.aloneMillis = Math.min(aloneMaxMillis, Math.max(aloneFirstMillis, lane.aloneMillis * 2))
  }
  lane.group = 1
  lane.aloneUntilMillis = nowMillis + lane.aloneMillis
}

/** Work for one slot. */
export interface Unit<R> {
  readonly lane: Lane<R>
  readonly jobs: ReadonlyArray<ClaimedJob>
  startedAtMillis: number | undefined
  deadlineMillis: number
  /** Why it was interrupted, when it was. */
  stop: "timeout" | "cancel" | "drain" | "lost" | undefined
}

/** What a worker holds between claiming and settling, by kind; takes turns between the kinds. */
export class JobLedger<R> {
  readonly lanes: ReadonlyArray<Lane<R>>
  readonly byKind: ReadonlyMap<string, Lane<R>>
  /** Claimed and not started. */
  waiting = 0
  private turn = 0

  constructor(handlers: ReadonlyArray<Handler<R>>) {
    this.lanes = handlers.map((handler) => ({
      handler,
      jobs: [],
      head: 0,
      solo: [],
      group: handler.maxGroup,
      aloneUntilMillis: 0,
      aloneMillis: 0
    }))
    this.byKind = new Map(this.lanes.map((lane) => [lane.handler.kind.name, lane]))
  }

  add(lane: Lane<R>, job: ClaimedJob): void {
    lane.jobs.push(job)
    this.waiting++
  }

  again(lane: Lane<R>, jobs: ReadonlyArray<ClaimedJob>): void {
    lane.solo.push(...jobs)
    this.waiting += jobs.length
  }

  /** The next work, or undefined; `mayTransact` is false when all transactions are in use. */
  take(mayTransact: boolean): Unit<R> | undefined {
    for (let i = 0; i < this.lanes.length; i++) {
      const lane = this.lanes[(this.turn + i) % this.lanes.length]
      if (lane === undefined || (lane.handler.mode !== "plain" && !mayTransact)) continue
      const jobs = this.takeFrom(lane)
      if (jobs.length === 0) continue
      this.turn = (this.turn + i + 1) % this.lanes.length
      this.waiting -= jobs.length
      const timeout = Duration.toMillis(lane.handler.kind.timeout)
      return { lane, jobs, startedAtMillis: undefined, deadlineMillis: timeout, stop: undefined }
    }
    return undefined
  }

  private takeFrom(lane: Lane<R>): ReadonlyArray<ClaimedJob> {
    const solo = lane.solo.shift()
    if (solo !== undefined) return [solo]
    const jobs = lane.jobs.slice(lane.head, lane.head + Math.max(1, lane.group))
    lane.head += jobs.length
    if (lane.head === lane.jobs.length) {
      lane.jobs.length = 0
      lane.head = 0
    }
    return jobs
  }

  /** Takes one waiting job out, when it is here. */
  remove(id: string): ClaimedJob | undefined {
    for (const lane of this.lanes) {
      for (const [list, from] of [[lane.jobs, lane.head], [lane.solo, 0]] as const) {
        const index = list.findIndex((job, at) => at >= from && job.id === id)
        if (index < 0) continue
        this.waiting--
        return list.splice(index, 1)[0]
      }
    }
    return undefined
  }

  /** Takes out everything that has not started. */
  clear(): ReadonlyArray<ClaimedJob> {
    const all = this.lanes.flatMap((lane) => [...lane.solo.splice(0), ...lane.jobs.splice(0).slice(lane.head)])
    for (const lane of this.lanes) lane.head = 0
    this.waiting = 0
    return all
  }

  /** The jobs that wait here. */
  get ids(): ReadonlyArray<JobId> {
    return this.lanes.flatMap((lane) => [...lane.solo, ...lane.jobs.slice(lane.head)].map((job) => job.id))
  }

  waitingOf(queue: string): number {
    let count = 0
    for (const lane of this.lanes) {
      if (lane.handler.kind.queue === queue) count += lane.jobs.length - lane.head + lane.solo.length
    }
    return count
  }
}
