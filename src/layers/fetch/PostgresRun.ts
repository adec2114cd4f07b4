/**
 * An open run in Postgres: what this process adds, pulls and records.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Deferred, Duration, Effect, type Scope, Semaphore } from "effect"
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import type { FetchDemand, FetchSupply } from "../../services/fetch/FetchSource.ts"
import type * as Frontier from "../../services/fetch/Frontier.ts"
import type { UrlRow } from "./FrontierStatements.ts"
import { hostColumns, hostNotes, hostStateOf } from "./HostRows.ts"
import type { Lease, LeaseBook, LeasedLane } from "./LeaseBook.ts"
import { outcomeColumns, targetOf } from "./OutcomeRows.ts"
import * as RunHeartbeat from "./RunHeartbeat.ts"
import { RunIntake } from "./RunIntake.ts"
import * as RunMembership from "./RunMembership.ts"

/** Rows in one statement at most. */
const batchMax = 1000
/** URLs that are read ahead: at first, and at most. */
const aheadMin = 64
const aheadMax = 1024
/** Hosts that are taken at once: at least, and at most. */
const takeMin = 4
const takeMax = 512
/** Hosts that one process works on at most. */
const lanesMax = 4096
/** How often a process that found nothing looks again by itself. */
const pollEvery = Duration.millis(250)
/** How long an answer of "nothing now" holds while nothing has changed. */
const emptyMillis = 20

interface Options extends RunMembership.MembershipOptions {
  readonly sql: PgClient.PgClient
  readonly counts: Effect.Effect<Frontier.RunCounts, Frontier.FrontierError>
  /** Makes the deferred URLs that are due pending again. */
  readonly reopenDue: Effect.Effect<void, Frontier.FrontierError>
}

/** Opens a run; closing the scope gives back what it leased. */
export const openRun = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Frontier.Run, Frontier.FrontierError, Scope.Scope> {
  const member = yield* Effect.acquireRelease(RunMembership.join(options), (member) => member.leave)
  const ready = yield* Deferred.make<void>()
  yield* Effect.forkScoped(RunHeartbeat.beatForever({ ...options, member }, ready))
  yield* Deferred.await(ready)
  const run = new PostgresRun(options, member)
  const intake = new RunIntake(options, member)
  const scope = yield* Effect.scope
  return {
    name: options.name,
    add: intake.add,
    seal: intake.seal,
    source: {
      pull: run.pull(scope),
      lending: { isSure: () => member.isSure(), listen: (onChange) => member.listen(onChange) }
    },
    settle: run.settle,
    counts: options.counts
  }
})

class PostgresRun {
  readonly options: Options
  readonly #reading = Semaphore.makeUnsafe(1)
  readonly #member: RunMembership.RunMembership
  #ahead = aheadMin
  #take = takeMin
  #refilling = false
  #emptyAtMillis = 0
  #emptySince: Deferred.Deferred<void> | undefined
  #lookedMillis = 0

  constructor(options: Options, member: RunMembership.RunMembership) {
    this.options = options
    this.#member = member
  }

  // --------------------------------------------------------------- pulling

  readonly pull = (scope: Scope.Scope) => (demand: FetchDemand): Effect.Effect<FetchSupply, Frontier.FrontierError> =>
    Effect.suspend(() => {
      const { book } = this.#member.current
      const supply = this.#handOut(book, demand)
      if (supply === undefined) return this.#reading.withPermit(Effect.uninterruptible(this.#pullFromStore(demand)))
      if (this.#refilling || book.waiting > this.#ahead / 2) return Effect.succeed(supply)
      this.#refilling = true
      return Effect.as(Effect.forkIn(this.#refillAhead(demand), scope), supply)
    })

  /** Nothing is handed out that may have been lost to another process. */
  #handOut(book: LeaseBook, demand: FetchDemand): FetchSupply | undefined {
    return this.#member.isSure() ? book.handOut(demand) : undefined
  }

  /** Reads on while the dispatcher is busy. Should it fail, then the next pull fails too, and tells. */
  #refillAhead(demand: FetchDemand): Effect.Effect<void> {
    return this.#reading.withPermit(Effect.uninterruptible(this.#refill(demand))).pipe(
      Effect.ignore,
      Effect.ensuring(Effect.sync(() => {
        this.#refilling = false
      }))
    )
  }

