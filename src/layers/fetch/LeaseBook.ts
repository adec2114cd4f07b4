/**
 * What one process has leased of a run: the hosts that it works on and their URLs, in the order of their log. The frontier fills the book
 * and asks it what to hand out, what to let go and where to go on after a crash. No I/O and no time in here.
 *
 *   a lane     taken ─▶ open ──beginReading──▶ reading ──endReading──▶ open
 *                        └────beginLeaving──▶ leaving ──endLeaving──▶ not in the book, another process may take it
 *                                               └─────abandonLeaving──▶ open
 *              It leaves when it is drained (nothing was behind `read` at the last look) and all that was read of it is settled.
 *
 *   a lease    entered ─▶ held ──handOut: its target is with the dispatcher, the lease as before
 *                          └──beginSettling──▶ settling ──endSettling──▶ not in the book, its outcome is recorded
 *                                                 └──abandonSettling──▶ held
 *
 *   the log of a lane     ... head | settled and not settled | read | what nobody here knows | last
 *                             └ all before it has an outcome: where the next owner begins
 */
import { type FetchTarget, keyOf } from "../../services/fetch/FetchRequest.ts"
import type { FetchDemand, FetchSupply } from "../../services/fetch/FetchSource.ts"
import type { HostState } from "../../services/fetch/HostState.ts"
import { shareOut } from "./Shares.ts"

/** A leased URL. */
export interface Lease {
  readonly lane: Lane
  readonly seq: number
  readonly key: string
  readonly target: FetchTarget
  state: "held" | "settling"
  previous: Lease | undefined
  next: Lease | undefined
}

/** What the database knows of a host, as far as this process knows. */
export interface Noted {
  readonly state: string
  readonly staleAtMillis: number
}

/** A host that this process works on: its log from the oldest lease that is not settled. */
export interface Lane {
  readonly id: bigint
  readonly host: string
  /** Up to here rows may have an outcome already. */
  readonly redo: number
  /** The last row that was read. */
  read: number
  /** Nothing was behind `read` at the last look. */
  isDrained: boolean
  /** It is not given up while it is read, and not read while it is given up. */
  phase: "open" | "reading" | "leaving"
  first: Lease | undefined
  last: Lease | undefined
  /** The first lease that was not handed out yet. */
  nextOut: Lease | undefined
  waiting: number
  unsettled: number
  /** The `head` that the database knows. */
  savedHead: number
  /** What was known of the host when it was taken, until it is handed out. */
  known: HostState | undefined
  noted: Noted | undefined
}

/** A host that was taken over. */
export interface Taken {
  readonly id: bigint
  readonly host: string
  readonly head: number
  readonly redo: number
  /** What is known of the host. */
  readonly known: HostState | undefined
}

/** Up to here everything has an outcome. */
export const headOf = (lane: Lane): number => lane.first === undefined ? lane.read : lane.first.seq - 1

/** Leases of one process. */
export class LeaseBook {
  readonly lanes = new Map<bigint, Lane>()
  private readonly leases = new Map<string, Lease>()
  /** Lanes with something to hand out, the one that waited longest first. */
  private readonly ready = new Set<Lane>()
  /** Leases that were not handed out yet. */
  waiting = 0
  /** Leases there have ever been. */
  taken = 0

  addLane({ head, host, id, known, redo }: Taken): Lane {
    const lane: Lane = {
      id,
      host,
      redo,
      read: head,
      isDrained: false,
      phase: "open",
      first: undefined,
      last: undefined,
      nextOut: undefined,
      waiting: 0,
      unsettled: 0,
      savedHead: head,
      known,
      // When it will be stale was not read: the next word on the host is written in any case.
      noted: known === undefined ? undefined : { state: "", staleAtMillis: 0 }
    }
    this.lanes.set(id, lane)
    return lane
  }

  /** Enters a row that was read for a lane; rows come in the order of `seq`. */
  enter(lane: Lane, seq: number, target: FetchTarget): void {
    const lease: Lease = {
      lane,
      seq,
      key: keyOf(target),
      target,
      state: "held",
      previous: lane.last,
      next: undefined
    }
    if (lane.last === undefined) lane.first = lease
    else lane.last.next = lease
    lane.last = lease
    lane.nextOut ??= lease
    lane.read = seq
    lane.waiting++
    lane.unsettled++
    this.waiting++
    this.taken++
    this.leases.set(lease.key, lease)
    this.ready.add(lane)
  }

