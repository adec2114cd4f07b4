import { type JobEvent, type JobFailure, JobId } from "../../services/jobs/Job.ts"
import type { ClaimedJob, NewJob, Verdict } from "../../services/jobs/JobStore.ts"
import type { RedriveFilter, RedrivePreview } from "../../services/jobs/Redrive.ts"
import { redrivable } from "./MemoryDeadLetters.ts"
import { MemoryFlows } from "./MemoryFlows.ts"
import { byRank, failed, infoOf, keyOf, type Kin, rankOf, type Row, rowOf, uniqueOf } from "./MemoryJobRow.ts"
import { MemoryRates } from "./MemoryRates.ts"
import { MemoryTurns } from "./MemoryTurns.ts"
import { MemoryWatchers } from "./MemoryWatchers.ts"

/** Ended jobs kept in memory; the oldest are forgotten first. */
const keptEnded = 100_000

/**
 * The tables of the in-memory queue and every transition on them, as plain synchronous code: each method is one
 * transaction. `now` is the store's clock in epoch milliseconds.
 */
export class MemoryJobTable {
  readonly live = new Map<JobId, Row>()
  readonly dead = new Map<JobId, Row>()
  readonly ended = new Map<JobId, Row>()
  readonly uniques = new Map<string, JobId>()
  readonly rates = new MemoryRates()
  readonly turns = new MemoryTurns(this.live)
  readonly totals = new Map<string, { succeeded: number; cancelled: number; retried: number }>()
  readonly flows = new MemoryFlows({
    live: this.live,
    dead: this.dead,
    goOn: (row, now) => this.goOn(row, now),
    fail: (row, failure, now) => {
      row.failures = failed(row, failure, now)
      this.end(row, "dead", now)
    },
    cancel: (row, now) => {
      // A running one is cancelled by its worker.
      if (row.worker === null) this.end(row, "cancelled", now)
      else row.cancelRequested = true
    },
    revive: (row) => {
      this.dead.delete(row.id)
      row.state = "waiting"
      this.live.set(row.id, row)
    }
  })
  readonly log: Array<JobEvent> = []
  readonly watchers = new MemoryWatchers()
  private dropped = 0
  private sequence = 0

  /** Gives a waiting job another run time and priority. One that is due keeps its place when the new time is due too. */
  alter(row: Row, to: { readonly runAt: number; readonly priority: number }, now: number): void {
    row.runAt = to.runAt > now ? to.runAt : Math.min(row.runAt, now)
    row.priority = to.priority
    if (to.runAt > now) row.turn = null
    row.rank = rankOf(row.turn ?? row.runAt, row.priority)
    this.turns.forget()
    if (to.runAt > now) row.state = "scheduled"
    else if (row.state === "scheduled") row.state = row.key !== null && row.fence === null ? "blocked" : "ready"
    this.letThrough(row, now)
  }

  /** Forgets a job that nobody runs. */
  remove(row: Row, now: number): void {
    this.live.delete(row.id)
    if (row.unique !== null && row.state !== "dead") this.uniques.delete(uniqueOf(row))
    if (this.dead.delete(row.id)) this.flows.forget(row.id)
    this.letThrough(row, now)
  }

  add(id: JobId, job: NewJob & Partial<Kin>, now: number, failures: Row["failures"] = []): Row {
    const row = rowOf(id, job, now)
    row.failures = failures
    this.live.set(id, row)
    this.letThrough(row, now)
    return row
  }

  /** The queues of all live jobs. */
  get queues(): Iterable<string> {
    return new Set([...this.live.values()].map((row) => row.queue))
  }

  /** The id of the next job. */
  nextId(): JobId {
    return JobId.make(String(++this.sequence))
  }

  private goOn(row: Row, now: number): void {
    row.state = row.runAt > now ? "scheduled" : row.key === null ? "ready" : "blocked"
    this.letThrough(row, now)
  }

