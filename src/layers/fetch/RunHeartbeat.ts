/**
 * The heartbeat of a member: shows that it lives, on a session of its own, and finds out who else does not.
 *
 * While the session lock on a member's id is held its process lives. A killed process's session ends at once; a frozen one's
 * heartbeat stops. Who is taken for dead loses its row, and with it every lease.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Deferred, Duration, Effect } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { FrontierError } from "../../services/fetch/Frontier.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import { headOf } from "./LeaseBook.ts"
import { answeredWithin, noAnswer } from "./Outage.ts"
import type { RunMembership } from "./RunMembership.ts"

/** How often a process shows that it lives and looks who else does. */
const beatEvery = Duration.millis(250)
/** A session that gives no answer for so long is replaced. */
const answerWithin = Duration.seconds(2)
/** Rows of a lane after which the database is told how far it is: a crash looks at them again. */
const checkpointRows = 20_000

export interface HeartbeatOptions {
  readonly sql: PgClient.PgClient
  readonly member: RunMembership
  /** Makes the deferred URLs that are due pending again. */
  readonly reopenDue: Effect.Effect<void, FrontierError>
}

/** Notes how far lanes are whose head has moved on, so that whoever has them next begins near there. */
const checkpoint = (member: RunMembership) =>
  Effect.suspend(() => {
    const membership = member.current
    const behind = Array.from(membership.book.lanes.values()).filter((lane) =>
      lane.phase !== "leaving" && headOf(lane) - lane.savedHead > checkpointRows
    )
    if (behind.length === 0) return Effect.void
    const heads = behind.map(headOf)
    const parking = member.options.statements.park(membership.id, behind, heads)
    return Effect.map(answeredWithin(answerWithin)(parking), (rows) => {
      if (rows.length === 0) return
      behind.forEach((lane, index) => {
        lane.savedHead = heads[index] ?? lane.savedHead
      })
    })
  })

/** Beats until it is interrupted; `ready` when the lock was held for the first time. A lost session is replaced. */
export const beatForever = (
  { member, reopenDue, sql }: HeartbeatOptions,
  ready: Deferred.Deferred<void>
): Effect.Effect<never> => {
  const { id: run, outage, statements } = member.options
  const session = Effect.scoped(Effect.gen(function*() {
    const connection = yield* sql.reserve.pipe(
      Effect.timeoutOrElse({ duration: answerWithin, orElse: () => Effect.fail(noAnswer(answerWithin)) })
    )
    let held: number | undefined
    while (true) {
      const { id } = member.current
      if (held !== id) {
        // Not yet, while the session before this one still has it.
        if (yield* answeredWithin(answerWithin)(statements.hold(connection, id))) {
          held = id
          yield* Deferred.succeed(ready, undefined)
        }
      }
      yield* beat(connection)
      yield* Effect.sleep(beatEvery)
    }
  }))

  const beat = Effect.fnUntraced(function*(connection: Connection) {
    const membership = member.current
    const { id } = membership
    const sent = member.now
    const answer = yield* answeredWithin(answerWithin)(statements.beat(connection, run, id))
    if (outage.isOn) yield* outage.ended
    if (answer === undefined) {
      // Under another id since then, or about to be, it is looked for with the next beat.
      if (membership.id === id && !membership.isRenewing) yield* member.rejoin(membership)
      return
    }
    member.seenAt(sent)
    if (answer.gone && (yield* answeredWithin(answerWithin)(statements.bury(run)))) member.announce()
    if (answer.due) {
      yield* reopenDue
      membership.book.lookAgain()
      member.announce()
    }
    yield* checkpoint(member)
  })

  return session.pipe(
    Effect.catch((error: SqlError | FrontierError) =>
      Effect.andThen(
        error._tag === "SqlError" && SqlFailure.reasonOf(error) !== "Rejected"
          ? outage.began(error)
          : Effect.logDebug("frontier session", error),
        Effect.sleep(beatEvery)
      )
    ),
    Effect.forever,
    Effect.ensuring(Effect.sync(() => outage.told.forget()))
  )
}
