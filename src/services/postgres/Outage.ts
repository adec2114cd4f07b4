/**
 * Outages of the database, told of once by a process: a line when the first of its parts misses it, and a line when the last has it back.
 * What a part cannot do for another reason (a right that is missing, say) is told of by itself, once until it works again.
 */
import { Cause, Clock, Context, Effect, Predicate, Schema } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import * as SqlFailure from "./SqlFailure.ts"

/** The parts of a process that miss the database now, and since when the first of them does. */
interface Missing {
  readonly parts: Set<object>
  sinceMillis: number
}

/** All parts of a program share one: it is the program's database. */
export const CurrentMissing: Context.Reference<Missing> = Context.Reference("sluice/services/postgres/Outage", {
  defaultValue: (): Missing => ({ parts: new Set(), sinceMillis: 0 })
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
  private book: Missing | undefined
  /** Whether what was heard last is a failure. */
  isOn = false

  /** `what` says what does not work while it is on: "jobs: the store does not answer". */
  constructor(what: string) {
    this.what = what
  }

  /** Something failed, with an error or a cause. Only the first time says so, until something has worked. */
  failed(doing: string, failed: unknown): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (this.isOn) return
      const { isAway, text } = troubleOf(failed)
      if (isAway) {
        yield* this.missed(`the database is away (${doing} failed: ${text}): trying again until it is back`)
      } else {
        this.isOn = true
        yield* Effect.logWarning(`${this.what} (${doing} failed: ${text}): trying again until it works`)
      }
    })
  }

  /** The database is away, in the words of this part: they are the process's when no other has said so yet. */
  missed(line: string): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (this.isOn) return
      this.isOn = true
      const book = yield* CurrentMissing
      this.book = book
      book.parts.add(this)
      if (book.parts.size > 1) {
        yield* Effect.logDebug(`${this.what}: ${line}`)
      } else {
        book.sinceMillis = yield* Clock.currentTimeMillis
        yield* Effect.logWarning(line)
      }
    })
  }

  /** Something has worked. */
  get worked(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.isOn) return Effect.void
      const book = this.book
      this.forget()
      if (book === undefined) return Effect.logInfo(`${this.what}: it works again`)
      if (book.parts.size > 0) return Effect.void
      return Effect.flatMap(
        Clock.currentTimeMillis,
        (now) => Effect.logInfo(`the database is back after ${((now - book.sinceMillis) / 1000).toFixed(1)} s`)
      )
    })
  }

  /** The part has ended: it misses nothing any more. */
  forget(): void {
    this.isOn = false
    this.book?.parts.delete(this)
    this.book = undefined
  }
}
