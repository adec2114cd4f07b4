/** An open run in Postgres: what this process adds, pulls and records. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Deferred, Effect, type Scope } from "effect"
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import type * as Frontier from "../../services/fetch/Frontier.ts"
import { hostColumns, hostNotes } from "./HostRows.ts"
import type { Lease } from "./LeaseBook.ts"
import { outcomeColumns } from "./OutcomeRows.ts"
import * as RunHeartbeat from "./RunHeartbeat.ts"
import * as RunIntake from "./RunIntake.ts"
import * as RunMembership from "./RunMembership.ts"
import { RunSupply, type SupplyOptions } from "./RunSupply.ts"

/** Outcomes in one statement at most. */
const batchMax = 1000

interface Options extends SupplyOptions {
  readonly sql: PgClient.PgClient
  readonly notes: Frontier.RunNotes
  readonly counts: Effect.Effect<Frontier.RunCounts, Frontier.FrontierError>
}

/** Opens a run; closing the scope gives back what it leased. */
export const openRun = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Frontier.Run, Frontier.FrontierError, Scope.Scope> {
  const member = yield* Effect.acquireRelease(RunMembership.join(options), (member) => member.leave)
  const ready = yield* Deferred.make<void>()
  yield* Effect.forkScoped(RunHeartbeat.beatForever({ ...options, member }, ready))
  yield* Deferred.await(ready)
  const supply = new RunSupply(options, member, yield* Effect.scope)
  return {
    name: options.name,
    notes: options.notes,
    ...RunIntake.make(options, member),
    source: {
      pull: supply.pull,
      lending: { isSure: () => member.isSure(), listen: (onChange) => member.listen(onChange) }
    },
    settle: settling(options, member),
    counts: options.counts
  }
})

/** Records what was fetched of a run, in batches; gives back what was recorded. */
const settling = (
  { id, statements }: RunMembership.MembershipOptions,
  member: RunMembership.RunMembership
): Frontier.Run["settle"] => {
  const settleBatch = Effect.fnUntraced(function*(fetched: ReadonlyArray<Fetched>) {
    const membership = member.current
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
    const rows = yield* Effect.onError(
      member.send(
        "settle",
        membership,
        (sender, isAgain) => statements.settle(id, sender, { outcomes, hosts, leaving, isAgain })
      ),
      () =>
        Effect.sync(() => {
          book.abandonSettling(leases)
          book.abandonLeaving(leaving)
        })
    )
    if (rows.length === 0) {
      yield* member.rejoin(membership)
      return []
    }
    for (const { lane, noted } of notes) lane.noted = noted
    book.endSettling(leases)
    book.endLeaving(leaving)
    member.announce()
    return accepted
  })

  return Effect.fnUntraced(function*(fetched) {
    const recorded: Array<Fetched> = []
    for (let at = 0; at < fetched.length; at += batchMax) {
      recorded.push(...yield* settleBatch(fetched.slice(at, at + batchMax)))
    }
    return recorded
  }, Effect.uninterruptible)
}
