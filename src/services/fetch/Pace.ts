/**
 * How many requests a second a host takes, found out when it refuses although they come one at a time: nine tenths of what it has served
 * since it last did so. It grows again with the square of the time without a refusal, as a CUBIC window does (RFC 9438): slowly near what
 * was refused, fast when the host takes much more; and no faster than answers come. Pure: time is an argument.
 */

/** Nothing is faster than this and still told from no limit. */
const perSecondMax = 1000

/** One request in five seconds: what serves less is left to rest instead. */
const perSecondMin = 0.2

/** Longest stretch over which it is measured what the host serves. */
const measureMillis = 10_000

/** After this long without a refusal it is twice as fast. */
const doublingMillis = 10_000

export class Pace {
  /** Starts per second; `Infinity` while no limit is known. */
  perSecond = Infinity
  /** What it was when it was found out, and when. */
  private foundPerSecond = Infinity
  private foundAtMillis = 0
  /** Answers since then. */
  private served = 0
  private servedFromMillis = Number.NEGATIVE_INFINITY

  /** Whether it is still about what it was when it was found out. */
  get isLow(): boolean {
    return this.perSecond <= 1.05 * this.foundPerSecond
  }

  /** Takes up a rate that was found out before. */
  recall(perSecond: number, nowMillis: number): void {
    if (perSecond < this.perSecond) this.found(perSecond, nowMillis)
  }

  /** The host answered. */
  answered(nowMillis: number): void {
    if (nowMillis - this.servedFromMillis > measureMillis) {
      this.served = 0
      this.servedFromMillis = nowMillis
    }
    this.served++
    if (this.perSecond === Infinity) return
    const grown = this.foundPerSecond * (1 + ((nowMillis - this.foundAtMillis) / doublingMillis) ** 2)
    this.perSecond = Math.max(this.perSecond, Math.min(grown, this.perSecond * 1.25))
    if (this.perSecond > perSecondMax) this.perSecond = Infinity
  }

  /** The host refused: answers whether there is a lower rate to be tried, or it has served nothing of late. */
  refused(nowMillis: number): boolean {
    const { perSecond, served } = this
    if (served === 0) return false
    const servedPerSecond = served * 1000 / Math.max(1, nowMillis - this.servedFromMillis)
    this.served = 0
    this.servedFromMillis = nowMillis
    this.found(Math.min(perSecond, servedPerSecond) * 0.9, nowMillis)
    return true
  }

  private found(perSecond: number, nowMillis: number): void {
    this.foundPerSecond = Math.max(perSecondMin, perSecond)
    this.perSecond = this.foundPerSecond
    this.foundAtMillis = nowMillis
  }
}
