/**
 * A process's membership in a run: it shows that it lives, finds out who else does not, and leaves.
 *
 * While the session lock on a member's id is held its process lives. A killed process's session ends at once; a frozen one's
 * heartbeat stops. Who is taken for dead loses its row, and with it every lease.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Deferred, Duration, Effect, type Scope, Semaphore } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { FrontierStatements } from "./FrontierStatements.ts"
import { headOf, LeaseBook } from "./LeaseBook.ts"

/** How often a process shows that it lives and looks who else does. */
const beatEvery = Duration.millis(250)
/** Rows of a lane after which the database is told how far it is: a crash looks at them again. */
const checkpointRows = 20_000

export interface MembershipOptions {
  readonly sql: PgClient.PgClient
  readonly statements: FrontierStatements
  /** The run's. */
  readonly id: number
  readonly name: string
  /** Makes the deferred URLs that are due pending again. */
  readonly reopenDue: Effect.Effect<void, SqlError>
}

/** What a process is in a run; replaced as a whole when it was taken for dead. */
export interface Membership {
  readonly id: number
  readonly book: LeaseBook
}

/** Becomes a member; closing the scope gives back what was leased. */
export const make = Effect.fnUntraced(function*(
  options: MembershipOptions
): Effect.fn.Return<RunMembership, SqlError, Scope.Scope> {
  const member = yield* Effect.acquireRelease(
    Effect.map(join(options, false), (membership) => new RunMembership(options, membership)),
    (member) => member.leave
  )
  const ready = yield* Deferred.make<void, SqlError>()
  yield* Effect.forkScoped(member.keepAlive(ready))
  yield* Deferred.await(ready)
  return member
})

const join = ({ id, statements }: MembershipOptions, sealed: boolean): Effect.Effect<Membership, SqlError> =>
  Effect.flatMap(
    statements.join(id, sealed),
    // An insert gives its row back.
    (member) =>
      member === undefined ? Effect.die("no membership") : Effect.succeed({ id: member, book: new LeaseBook() })
  )

export class RunMembership {
  readonly options: MembershipOptions
  current: Membership
  sealed = false
  /** Completed and replaced when there may be work where there was none. */
  changed = Deferred.makeUnsafe<void>()
  readonly #rejoining = Semaphore.makeUnsafe(1)

  constructor(options: MembershipOptions, membership: Membership) {
    this.options = options
    this.current = membership
  }

  /** Wakes those who wait for work. */
  announce(): void {
    Deferred.doneUnsafe(this.changed, Effect.void)
    this.changed = Deferred.makeUnsafe()
  }

  /** This process was taken for dead: what it had leased is no longer its own. It goes on as a new member. */
  rejoin(lapsed: Membership): Effect.Effect<void, SqlError> {
    const again = Effect.suspend(() => {
      if (this.current !== lapsed) return Effect.void
      return Effect.flatMap(join(this.options, this.sealed), (membership) => {
        this.current = membership
        this.announce()
        return Effect.logWarning(
          `run ${this.options.name}: the leases of this process had lapsed; it goes on with new ones`
        )
      })
    })
    return this.#rejoining.withPermit(Effect.uninterruptible(again))
  }

  /** Holds a session lock and beats; `ready` when the lock is held for the first time. A lost connection is replaced. */
  keepAlive(ready: Deferred.Deferred<void, SqlError>): Effect.Effect<void> {
    const session = Effect.scoped(Effect.gen({ self: this }, function*() {
      const connection = yield* this.options.sql.reserve
      let locked = 0
      while (true) {
        if (locked !== this.current.id) {
          locked = this.current.id
          yield* this.options.statements.holdLock(connection, locked)
          yield* Deferred.succeed(ready, undefined)
        }
        yield* this.#beat(connection)
        yield* Effect.sleep(beatEvery)
      }
    }))
    return session.pipe(
      Effect.catch((error) =>
        Effect.andThen(
          Deferred.fail(ready, error),
          Effect.andThen(Effect.logDebug("frontier session", error), Effect.sleep(beatEvery))
        )
      ),
      Effect.forever
    )
  }

  readonly #beat = Effect.fnUntraced(function*(this: RunMembership, connection: Connection) {
    const membership = this.current
    const { sql, statements } = this.options
    const [answer] = yield* statements.beat(connection, this.options.id, membership.id)
    if (answer === undefined) {
      yield* this.rejoin(membership)
      return
    }
    if (answer.gone) {
      const gone = yield* sql.withTransaction(this.#bury)
      if (gone > 0) this.announce()
    }
    if (answer.due) {
      yield* this.options.reopenDue
      membership.book.lookAgain()
      this.announce()
    }
    const behind = Array.from(membership.book.lanes.values()).filter((lane) =>
      !lane.leaving && headOf(lane) - lane.savedHead > checkpointRows
    )
    if (behind.length === 0) return
    const heads = behind.map(headOf)
    yield* statements.park(membership.id, behind, heads, false)
    behind.forEach((lane, index) => {
      lane.savedHead = heads[index] ?? lane.savedHead
    })
  })

  /** Frees what the dead had leased. */
  get #bury() {
    return Effect.gen({ self: this }, function*() {
      const { id, statements } = this.options
      yield* statements.lockRun(id)
      const gone = yield* statements.leave(id, undefined)
      if (gone.length > 0) yield* statements.orphan(id, gone.map((member) => member.id))
      return gone.length
    })
  }

  /** Gives everything back. When the database cannot be told, it finds out by itself. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    const { id: member, book } = this.current
    const { id, name, sql, statements } = this.options
    const lanes = Array.from(book.lanes.values())
    return sql.withTransaction(Effect.gen(function*() {
      yield* statements.lockRun(id)
      if (lanes.length > 0) yield* statements.park(member, lanes, lanes.map(headOf), true)
      yield* statements.leave(id, [member])
      yield* statements.dropEmpty(id)
    })).pipe(
      Effect.catch((error) =>
        Effect.logWarning(`run ${name}: leases could not be given back and will lapse in a few seconds`, error)
      )
    )
  })
}
