/**
 * Outages of the database, told of once by a process: a line when the first of its parts misses it, and a line when the first has it back.
 * What a part cannot do for another reason (a right that is missing, say) is told of by itself, once until it works again.
 */
import { Cause, Clock, Context, Effect, Predicate, Schema } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import * as SqlFailure from "./SqlFailure.ts"

/** What a process knows of its database being away. */
interface Absence {
  /** Those who noticed, and have neither had it back nor ended. */
  readonly parts: Set<object>
  /** Since when; undefined while it is there. */
  sinceMillis: number | undefined
  isTold: boolean
  /** When it was back the last time. */
  backAtMillis: number
}

/** That a database is away again so soon after it was back is told of when it lasts: the last of its broken connections say so. */
const settleMillis = 10_000

/** Of a program that has not missed its database yet. */
export const none = (): Absence => ({
  parts: new Set(),
  sinceMillis: undefined,
  isTold: false,
  backAtMillis: -Infinity
})

/** All parts of a program share one: it is the program's database. */
export const CurrentAbsence: Context.Reference<Absence> = Context.Reference("sluice/services/postgres/Outage", {
  defaultValue: none
})

/** What is wrong, in one line, and whether it is that the database is not there. */
interface Trouble {
  readonly text: string
  readonly isAway: boolean
}

const isReason = Schema.is(SqlFailure.Reason)
const troubleOf = (failed: unknown): Trouble => {
  const error = Cause.isCause(failed) ? SqlFailure.find(failed) ?? Cause.squash(failed) : failed
  if (isSqlError(error)) {
    return { text: SqlFailure.detailOf(error), isAway: SqlFailure.reasonOf(error) === "Unavailable" }
  }
  const text = error instanceof Error ? error.message : String(error)
  // An error of a store, which has read the one of its database.
  if (!Predicate.hasProperty(error, "reason") || !isReason(error.reason)) return { text, isAway: false }
  const isAway = error.reason === "Unavailable"
  if (Predicate.hasProperty(error, "detail")) return { text: String(error.detail), isAway }
  const cause = error instanceof Error ? error.cause : undefined
  return { text: isSqlError(cause) ? SqlFailure.detailOf(cause) : text, isAway }
}

/** A part of a program that works with the database all the time. */
export class Outage {
  private readonly what: string
  private absence: Absence | undefined
  /** Whether what was heard last is a failure. */
  isOn = false

  /** `what` says what does not work while it is on: "jobs: the store does not answer". */
  constructor(what: string) {
    this.what = what
  }

  /** Something failed, with an error or a cause. Only the first time says so, until something has worked. */
  failed(doing: string, failed: unknown): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.isOn && this.absence === undefined) return Effect.void
      const { isAway, text } = troubleOf(failed)
      if (isAway) {
        return this.missed(`the database is away (${doing} failed: ${text}): trying again until it is back`)
      }
      this.forget()
      this.isOn = true
      return Effect.logWarning(`${this.what} (${doing} failed: ${text}): trying again until it works`)
    })
  }

  /** The database is away, in the words of this part: they are the process's when no other has said so yet. */
  missed(line: string): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const absence = yield* CurrentAbsence
      const nowMillis = yield* Clock.currentTimeMillis
      const isFirst = !this.isOn
      this.isOn = true
      this.absence = absence
      absence.parts.add(this)
      if (absence.sinceMillis === undefined) {
        absence.sinceMillis = nowMillis
        absence.isTold = false
      }
      if (!absence.isTold && nowMillis - absence.backAtMillis >= settleMillis) {
        absence.isTold = true
        yield* Effect.logWarning(line)
      } else if (isFirst) {
        yield* Effect.logDebug(`${this.what}: ${line}`)
      }
    })
  }

  /** Something has worked: the database is there, whoever else has not tried it yet. */
  get worked(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.isOn) return Effect.void
      const { absence } = this
      const sinceMillis = absence?.sinceMillis
      this.forget()
      if (absence === undefined) return Effect.logInfo(`${this.what}: it works again`)
      absence.sinceMillis = undefined
      if (sinceMillis === undefined || !absence.isTold) return Effect.void
      return Effect.flatMap(Clock.currentTimeMillis, (nowMillis) => {
        absence.backAtMillis = nowMillis
        return Effect.logInfo(`the database is back after ${((nowMillis - sinceMillis) / 1000).toFixed(1)} s`)
      })
    })
  }

  /** The part has ended: it misses nothing any more. */
  forget(): void {
    this.isOn = false
    const { absence } = this
    this.absence = undefined
    if (absence?.parts.delete(this) === true && absence.parts.size === 0) absence.sinceMillis = undefined
  }
}
