import type { Child, WhenChildFails } from "../../services/jobs/FlowChild.ts"
import { type JobFailure, type JobId, lastFailure } from "../../services/jobs/Job.ts"
import type { Row } from "./MemoryJobRow.ts"

interface Flow {
  readonly whenFails: WhenChildFails
  /** Children that live, and those that are dead or were cancelled. */
  pending: number
  failed: number
  readonly ended: Map<JobId, Child>
}

/** What flows do to the jobs of the table. */
export interface FlowMoves {
  readonly live: ReadonlyMap<JobId, Row>
  readonly dead: ReadonlyMap<JobId, Row>
  /** A parent has what it waited for. */
  readonly goOn: (row: Row, now: number) => void
  /** A parent is dead because of a child. */
  readonly fail: (row: Row, failure: JobFailure, now: number) => void
  /** A child of a parent that was cancelled. */
  readonly cancel: (row: Row, now: number) => void
  /** A parent that was dead because of its children waits again. */
  readonly revive: (row: Row) => void
}

/** The flows of the in-memory queue: what parents wait for, and how their children ended. `now` is in epoch milliseconds. */
export class MemoryFlows {
  private readonly flows = new Map<JobId, Flow>()
  private readonly moves: FlowMoves

  constructor(moves: FlowMoves) {
    this.moves = moves
  }

  begin(parent: JobId, whenFails: WhenChildFails, children: number): void {
    this.flows.set(parent, { whenFails, pending: children, failed: 0, ended: new Map() })
  }

  forget(parent: JobId): void {
    this.flows.delete(parent)
  }

  /** How the children of a job ended. */
  ended(parent: JobId): ReadonlyArray<Child> {
    return [...this.flows.get(parent)?.ended.values() ?? []]
  }

  /** A job of a flow has ended. */
  end(row: Row, now: number): void {
    if (row.children !== null && row.state !== "dead") {
      this.flows.delete(row.id)
      if (row.state === "cancelled") {
        const below = Array.from(this.moves.live.values()).filter((child) => child.parent === row.id)
        for (const child of below) this.moves.cancel(child, now)
      }
    }
    const flow = row.parent === null ? undefined : this.flows.get(row.parent)
    if (flow === undefined || row.parent === null) return
    flow.pending--
    if (row.state !== "succeeded") flow.failed++
    flow.ended.set(row.id, {
      id: row.id,
      kind: row.kind,
      state: row.state,
      result: row.result,
      failure: lastFailure(row.state, row.failures)
    })
    this.decide(row.parent, now)
  }

  /** Lets a parent go on that waits and has what it waited for. */
  decide(parent: JobId, now: number): void {
    const flow = this.flows.get(parent)
    const row = this.moves.live.get(parent)
    if (flow === undefined || row?.state !== "waiting") return
    if (flow.failed > 0 && flow.whenFails === "fail") {
      const child = [...flow.ended.values()].find(({ state }) => state !== "succeeded")
      const message = `Its child ${child?.id} (${child?.kind}) is ${child?.state}`
      return this.moves.fail(row, { reason: "ChildFailed", message }, now)
    }
    if (flow.pending === 0 || (flow.failed > 0 && flow.whenFails === "continue")) this.moves.goOn(row, now)
  }

  /** Dead jobs live again: their parents wait for them again, and those among them that are parents only for what lives. */
  again(rows: ReadonlyArray<Row>, now: number): void {
    for (const row of rows) if (row.parent !== null) this.heal(row.parent, row.id)
    for (const row of rows) {
      const flow = row.children === null ? undefined : this.flows.get(row.id)
      if (flow !== undefined) flow.failed = 0
    }
    for (const row of rows) if (row.children !== null) this.decide(row.id, now)
  }

  private heal(parent: JobId, child: JobId): void {
    const flow = this.flows.get(parent)
    if (flow === undefined) return
    flow.ended.delete(child)
    flow.pending++
    flow.failed = Math.max(0, flow.failed - 1)
    const row = this.moves.dead.get(parent)
    if (flow.failed > 0 || row?.failures.at(-1)?.reason !== "ChildFailed") return
    this.moves.revive(row)
    if (row.parent !== null) this.heal(row.parent, parent)
  }
}
