/**
 * A process's membership in a run: under what name it works, whether it still may, and how it leaves.
 *
 *   joined ─▶ sure ◀──a beat is answered── doubted
 *              └────────1.5 s without one────▶┘
 *
 *   sure: nobody can have taken this process for dead, and it starts what it has leased
 *   in doubt: a statement was given up whose end is not known ──renew──▶ the same leases under another id, with the next statement
 *   lapsed: a statement or a beat finds no row of this member ──rejoin──▶ a new membership with an empty book
 *
 * Every statement that a member sends is refused when its row is gone. After a renewal, whatever is still on its way finds no member, and
 * can take or record nothing behind its back.
 */
import { Clock, Deferred, Duration, Effect, Semaphore } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LendingChange } from "../../services/fetch/FetchSource.ts"
import { type FrontierError, removed } from "../../services/fetch/Frontier.ts"
import type { FrontierStatements } from "./FrontierStatements.ts"
import { headOf, LeaseBook } from "./LeaseBook.ts"
import { answeredWithin, type Outage } from "./Outage.ts"

/**
 * For so long after a beat nobody can have taken this process for dead: half a second of silence until another sees it, and a second from
 * then (`sluice.fetch_bury`).
 */
const sureMillis = 1500
/** How long leaving may take: whoever goes is waited for. */
const leaveWithin = Duration.seconds(2)

export interface MembershipOptions {
  readonly statements: FrontierStatements
  readonly outage: Outage
  /** The run's. */
  readonly id: number
  readonly name: string
}

/** What a process is in a run; replaced as a whole when it was taken for dead. */
export interface Membership {
  /** Another after each outage. */
  id: number
  readonly book: LeaseBook
  /** A statement was given up whose end is not known. */
  inDoubt: boolean
  /** It may be another already, of which the answer has not come. */
  isRenewing: boolean
}

/** Becomes a member. */
export const join = Effect.fnUntraced(function*(options: MembershipOptions) {
  const clock = yield* Clock.Clock
  const sentAt = instantOf(clock)
  return new RunMembership(options, clock, yield* joined(options, false), sentAt)
})

const joined = ({ id, name, outage, statements }: MembershipOptions, isSealed: boolean) =>
  Effect.flatMap(
    outage.through("join", () => statements.join(id, isSealed)),
    (member): Effect.Effect<Membership, FrontierError> =>
      member === undefined
        ? Effect.fail(removed("join", name))
        : Effect.succeed({ id: member, book: new LeaseBook(), inDoubt: false, isRenewing: false })
  )

/** By both clocks: one stands still while the machine sleeps, the other may be set back. */
interface Instant {
  readonly wallMillis: number
  readonly monotonicMillis: number
}

const instantOf = (clock: Clock.Clock): Instant => ({
  wallMillis: clock.currentTimeMillisUnsafe(),
  monotonicMillis: Number(clock.monotonicTimeNanosUnsafe()) / 1e6
})

export class RunMembership {
  readonly options: MembershipOptions
  current: Membership
  isSealed = false
  /** Completed and replaced when there may be work where there was none. */
  changed = Deferred.makeUnsafe<void>()
  private readonly clock: Clock.Clock
  private readonly changing = Semaphore.makeUnsafe(1)
  private readonly listeners = new Set<(change: LendingChange) => void>()
  private beatAt: Instant
  private isDoubted = false

  constructor(options: MembershipOptions, clock: Clock.Clock, membership: Membership, joinedAt: Instant) {
    this.options = options
    this.clock = clock
    this.current = membership
    this.beatAt = joinedAt
  }

  /** Wakes those who wait for work. */
  announce(): void {
    Deferred.doneUnsafe(this.changed, Effect.void)
    this.changed = Deferred.makeUnsafe()
  }

  listen(onChange: (change: LendingChange) => void): () => void {
    this.listeners.add(onChange)
    return () => void this.listeners.delete(onChange)
  }

  /** Whether nobody can have taken this process for dead. Asked before each start: costs no statement. */
  isSure(): boolean {
    const now = instantOf(this.clock)
    const isSure = now.monotonicMillis - this.beatAt.monotonicMillis < sureMillis &&
      now.wallMillis - this.beatAt.wallMillis < sureMillis
    if (!isSure) this.isDoubted = true
    return isSure
  }

  get now(): Instant {
    return instantOf(this.clock)
  }

  /** A beat that was sent then has found this process a member. */
  seenAt(sent: Instant): void {
    this.beatAt = sent
    if (!this.isDoubted) return
    this.isDoubted = !this.isSure()
    if (this.isDoubted) return
    for (const tell of this.listeners) tell("sure")
    this.announce()
  }

  /**
   * Sends a statement as a member, through outages. No row: `membership` is none any more, and nothing was done.
   *
   * @param statement is given the member's id, and whether a try before may have come through
   */
  send<A>(
    operation: string,
    membership: Membership,
    statement: (member: number, again: boolean) => Effect.Effect<ReadonlyArray<A>, SqlError>
  ): Effect.Effect<ReadonlyArray<A>, FrontierError> {
    let member = membership.id
    const attempt = (again: boolean) =>
      Effect.gen({ self: this }, function*() {
        const inDoubt = again || membership.inDoubt
        if (inDoubt) yield* this.renew(membership, member)
        while (this.current === membership) {
          member = membership.id
          const rows = yield* statement(member, inDoubt)
          if (rows.length > 0) return rows
          // Where the id has changed meanwhile, it was refused for that.
          if (membership.isRenewing) yield* this.renew(membership, member)
          if (membership.id === member) return rows
        }
        return []
      })
    return Effect.onError(
      this.options.outage.through(operation, attempt),
      () => Effect.sync(() => void (membership.inDoubt = true))
    )
  }

  /** Goes on under another id than `member`. */
  private readonly renew = (membership: Membership, member: number): Effect.Effect<void, SqlError> =>
    this.changing.withPermit(Effect.suspend(() => {
      if (membership.id !== member || this.current !== membership) return Effect.void
      membership.isRenewing = true
      return Effect.map(
        this.options.statements.renew(this.options.id, member, membership.book.lanes.values()),
        (renewed) => {
          membership.isRenewing = false
          if (renewed !== undefined) membership.id = renewed
        }
      )
    }))

  /** This process was taken for dead: what it had leased is no longer its own. It goes on as a new member. */
  rejoin(lapsed: Membership): Effect.Effect<void, FrontierError> {
    const again = Effect.suspend(() => {
      if (this.current !== lapsed) return Effect.void
      const sent = this.now
      return Effect.flatMap(joined(this.options, this.isSealed), (membership) => {
        this.current = membership
        for (const tell of this.listeners) tell("lost")
        this.seenAt(sent)
        this.announce()
        return Effect.logWarning(
          `run ${this.options.name}: the leases of this process had lapsed; it goes on with new ones`
        )
      })
    })
    return this.changing.withPermit(Effect.uninterruptible(again))
  }

  /** Gives everything back. When the database cannot be told, it finds out by itself. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    const { book, id: member } = this.current
    const { id, name, outage, statements } = this.options
    const lanes = Array.from(book.lanes.values())
    return answeredWithin(leaveWithin)(statements.leave(id, member, lanes, lanes.map(headOf))).pipe(
      Effect.catch((error) => {
        const line = `run ${name}: leases could not be given back and will lapse in a few seconds`
        return outage.isOn ? Effect.logDebug(line, error) : Effect.logWarning(line)
      })
    )
  })
}