  readonly #pullFromStore = Effect.fnUntraced(function*(this: PostgresRun, demand: FetchDemand) {
    const before = this.#handOut(this.#member.current.book, demand)
    if (before !== undefined) return before
    const nowMillis = yield* Clock.currentTimeMillis
    const changed = this.#member.changed
    const wait = (duration: Duration.Duration): FetchSupply => ({
      _tag: "Wait",
      wake: Effect.asVoid(Effect.timeoutOption(Deferred.await(changed), duration))
    })
    if (this.#emptySince === changed && nowMillis - this.#emptyAtMillis < emptyMillis) {
      return wait(Duration.millis(emptyMillis))
    }
    if (nowMillis - this.#lookedMillis >= Duration.toMillis(pollEvery)) {
      this.#lookedMillis = nowMillis
      this.#member.current.book.lookAgain()
    }
    this.#ahead = Math.min(aheadMax, Math.max(this.#ahead * 2, demand.limit))
    yield* this.#refill(demand)
    const { book } = this.#member.current
    const supply = this.#handOut(book, demand)
    if (supply !== undefined) return supply
    this.#ahead = aheadMin
    this.#emptySince = changed
    this.#emptyAtMillis = nowMillis
    if (book.lanes.size > 0 || !this.#member.sealed) return wait(pollEvery)
    const { id, outage, statements } = this.options
    const status = yield* outage.through("pull", () => statements.status(id))
    if (status?.due === true) {
      yield* this.options.reopenDue
      return wait(Duration.zero)
    }
    return status?.done === true ? { _tag: "Done" } satisfies FetchSupply : wait(pollEvery)
  })

  /** Reads on in the hosts that this process works on, and takes others when those do not keep the dispatcher busy. */
  readonly #refill = Effect.fnUntraced(function*(this: PostgresRun, { closedHosts, limit }: FetchDemand) {
    const membership = this.#member.current
    const { book } = membership
    const { id, statements } = this.options
    const missing = () => this.#ahead - book.openWaiting(closedHosts, this.#ahead)
    const lanes = book.refillable(closedHosts, this.#ahead / 2).slice(0, takeMax)
    if (lanes.length > 0) yield* this.#read(membership, lanes, Math.ceil(Math.max(1, missing()) / lanes.length))
    while (
      this.#member.current === membership && book.lanes.size < lanesMax && book.openWaiting(closedHosts, limit) < limit
    ) {
      const rows = yield* this.#member.send(
        "take",
        membership,
        (member) => statements.take(id, member, closedHosts, this.#take)
      )
      if (rows.length === 0) break
      const taken = rows.map(({ head, host, id, known, redo }) =>
        book.addLane(id, host, head, redo, hostStateOf(known))
      )
      const wanted = missing()
      yield* this.#read(membership, taken, Math.ceil(wanted / taken.length))
      const got = wanted - missing()
      this.#take = got < wanted / 2 ? Math.min(takeMax, this.#take * 2) : Math.max(takeMin, Math.ceil(this.#take / 2))
    }
    const idle = book.beginLeaving(book.lanes.values())
    if (idle.length === 0) return
    yield* Effect.onError(
      this.#member.send("free", membership, (member) => statements.free(member, idle)),
      () => Effect.sync(() => book.abandonLeaving(idle))
    )
    book.endLeaving(idle)
  })

  readonly #read = Effect.fnUntraced(function*(
    this: PostgresRun,
    membership: RunMembership.Membership,
    lanes: ReadonlyArray<LeasedLane>,
    limit: number
  ) {
    const { book } = membership
    const { id, statements } = this.options
    book.beginReading(lanes)
    const rows = yield* Effect.onError(
      this.#member.send(
        "read",
        membership,
        (member) => statements.read(id, member, lanes, { most: limit, taken: book.taken })
      ),
      () => Effect.sync(() => book.endReading(lanes, () => true))
    )
    const counts = enter(book, rows, limit)
    book.endReading(lanes, (lane) => counts.get(lane.id) === limit)
    if (rows.length === 0) yield* this.#member.rejoin(membership)
  })

  // -------------------------------------------------------------- settling

  readonly settle = Effect.fnUntraced(
    function*(this: PostgresRun, fetched: ReadonlyArray<Fetched>) {
      const recorded: Array<Fetched> = []
      for (let at = 0; at < fetched.length; at += batchMax) {
        recorded.push(...yield* this.#settleBatch(fetched.slice(at, at + batchMax)))
      }
      return recorded
    },
    Effect.uninterruptible
  ).bind(this)

  readonly #settleBatch = Effect.fnUntraced(function*(this: PostgresRun, fetched: ReadonlyArray<Fetched>) {
    const membership = this.#member.current
    const { book } = membership
    const leases: Array<Lease> = []
    const accepted = fetched.filter(({ target }) => {
      const lease = book.beginSettling(target)
      if (lease !== undefined) leases.push(lease)
      return lease !== undefined
    })
    if (accepted.length === 0) return accepted
    const nowMillis = yield* Clock.currentTimeMillis
    const notes = hostNotes(leases, accepted, nowMillis)
    const leaving = book.beginLeaving(new Set(leases.map(({ lane }) => lane)))
    const outcomes = outcomeColumns(leases, accepted.map(({ outcome }) => outcome))
    const hosts = hostColumns(notes, nowMillis)
    const { id, statements } = this.options
    const rows = yield* Effect.onError(
      this.#member.send(
        "settle",
        membership,
        (member, isAgain) => statements.settle(id, member, { outcomes, hosts, leaving, isAgain })
      ),
      () =>
        Effect.sync(() => {
          book.abandonSettling(leases)
          book.abandonLeaving(leaving)
        })
    )
    if (rows.length === 0) {
      yield* this.#member.rejoin(membership)
      return []
    }
    for (const { lane, noted } of notes) lane.noted = noted
    book.endSettling(leases)
    book.endLeaving(leaving)
    this.#member.announce()
    return accepted
  })
}

/**
 * Enters the rows of a read; says how many URLs there were of each lane. All that a lane with fewer than `limit` had when it was
 * read counts as read, what has an outcome already included.
 */
const enter = (book: LeaseBook, rows: ReadonlyArray<UrlRow>, limit: number): ReadonlyMap<bigint, number> => {
  const counts = new Map<bigint, number>()
  for (const { lane: id, request, seq, untrusted, url } of rows) {
    const lane = book.lanes.get(id)
    // A lane does not leave while it is read; this book may have been replaced.
    if (lane === undefined || seq === null || url === null) continue
    book.enter(lane, seq, targetOf(url, request, untrusted))
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  for (const { lane: id, last } of rows) {
    const lane = book.lanes.get(id)
    if (lane !== undefined && (counts.get(id) ?? 0) < limit) lane.read = Math.max(lane.read, last)
  }
  return counts
}
