/**
 * Which refusals (429, 503) are taken for a page's own trouble and which for a sign that its host is asked too much. A few among many
 * answers are no sign, nor is a page that is refused again. How many are a few is learned: less asked makes fewer refusals where that is
 * the reason, and where it does not, they are what is usual for these pages. Pure: no clock, no chance.
 */

/** Refusals that are forgiven at first, and at most. */
const savedMax = 3

/** Part of a refusal that each answer makes up for, beside what is usual. */
const part = 1 / 16

/** How fast the share of refusals follows the answers, and what is usual follows the share. */
const shareGain = 1 / 16
const usualGain = 1 / 8

/** More than this share is never usual, and from this one on a refused probe may be one of them. */
const usualMax = 1 / 4
const usualMin = 1 / 32

export class Tolerance {
  private saved = savedMax
  private share = 0
  private usual = 0

  /**
   * The host answered.
   *
   * @param isUnhurried whether clearly less is asked now than what was too much last
   */
  answered(isUnhurried: boolean): void {
    this.note(0, isUnhurried)
    this.saved = Math.min(savedMax, this.saved + part + 1.5 * this.usual)
  }

  /**
   * The host refused: whether that is forgiven.
   *
   * @param isOwn whether it is known to be that page's own: nothing new
   * @param isProbe whether one more than before was tried on purpose
   */
  forgives(isOwn: boolean, isProbe: boolean, isUnhurried: boolean): boolean {
    if (!isOwn) this.note(1, isUnhurried)
    if (this.saved < 1 || (isProbe && this.usual < usualMin)) return false
    if (!isOwn) this.saved--
    return true
  }

  /** Less is asked from now on: what is refused then is counted afresh. */
  renew(): void {
    this.share = this.usual
    this.saved = Math.max(1, this.saved)
  }

  private note(refused: 0 | 1, isUnhurried: boolean): void {
    this.share += (refused - this.share) * shareGain
    if (this.share < this.usual || isUnhurried) {
      this.usual = Math.min(usualMax, this.usual + (this.share - this.usual) * usualGain)
    }
  }
}
