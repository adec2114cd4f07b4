/**
 * What a process reads ahead of what it hands out: on in the hosts that it works on, and in others when those do not keep the dispatcher
 * busy.
 */
import { Effect } from "effect"
import type { FetchDemand } from "../../services/fetch/FetchSource.ts"
import type { FrontierError } from "../../services/fetch/Frontier.ts"
import type { UrlRow } from "./FrontierStatements.ts"
import { hostStateOf } from "./HostRows.ts"
import type { Lane, LeaseBook } from "./LeaseBook.ts"
import { targetOf } from "./OutcomeRows.ts"
import type { Membership, MembershipOptions, RunMembership } from "./RunMembership.ts"

/** URLs that are read ahead: at first, and at most. */
const aheadMin = 64
const aheadMax = 1024
/** Hosts that are taken at once: at least, and at most. */
const takeMin = 4
const takeMax = 512
/** Hosts that one process works on at most. */
const lanesMax = 4096

export class ReadAhead {
  private readonly options: MembershipOptions
  private readonly member: RunMembership
  private ahead = aheadMin
  private takes = takeMin

  constructor(options: MembershipOptions, member: RunMembership) {
    this.options = options
    this.member = member
  }

  /** Whether it is time to read on. */
  get isLow(): boolean {
    return this.member.current.book.waiting <= this.ahead / 2
  }

  /** The dispatcher had to wait: more is read ahead from now on. */
  raise(limit: number): void {
    this.ahead = Math.min(aheadMax, Math.max(this.ahead * 2, limit))
  }

  /** There is nothing to read. */
  lower(): void {
    this.ahead = aheadMin
  }

  /** Reads on, takes hosts, and lets go of those in which nothing is left. */
  readonly fill = ({ closedHosts, limit }: FetchDemand): Effect.Effect<void, FrontierError> =>
    Effect.gen({ self: this }, function*() {
      const membership = this.member.current
      const { book } = membership
      const lanes = book.refillable(closedHosts, this.ahead / 2).slice(0, takeMax)
      if (lanes.length > 0) {
        yield* this.read(membership, lanes, Math.ceil(Math.max(1, this.missing(book, closedHosts)) / lanes.length))
      }
      while (
        this.member.current === membership && book.lanes.size < lanesMax && book.openWaiting(closedHosts, limit) < limit
      ) {
        if (!(yield* this.take(membership, closedHosts))) break
      }
      const idle = book.beginLeaving(book.lanes.values())
      if (idle.length === 0) return
      yield* Effect.onError(
        this.member.send("free", membership, (member) => this.options.statements.free(member, idle)),
        () => Effect.sync(() => book.abandonLeaving(idle))
      )
      book.endLeaving(idle)
    })

  private missing(book: LeaseBook, closedHosts: ReadonlySet<string>): number {
    return this.ahead - book.openWaiting(closedHosts, this.ahead)
  }

  /** Takes hosts that nobody works on, and reads them; the fewer they gave, the more the next time. Says whether there were any. */
  private readonly take = (
    membership: Membership,
    closedHosts: ReadonlySet<string>
  ): Effect.Effect<boolean, FrontierError> =>
    Effect.gen({ self: this }, function*() {
      const { id, statements } = this.options
      const { book } = membership
      const rows = yield* this.member.send(
        "take",
        membership,
        (member) => statements.take(id, member, closedHosts, this.takes)
      )
      if (rows.length === 0) return false
      const lanes = rows.map((row) => book.addLane({ ...row, known: hostStateOf(row.known) }))
      const wanted = this.missing(book, closedHosts)
      yield* this.read(membership, lanes, Math.ceil(wanted / lanes.length))
      const got = wanted - this.missing(book, closedHosts)
      this.takes = got < wanted / 2
        ? Math.min(takeMax, this.takes * 2)
        : Math.max(takeMin, Math.ceil(this.takes / 2))
      return true
    })

  /** Reads up to `most` URLs of each lane. */
  private readonly read = (
    membership: Membership,
    lanes: ReadonlyArray<Lane>,
    most: number
  ): Effect.Effect<void, FrontierError> =>
    Effect.gen({ self: this }, function*() {
      const { book } = membership
      const { id, statements } = this.options
      book.beginReading(lanes)
      const rows = yield* Effect.onError(
        this.member.send(
          "read",
          membership,
          (member) => statements.read(id, member, lanes, { most, taken: book.taken })
        ),
        () => Effect.sync(() => book.endReading(lanes, () => true))
      )
      const counts = enter(book, rows, most)
      book.endReading(lanes, (lane) => counts.get(lane.id) === most)
      if (rows.length === 0) yield* this.member.rejoin(membership)
    })
}

/**
 * Enters the rows of a read; says how many URLs there were of each lane. All that a lane with fewer than `most` had when it was
 * read counts as read, what has an outcome already included.
 */
const enter = (book: LeaseBook, rows: ReadonlyArray<UrlRow>, most: number): ReadonlyMap<bigint, number> => {
  const counts = new Map<bigint, number>()
  for (const row of rows) {
    const lane = book.lanes.get(row.lane)
    // A lane does not leave while it is read; this book may have been replaced.
    if (lane === undefined || row.seq === null || row.url === null) continue
    book.enter(lane, row.seq, targetOf(row.url, row))
    counts.set(row.lane, (counts.get(row.lane) ?? 0) + 1)
  }
  for (const { lane: id, last } of rows) {
    const lane = book.lanes.get(id)
    if (lane !== undefined && (counts.get(id) ?? 0) < most) lane.read = Math.max(lane.read, last)
  }
  return counts
}