  /** Lets the next jobs of a key through, up to its limit. A job that was claimed before and waits again keeps its place. */
  private letThrough(of: Pick<Row, "kind" | "key">, now: number): void {
    if (of.key === null) return
    const same = [...this.live.values()].filter((row) => keyOf(row) === keyOf(of))
    let active =
      same.filter((row) =>
        row.state === "ready" || row.state === "running" || (row.state === "scheduled" && row.fence !== null)
      ).length
    for (const row of same.filter((row) => row.state === "blocked").sort(byRank)) {
      if (active >= row.keyConcurrency) return
      row.state = "ready"
      this.turns.give(row, now)
      active++
    }
  }

  /** The delay until the next job is due; undefined when none is scheduled. */
  nextDue(now: number): number | undefined {
    let next: number | undefined
    for (const row of this.live.values()) {
      if (row.state === "scheduled" && row.runAt > now) next = Math.min(next ?? Infinity, row.runAt - now)
    }
    return next
  }

  /** Moves due jobs to ready. */
  promote(now: number): void {
    for (const row of this.live.values()) {
      if (row.state !== "scheduled" || row.runAt > now) continue
      if (row.key !== null && row.fence === null) {
        row.state = "blocked"
        this.letThrough(row, now)
      } else row.state = "ready"
    }
  }

  claim(
    worker: number,
    nth: number,
    { limit, queue }: { readonly queue: string; readonly limit: number },
    now: number
  ): ReadonlyArray<ClaimedJob> {
    const ready = [...this.live.values()].filter((row) => row.state === "ready" && row.queue === queue && !row.locked)
      .sort(byRank)
    const taken = ready.slice(0, this.rates.allowance(queue, limit, now))
    this.rates.spend(queue, taken.length)
    return taken.map((row) => {
      row.state = "running"
      row.attempt++
      row.worker = worker
      row.fence = nth
      row.startedAt = now
      return {
        id: row.id,
        fence: nth,
        queue: row.queue,
        kind: row.kind,
        attempt: row.attempt,
        maxAttempts: row.maxAttempts,
        payload: JSON.parse(row.payload) as unknown,
        enqueuedAt: new Date(row.enqueuedAt),
        key: row.key
      }
    })
  }

  /** The row behind a fence, when it still holds. */
  owned(worker: number, job: ClaimedJob): Row | undefined {
    const row = this.live.get(job.id)
    return row !== undefined && row.state === "running" && row.worker === worker && row.fence === job.fence
      ? row
      : undefined
  }

  settle(row: Row, verdict: Verdict, now: number): void {
    switch (verdict._tag) {
      case "Succeeded": {
        row.result = verdict.result === null ? null : JSON.parse(verdict.result) as unknown
        return this.end(row, "succeeded", now, verdict.history !== "none")
      }
      case "Dead":
        row.failures = failed(row, verdict.failure, now)
        return this.end(row, "dead", now)
      case "Cancelled":
        return this.end(row, "cancelled", now)
      case "Retry":
        row.failures = failed(row, verdict.failure, now)
        this.total(row.queue).retried++
        return this.requeue(row, now + verdict.delayMillis, now)
      case "Released":
        row.attempt--
        return this.requeue(row, now + verdict.delayMillis, now)
    }
  }

  private requeue(row: Row, runAt: number, now: number): void {
    row.worker = null
    row.startedAt = null
    if (row.cancelRequested) return this.end(row, "cancelled", now)
    row.runAt = runAt
    // A job given back at once keeps its place.
    if (runAt > now) {
      row.turn = null
      row.rank = rankOf(runAt, row.priority)
    }
    row.state = runAt > now ? "scheduled" : "ready"
  }

