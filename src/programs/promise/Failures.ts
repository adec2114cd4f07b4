/** Errors of the promise face that a program throws or meets; the others are those of the services, which are `Error`s as well. */

/** Thrown by a handler: the job is a dead letter at once, whatever attempts it has left. */
export class Discard extends Error {
  readonly _tag = "Discard"
  override readonly name = "Discard"
}

/** Thrown by a handler: the job runs again after so many milliseconds, and this attempt is not counted. */
export class Snooze extends Error {
  readonly _tag = "Snooze"
  override readonly name = "Snooze"
  readonly millis: number

  constructor(millis: number) {
    super(`Put off for ${millis} ms`)
    this.millis = millis
  }
}

/** Sluice was closed before, or while, it was asked for something. */
export class SluiceClosed extends Error {
  readonly _tag = "SluiceClosed"
  override readonly name = "SluiceClosed"

  constructor() {
    super("Sluice is closed")
  }
}
