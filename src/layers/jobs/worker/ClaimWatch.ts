/**
 * For how long a claim loop has had room for jobs and no answer from the store: tells one that is stuck or dead from one that is idle
 * (it still asks) and from one that is full (it need not).
 */
export class ClaimWatch {
  /** Undefined: there is no room, so nothing is asked. */
  private sinceMillis: number | undefined

  constructor(nowMillis: number) {
    this.sinceMillis = nowMillis
  }

  /** The store answered, with jobs or without. */
  answered(nowMillis: number): void {
    this.sinceMillis = nowMillis
  }

  /** There is room for jobs. */
  wants(nowMillis: number): void {
    this.sinceMillis ??= nowMillis
  }

  /** All slots are taken: nothing is asked until one is free. */
  full(): void {
    this.sinceMillis = undefined
  }

  stalledMillis(nowMillis: number): number {
    return this.sinceMillis === undefined ? 0 : Math.max(0, nowMillis - this.sinceMillis)
  }
}
