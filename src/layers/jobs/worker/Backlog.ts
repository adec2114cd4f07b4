import type { JobId } from "../../../services/jobs/Job.ts"
import type { Handler } from "../../../services/jobs/JobHandler.ts"
import type { ClaimedJob } from "../../../services/jobs/JobStore.ts"
import { KindLane } from "./KindLane.ts"

/** Why a unit is interrupted. */
export type Stop =
  /** It ran longer than its kind allows. */
  | { readonly _tag: "TimedOut" }
  /** Somebody cancelled one of its jobs. */
  | { readonly _tag: "Cancelled"; readonly id: JobId }
  /** The worker drains, and its grace is over. */
  | { readonly _tag: "Drained" }
  /** Its jobs are no longer ours. */
  | { readonly _tag: "Lost" }

/** Work for one slot: a job, or the jobs of one transaction. */
export interface Unit<R> {
  readonly lane: KindLane<R>
  readonly jobs: ReadonlyArray<ClaimedJob>
  /** By the clock of the runner; Infinity until it runs. */
  deadlineMillis: number
  stop: Stop | undefined
}

/** What a worker has claimed and not started, by kind; the kinds take turns. */
export class Backlog<R> {
  readonly lanes: ReadonlyArray<KindLane<R>>
  readonly queues: ReadonlyArray<string>
  /** How many jobs wait. */
  waiting = 0
  private readonly byKind: ReadonlyMap<string, KindLane<R>>
  private turn = 0

  constructor(handlers: ReadonlyArray<Handler<R>>) {
    this.lanes = handlers.map((handler) => new KindLane(handler))
    this.queues = [...new Set(handlers.map((handler) => handler.kind.queue))]
    this.byKind = new Map(this.lanes.map((lane) => [lane.handler.kind.name, lane]))
  }

  /** Takes a job in; false when there is no handler for its kind. */
  add(job: ClaimedJob): boolean {
    const lane = this.byKind.get(job.kind)
    if (lane === undefined) return false
    lane.add(job)
    this.waiting++
    return true
  }

  /** Takes jobs back whose group failed: each gets a transaction of its own. */
  addApart(lane: KindLane<R>, jobs: ReadonlyArray<ClaimedJob>): void {
    lane.addApart(jobs)
    this.waiting += jobs.length
  }

  /** The next work, or undefined; `mayTransact` is false when all transactions are in use. */
  take(mayTransact: boolean): Unit<R> | undefined {
    for (let i = 0; i < this.lanes.length; i++) {
      const lane = this.lanes[(this.turn + i) % this.lanes.length]
      if (lane === undefined || (lane.handler.mode !== "plain" && !mayTransact)) continue
      const jobs = lane.take()
      if (jobs.length === 0) continue
      this.turn = (this.turn + i + 1) % this.lanes.length
      this.waiting -= jobs.length
      return { lane, jobs, deadlineMillis: Infinity, stop: undefined }
    }
    return undefined
  }

  /** Takes one job out, when it waits here. */
  remove(id: JobId): ClaimedJob | undefined {
    for (const lane of this.lanes) {
      const job = lane.remove(id)
      if (job === undefined) continue
      this.waiting--
      return job
    }
    return undefined
  }

  /** Takes all jobs out. */
  clear(): ReadonlyArray<ClaimedJob> {
    this.waiting = 0
    return this.lanes.flatMap((lane) => lane.clear())
  }

  /** The jobs that wait. */
  get ids(): ReadonlyArray<JobId> {
    return this.lanes.flatMap((lane) => lane.ids)
  }

  /** How many more jobs of this queue so many free slots, and free transactions among them, can take. */
  roomOf(queue: string, freeSlots: number, freeTransactions: number): number {
    let room = 0
    for (const lane of this.lanes) {
      if (lane.handler.kind.queue !== queue) continue
      room += (lane.handler.mode === "plain" ? freeSlots : freeTransactions * lane.groupSize) - lane.waiting
    }
    return room
  }
}