  /**
   * Up to `limit` targets, spread over the hosts that are not closed, and what is known of hosts among them that are new; none: nothing.
   */
  handOut(demand: FetchDemand): FetchSupply | undefined {
    const targets: Array<FetchTarget> = []
    const hosts: Array<HostState> = []
    shareOut(this.ready, demand, (lane, limit) => {
      const taken = this.takeFrom(lane, limit, targets)
      if (lane.known === undefined || taken === 0) return taken
      hosts.push(lane.known)
      lane.known = undefined
      return taken
    })
    return targets.length === 0 ? undefined : { _tag: "Targets", targets, hosts }
  }

  private takeFrom(lane: Lane, limit: number, targets: Array<FetchTarget>): number {
    const count = Math.min(limit, lane.waiting)
    for (let left = count; left > 0 && lane.nextOut !== undefined; left--) {
      targets.push(lane.nextOut.target)
      lane.nextOut = lane.nextOut.next
    }
    lane.waiting -= count
    this.waiting -= count
    this.ready.delete(lane)
    if (lane.waiting > 0) this.ready.add(lane)
    return count
  }

  /** Lanes that are open and have more to read, those with the least left to hand out first. */
  refillable(closedHosts: ReadonlySet<string>, waitingMax: number): Array<Lane> {
    const lanes: Array<Lane> = []
    for (const lane of this.lanes.values()) {
      if (lane.isDrained || lane.phase !== "open" || lane.waiting > waitingMax || closedHosts.has(lane.host)) {
        continue
      }
      lanes.push(lane)
    }
    return lanes.sort((a, b) => a.waiting - b.waiting)
  }

  /** What could be handed out now, counted up to `enough`. */
  openWaiting(closedHosts: ReadonlySet<string>, enough: number): number {
    let waiting = 0
    for (const lane of this.ready) {
      if (!closedHosts.has(lane.host)) waiting += lane.waiting
      if (waiting >= enough) break
    }
    return waiting
  }

  /** The lease of a target, marked as being settled; none when it is not held. */
  beginSettling(target: FetchTarget): Lease | undefined {
    const lease = this.leases.get(keyOf(target))
    if (lease === undefined || lease.state !== "held") return undefined
    lease.state = "settling"
    lease.lane.unsettled--
    return lease
  }

  /** The settling did not happen: held as before. */
  abandonSettling(leases: Iterable<Lease>): void {
    for (const lease of leases) {
      lease.state = "held"
      lease.lane.unsettled++
    }
  }

  endSettling(leases: Iterable<Lease>): void {
    for (const lease of leases) {
      this.leases.delete(lease.key)
      // Unlinked at once: one slow URL must not keep all those after it in memory.
      const { lane, next, previous } = lease
      if (previous === undefined) lane.first = next
      else previous.next = next
      if (next === undefined) lane.last = previous
      else next.previous = previous
    }
  }

  /** Lanes with nothing left to do, marked as leaving. */
  beginLeaving(candidates: Iterable<Lane>): Array<Lane> {
    const lanes: Array<Lane> = []
    for (const lane of candidates) {
      if (!lane.isDrained || lane.phase !== "open" || lane.unsettled > 0) continue
      lane.phase = "leaving"
      lanes.push(lane)
    }
    return lanes
  }

  abandonLeaving(lanes: Iterable<Lane>): void {
    for (const lane of lanes) lane.phase = "open"
  }

  endLeaving(lanes: Iterable<Lane>): void {
    for (const lane of lanes) this.lanes.delete(lane.id)
  }

  beginReading(lanes: Iterable<Lane>): void {
    for (const lane of lanes) {
      lane.phase = "reading"
      // What is added from here on is not hidden by what this read finds.
      lane.isDrained = true
    }
  }

  /** `more` says of which lanes there is more to read. */
  endReading(lanes: Iterable<Lane>, more: (lane: Lane) => boolean): void {
    for (const lane of lanes) {
      lane.phase = "open"
      if (more(lane)) lane.isDrained = false
    }
  }

  /** Something was added behind what was read of this lane. */
  grown(id: bigint): void {
    const lane = this.lanes.get(id)
    if (lane !== undefined) lane.isDrained = false
  }

  /** Other processes may have added to lanes that looked drained. */
  lookAgain(): void {
    for (const lane of this.lanes.values()) lane.isDrained = false
  }
}
