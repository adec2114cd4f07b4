/**
 * What a frontier does while its database cannot be had: it waits, tells once, and goes on. One policy for all of its statements.
 */
import { Clock, Duration, Effect, Fiber, Option, Random } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { FrontierError } from "../../services/fetch/Frontier.ts"
import * as Told from "../../services/postgres/Outage.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"

/** A statement without an answer for so long is given up and sent again: its server hangs, or cannot be reached. */
const answerWithin = Duration.seconds(10)
/** Waits between tries double from the first to the last, and are spread over their upper half. */
const waitMinMillis = 50
const waitMaxMillis = 2000

/** A full disk, a database that is not there, a user that is not let in: nothing that waiting mends. */
const lasting = /^(53100|3D000|57P04|28)/

/** Whether the same statement may come through later. */
const passes = (error: SqlError): boolean =>
  SqlFailure.reasonOf(error) !== "Rejected" && !lasting.test(SqlFailure.codeOf(error))

/** What giving up on an answer fails with. */
export const noAnswer = (limit: Duration.Duration) =>
  new SqlError({
    reason: new ConnectionError({ cause: new Error(`the database gave no answer within ${Duration.format(limit)}`) })
  })

/** Gives a statement up that has no answer in time. Cancelling it may take as long again, and is not waited for. */
export const answeredWithin =
  (limit: Duration.Duration) => <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.flatMap(
      Effect.forkDetach(Effect.interruptible(statement), { startImmediately: true }),
      (fiber) =>
        Effect.timeoutOption(Fiber.await(fiber), limit).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (exit._tag === "Failure" || Option.isNone(exit.value)) fiber.interruptUnsafe()
            })
          ),
          Effect.flatMap(Option.match({ onNone: () => Effect.fail(noAnswer(limit)), onSome: (exit) => exit }))
        )
    )

export interface OutageOptions {
  /** Whose statements these are: `run NAME`. */
  readonly subject: string
  /** How long a statement is tried. */
  readonly patience: Duration.Duration
}

export class Outage {
  readonly options: OutageOptions
  readonly told: Told.Outage

  constructor(options: OutageOptions) {
    this.options = options
    this.told = new Told.Outage(options.subject)
  }

  /** Whether the last that was heard of the database is that it cannot be had. */
  get isOn(): boolean {
    return this.told.isOn
  }

  /** Tries until it comes through. Fails with what waiting does not mend, and when the patience is over. A wait can be interrupted. */
  through<A>(
    operation: string,
    attempt: (again: boolean) => Effect.Effect<A, SqlError>,
    limit = answerWithin
  ): Effect.Effect<A, FrontierError> {
    return Effect.gen({ self: this }, function*() {
      let firstMillis: number | undefined
      let waitMillis = waitMinMillis
      while (true) {
        const exit = yield* Effect.exit(answeredWithin(limit)(Effect.suspend(() => attempt(firstMillis !== undefined))))
        if (exit._tag === "Success") {
          if (this.isOn) yield* this.ended
          return exit.value
        }
        const error = SqlFailure.find(exit.cause)
        // Interrupted, or a defect of ours.
        if (error === undefined) return yield* Effect.failCause(exit.cause).pipe(Effect.orDie)
        const nowMillis = yield* Clock.currentTimeMillis
        firstMillis ??= nowMillis
        const patience = Duration.toMillis(this.options.patience)
        const reason = SqlFailure.reasonOf(error)
        if (!passes(error)) return yield* new FrontierError({ operation, reason, cause: error })
        if (nowMillis - firstMillis >= patience) {
          return yield* new FrontierError({ operation, reason, cause: error, triedMillis: nowMillis - firstMillis })
        }
        yield* this.began(error)
        const chance = yield* Random.next
        yield* Effect.interruptible(Effect.sleep(Duration.millis(waitMillis * (1 + chance) / 2)))
        waitMillis = Math.min(waitMaxMillis, waitMillis * 2)
      }
    }).pipe(Effect.onError(() => Effect.sync(() => this.told.forget())))
  }

  /** Tells that the database cannot be had, once. Transactions that were in each other's way are no outage. */
  began(error: SqlError): Effect.Effect<void> {
    const { patience, subject } = this.options
    return SqlFailure.reasonOf(error) === "Conflict"
      ? Effect.void
      : this.told.missed(
        `${subject}: the database cannot be had (${SqlFailure.detailOf(error)}); waiting up to ${
          Duration.format(patience)
        } for it`
      )
  }

  get ended(): Effect.Effect<void> {
    return this.told.worked
  }
}