  private end(row: Row, state: "succeeded" | "dead" | "cancelled", now: number, keep = true): void {
    this.live.delete(row.id)
    if (row.unique !== null) this.uniques.delete(uniqueOf(row))
    row.state = state
    row.finishedAt = now
    if (state === "dead") this.dead.set(row.id, row)
    else {
      this.total(row.queue)[state]++
      if (keep) this.ended.set(row.id, row)
    }
    this.log.push({ id: row.id, queue: row.queue, kind: row.kind, state, attempt: row.attempt, at: new Date(now) })
    if (this.log.length > keptEnded) {
      const oldest = this.log.shift()
      this.dropped++
      if (oldest !== undefined) this.ended.delete(oldest.id)
    }
    this.letThrough(row, now)
    if (row.parent !== null || row.children !== null) this.flows.end(row, now)
    this.watchers.ended(row.id)
  }

  /** Takes back what a lost worker held, but for what a transaction is settling; a job on its last attempt is dead-lettered. */
  recover(worker: number, now: number): { readonly recovered: number; readonly held: number } {
    let recovered = 0
    let held = 0
    for (const row of this.live.values()) {
      if (row.worker !== worker) continue
      if (row.locked) {
        held++
        continue
      }
      recovered++
      const failure: JobFailure = { reason: "WorkerLost", message: `Worker ${worker} died while running it` }
      this.settle(
        row,
        row.attempt >= row.maxAttempts ? { _tag: "Dead", failure } : { _tag: "Retry", delayMillis: 0, failure },
        now
      )
    }
    return { recovered, held }
  }

  /** Gives back, unspent, what this worker holds by its claims up to `nth` and does not know of. */
  giveBack(worker: number, nth: number, known: ReadonlySet<JobId>, now: number): number {
    let count = 0
    for (const row of this.live.values()) {
      if (row.worker !== worker || (row.fence ?? 0) > nth || row.locked || known.has(row.id)) continue
      count++
      this.settle(row, { _tag: "Released", delayMillis: 0 }, now)
    }
    return count
  }

  cancel(
    id: JobId,
    isHeld: (worker: number) => boolean,
    now: number
  ): "cancelled" | "requested" | "finished" | "unknown" {
    const row = this.live.get(id)
    if (row === undefined) return this.ended.has(id) || this.dead.has(id) ? "finished" : "unknown"
    if (row.worker !== null && (row.locked || isHeld(row.worker))) {
      row.cancelRequested = true
      return "requested"
    }
    this.end(row, "cancelled", now)
    return "cancelled"
  }

  preview(filter: RedriveFilter): RedrivePreview {
    const { chosen, held } = redrivable(this.dead.values(), this.uniques.keys(), filter)
    return { matched: chosen.length, held, sample: chosen.slice(0, 10).map(infoOf) }
  }

  redrive(filter: RedriveFilter, ratePerSecond: number | undefined, now: number): ReadonlyArray<JobId> {
    const { chosen } = redrivable(this.dead.values(), this.uniques.keys(), filter)
    const living = chosen.map((row, index) => {
      this.dead.delete(row.id)
      if (row.unique !== null) this.uniques.set(uniqueOf(row), row.id)
      const delayMillis = ratePerSecond === undefined ? 0 : Math.floor((index * 1000) / ratePerSecond)
      return this.add(row.id, { ...row, delayMillis, runAtMillis: null }, now, row.failures)
    })
    this.flows.again(living, now)
    return chosen.map((row) => row.id)
  }

  events(cursor: string | undefined): { readonly cursor: string; readonly events: ReadonlyArray<JobEvent> } {
    const end = this.dropped + this.log.length
    const from = cursor === undefined ? end : Math.max(0, Number(cursor) - this.dropped)
    return { cursor: String(end), events: cursor === undefined ? [] : this.log.slice(from, from + 1000) }
  }

  /** What has become of the jobs of a queue, of which no rows tell. */
  total(queue: string) {
    const known = this.totals.get(queue)
    if (known !== undefined) return known
    const fresh = { succeeded: 0, cancelled: 0, retried: 0 }
    this.totals.set(queue, fresh)
    return fresh
  }
}
