/**
 * How many requests at once a host takes, found out as TCP finds what a path carries (RFC 5681): it begins with few, doubles with each
 * round trip until that is too many, goes back, and from there tries one place more now and then. Pure: no clock, no chance.
 *
 *     Starting: one place more for each answer, twice as many when long ones are under way
 *        | narrowed: half
 *     Returning: one place more for each round trip <--- narrowed: a quarter less ---+
 *        | one below what was too many last (the ceiling)                            |
 *     Settled: waits for some clean round trips, its caution <---+                   |
 *        | one place more                                        |                   |
 *     Probing: at the ceiling --- given back: twice the caution -+ ------------------+
 *        | as many clean round trips: the ceiling is one higher, half the caution
 */

/** Requests at once to a host of which nothing is known (RFC 6928): ten pages of a second each take a second. */
const sizeFirst = 10

/** Round trips, and answers that are enough however many a round trip has: one refused probe among them costs next to nothing. */
const cautionFirst = 4
const cautionMax = 32
const cleanMax = 100

export class Window {
  /** Places. */
  size = sizeFirst
  /** The size that was too many last; `Infinity` while no limit is known. */
  private ceiling = Infinity
  /** Whether it has met no limit yet. */
  isStarting = true
  /** Answers since the size changed that came while all places were taken. */
  private clean = 0
  private caution = cautionFirst

  /** What the host takes, as far as it was found out; `undefined` when it has shown no limit. */
  get limit(): number | undefined {
    return this.ceiling === Infinity ? undefined : Math.max(1, Math.min(this.size, this.ceiling - 1))
  }

  /** Whether one place more than what is known to be taken is tried. */
  get isProbing(): boolean {
    return this.size >= this.ceiling && this.size > 1
  }

  /** Whether there are clearly fewer places than were too many last. */
  get isLow(): boolean {
    return this.ceiling < Infinity && this.size <= 0.75 * this.ceiling
  }

  /** Takes up a limit that was found out before. */
  recall(limit: number): void {
    if (!this.isStarting && limit >= this.size) return
    this.resize(Math.max(1, limit))
    this.ceiling = this.size + 1
    this.isStarting = false
  }

  /**
   * The host answered.
   *
   * @param inFlight requests under way, this one included
   * @param sizeMax places that the policy allows
   */
  answered(inFlight: number, sizeMax: number): void {
    const { isProbing, size } = this
    if (size >= sizeMax && !isProbing) {
      // What has carried a whole round trip is no start any more.
      if (this.isStarting && ++this.clean >= size) this.isStarting = false
      return
    }
    if (this.isStarting) {
      // As long as half of them are used (RFC 7661): what nobody needs says nothing of what the host takes.
      if (2 * inFlight >= size) this.size++
      return
    }
    if (inFlight < Math.min(size, sizeMax)) return
    const cleanMin = size + 1 >= this.ceiling ? Math.max(size, Math.min(cleanMax, this.caution * size)) : size
    if (++this.clean < cleanMin) return
    if (isProbing) {
      this.caution = Math.max(1, this.caution / 2)
      this.ceiling = size >= sizeMax ? Infinity : size + 1
    }
    this.resize(Math.min(sizeMax, size + 1))
  }

  /** Requests have been under way for long and none is refused: as good as answers. */
  widen(sizeMax: number): void {
    this.resize(Math.min(sizeMax, this.size * 2))
  }

  /** The place that was probed is one too many. */
  giveBack(): void {
    this.caution = Math.min(cautionMax, this.caution * 2)
    this.resize(this.ceiling - 1)
  }

  /**
   * Fewer places from now on; `false` when there is only one.
   *
   * @param isServed whether any of the latest requests was served: otherwise there is one place
   */
  narrow(sizeMax: number, isServed: boolean): boolean {
    const places = Math.min(this.size, sizeMax)
    if (places === 1) return false
    this.ceiling = places
    // From a start it is up to twice too many, from a steady state little.
    const kept = !isServed ? 0 : this.isStarting ? 0.5 : 0.75
    this.resize(Math.max(1, Math.floor(places * kept)))
    this.isStarting = false
    this.caution = cautionFirst
    return true
  }

  private resize(size: number): void {
    this.size = size
    this.clean = 0
  }
}
