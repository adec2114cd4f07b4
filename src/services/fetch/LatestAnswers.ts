/**
 * Which of a host's latest answers were refusals: a bit each, the last one lowest.
 */

/** Answers that are looked at, and how many there must be before they say something. */
const answersMax = 8
const answersMin = 4

export class LatestAnswers {
  private bits = 0
  private count = 0

  note(isRefusal: boolean): void {
    this.bits = (this.bits << 1 | Number(isRefusal)) & (1 << answersMax) - 1
    this.count = Math.min(answersMax, this.count + 1)
  }

  /** Whether there are enough of them to tell. */
  get isTelling(): boolean {
    return this.count >= answersMin
  }

  get areMostlyRefusals(): boolean {
    return 2 * this.refusals > this.count
  }

  /** Whether one of as many as are looked at was served, or there were not as many yet. */
  get hasServed(): boolean {
    return this.refusals < answersMax
  }

  private get refusals(): number {
    let refusals = 0
    for (let bits = this.bits; bits > 0; bits >>= 1) refusals += bits & 1
    return refusals
  }
}
