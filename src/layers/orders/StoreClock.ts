/**
 * The store's clock as this process knows it: ids of orders ascend with the one clock of the database, however the clocks of the servers
 * that accept them go. Each answer of the store says what time it was there at some moment between asking and answering; what is known is
 * moved just as far as that demands.
 */
export class StoreClock {
  private aheadMillis: number | undefined = undefined

  /** Whether the store has been heard yet. */
  get isKnown(): boolean {
    return this.aheadMillis !== undefined
  }

  /** The store said a time to a question of this process. */
  hear(store: Date, askedMillis: number, answeredMillis: number): void {
    const atLeast = store.getTime() - answeredMillis
    const atMost = store.getTime() - askedMillis
    this.aheadMillis = Math.min(atMost, Math.max(atLeast, this.aheadMillis ?? atLeast))
  }

  /** The store's time when it is this time here. */
  at(hereMillis: number): number {
    return hereMillis + (this.aheadMillis ?? 0)
  }
}
