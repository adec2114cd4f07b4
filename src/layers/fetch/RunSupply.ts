/** What a process pulls of an open run in Postgres: what it has read ahead, and when there is nothing, whether there will be. */
import { Clock, Deferred, Duration, Effect, type Scope, Semaphore } from "effect"
import type { FetchDemand, FetchSupply } from "../../services/fetch/FetchSource.ts"
import type { FrontierError } from "../../services/fetch/Frontier.ts"
import { ReadAhead } from "./ReadAhead.ts"
import type { MembershipOptions, RunMembership } from "./RunMembership.ts"

/** How often a process that found nothing looks again by itself. */
const pollEvery = Duration.millis(250)
/** How long an answer of "nothing now" holds while nothing has changed. */
const emptyFor = Duration.millis(20)

export interface SupplyOptions extends MembershipOptions {
  /** Makes the deferred URLs that are due pending again. */
  readonly reopenDue: Effect.Effect<void, FrontierError>
}

/** The last time that nothing was found. */
interface Empty {
  readonly atMillis: number
  /** `changed` as it was then. */
  readonly changed: Deferred.Deferred<void>
}

export class RunSupply {
  private readonly options: SupplyOptions
  private readonly member: RunMembership
  private readonly scope: Scope.Scope
  private readonly ahead: ReadAhead
  private readonly reading = Semaphore.makeUnsafe(1)
  private isReadingAhead = false
  private empty: Empty | undefined
  private lookedMillis = 0

  /** Reads ahead until `scope` closes. */
  constructor(options: SupplyOptions, member: RunMembership, scope: Scope.Scope) {
    this.options = options
    this.member = member
    this.scope = scope
    this.ahead = new ReadAhead(options, member)
  }

  readonly pull = (demand: FetchDemand): Effect.Effect<FetchSupply, FrontierError> =>
    Effect.suspend(() => {
      const supply = this.handOut(demand)
      if (supply === undefined) return this.reading.withPermit(Effect.uninterruptible(this.search(demand)))
      if (this.isReadingAhead || !this.ahead.isLow) return Effect.succeed(supply)
      this.isReadingAhead = true
      return Effect.as(Effect.forkIn(this.readAhead(demand), this.scope), supply)
    })

  /** Nothing is handed out that may have been lost to another process. */
  private handOut(demand: FetchDemand): FetchSupply | undefined {
    return this.member.isSure() ? this.member.current.book.handOut(demand) : undefined
  }

  /** Reads on while the dispatcher is busy. Should it fail, then the next pull fails too, and tells. */
  private readAhead(demand: FetchDemand): Effect.Effect<void> {
    return this.reading.withPermit(Effect.uninterruptible(this.ahead.fill(demand))).pipe(
      Effect.ignore,
      Effect.ensuring(Effect.sync(() => {
        this.isReadingAhead = false
      }))
    )
  }

  /** Reads until there is something to hand out, or says what to wait for. */
  private readonly search = (demand: FetchDemand): Effect.Effect<FetchSupply, FrontierError> =>
    Effect.gen({ self: this }, function*() {
      // Whoever had the permit before may have read it.
      const before = this.handOut(demand)
      if (before !== undefined) return before
      const nowMillis = yield* Clock.currentTimeMillis
      const { changed } = this.member
      if (this.empty?.changed === changed && nowMillis - this.empty.atMillis < Duration.toMillis(emptyFor)) {
        return waitFor(changed, emptyFor)
      }
      if (nowMillis - this.lookedMillis >= Duration.toMillis(pollEvery)) {
        this.lookedMillis = nowMillis
        this.member.current.book.lookAgain()
      }
      this.ahead.raise(demand.limit)
      yield* this.ahead.fill(demand)
      const supply = this.handOut(demand)
      if (supply !== undefined) return supply
      this.ahead.lower()
      this.empty = { atMillis: nowMillis, changed }
      const isWorking = this.member.current.book.lanes.size > 0 || !this.member.isSealed
      return isWorking ? waitFor(changed, pollEvery) : yield* this.finish(changed)
    })

  /** Nothing is left for this process: whether that is so for all, and for good. */
  private readonly finish = (changed: Deferred.Deferred<void>): Effect.Effect<FetchSupply, FrontierError> =>
    Effect.gen({ self: this }, function*() {
      const { id, outage, reopenDue, statements } = this.options
      const status = yield* outage.through("pull", () => statements.status(id))
      if (status?.due === true) {
        yield* reopenDue
        return waitFor(changed, Duration.zero)
      }
      return status?.done === true ? { _tag: "Done" } : waitFor(changed, pollEvery)
    })
}

const waitFor = (changed: Deferred.Deferred<void>, limit: Duration.Duration): FetchSupply => ({
  _tag: "Wait",
  wake: Effect.asVoid(Effect.timeoutOption(Deferred.await(changed), limit))
})
