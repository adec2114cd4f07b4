import type { JobId } from "../../services/jobs/Job.ts"
import { byRank, rankOf, type Row } from "./MemoryJobRow.ts"

/** The length of a job in the order of turns; `sluice.job_turns` has the same number. */
const stepMillis = 1_000

/** Whether a job waits for its turn: one that was claimed before has had it. */
const isInTurn = (row: Row): boolean => row.state === "ready" && row.turn !== null && row.fence === null
const lineOf = (row: Row): string => `${row.queue}\u0000${row.priority}\u0000${row.tenant}`
const later = (a: Row, b: Row) => (a.turn ?? 0) - (b.turn ?? 0)

/**
 * The turns of tenants in the in-memory queue, as `sluice.job_turns` gives them. What is remembered spares a look over all jobs while it
 * still holds.
 */
export class MemoryTurns {
  private readonly live: ReadonlyMap<JobId, Row>
  /** Of each queue the job that is claimed next, of each tenant and priority the one that is claimed last. */
  private readonly firsts = new Map<string, Row>()
  private readonly lasts = new Map<string, Row>()

  constructor(live: ReadonlyMap<JobId, Row>) {
    this.live = live
  }

  /** Gives a job of a tenant that has become ready its turn. */
  give(row: Row, now: number): void {
    if ((row.tenant ?? null) === null || row.state !== "ready" || row.turn !== null) return
    const first = this.best(this.firsts, row.queue, (other) => other.queue === row.queue, byRank)
    const line = lineOf(row)
    const last = this.best(this.lasts, line, (other) => lineOf(other) === line, (a, b) => later(b, a))
    row.turn = Math.max(first?.turn ?? now, last?.turn === undefined || last.turn === null ? 0 : last.turn + stepMillis)
    row.rank = rankOf(row.turn, row.priority)
    if (first === undefined || byRank(row, first) < 0) this.firsts.set(row.queue, row)
    this.lasts.set(line, row)
  }

  /** A job has another place now. */
  forget(): void {
    this.firsts.clear()
    this.lasts.clear()
  }

  /** The first by an order of those that wait for their turn. */
  private best(
    known: Map<string, Row>,
    name: string,
    isMeant: (row: Row) => boolean,
    order: (a: Row, b: Row) => number
  ): Row | undefined {
    const remembered = known.get(name)
    if (remembered !== undefined && this.live.get(remembered.id) === remembered && isInTurn(remembered)) {
      return remembered
    }
    known.delete(name)
    let best: Row | undefined
    for (const row of this.live.values()) {
      if (isInTurn(row) && isMeant(row) && (best === undefined || order(row, best) < 0)) best = row
    }
    if (best !== undefined) known.set(name, best)
    return best
  }
}
