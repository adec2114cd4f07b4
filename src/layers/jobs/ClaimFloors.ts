/** Where in its queue's order a claim begins: behind this rank (Postgres text) and id. */
export interface Floor {
  readonly rank: string
  readonly id: string
}

/** Claims from the very front at least this often, so that what comes in before the floor waits no longer. */
const frontEveryMillis = 1_000
/** A claim that took longer than this, and this much per job, walked over more than it claimed. */
const slowMillis = 25
const slowPerJobMillis = 0.1

/**
 * Remembers where the last claims ended, for the time when claims from the front are slow: an old snapshot that somebody
 * holds keeps claimed jobs in the index as dead entries. While claims are fast, each begins at the front.
 */
export class ClaimFloors {
  private readonly floors = new Map<string, Floor>()
  private slowUntilMillis = 0
  private frontAtMillis = 0

  /** The floor to claim from, or undefined for the front. */
  of(queue: string, nowMillis: number): Floor | undefined {
    return nowMillis < this.slowUntilMillis && nowMillis - this.frontAtMillis < frontEveryMillis
      ? this.floors.get(queue)
      : undefined
  }

  /** A claim from the front took so long for so many jobs. */
  front(nowMillis: number, tookMillis: number, claimed: number): void {
    this.frontAtMillis = nowMillis
    const isSlow = tookMillis > slowMillis + claimed * slowPerJobMillis
    this.slowUntilMillis = isSlow ? nowMillis + tookMillis * 20 + frontEveryMillis : 0
  }

  /** The next claim begins at the front. */
  restart(): void {
    this.frontAtMillis = 0
  }

  ended(queue: string, floor: Floor): void {
    this.floors.set(queue, floor)
  }
}
