interface Settings {
  paused: boolean
  ratePerSecond: number | null
  tokens: number
  tokensAt: number
}

/** The settings of the in-memory queues, and how many of each may be claimed. Times are epoch milliseconds. */
export class MemoryRates {
  private readonly settings = new Map<string, Settings>()

  /** The queues that were ever configured. */
  get queues(): Iterable<string> {
    return this.settings.keys()
  }

  isPaused(queue: string): boolean {
    return this.settings.get(queue)?.paused ?? false
  }

  configure(
    queue: string,
    change: { readonly paused?: boolean; readonly ratePerSecond?: number | null },
    now: number
  ): void {
    const settings = this.settings.get(queue) ?? { paused: false, ratePerSecond: null, tokens: 0, tokensAt: now }
    this.settings.set(queue, settings)
    if (change.paused !== undefined) settings.paused = change.paused
    if (change.ratePerSecond !== undefined) {
      settings.ratePerSecond = change.ratePerSecond
      settings.tokens = Math.max(1, change.ratePerSecond ?? 0)
      settings.tokensAt = now
    }
  }

  /** How many of those that are wanted may be claimed now. */
  allowance(queue: string, wanted: number, now: number): number {
    const settings = this.settings.get(queue)
    if (settings === undefined) return wanted
    if (settings.paused) return 0
    if (settings.ratePerSecond === null) return wanted
    const burst = Math.max(1, settings.ratePerSecond)
    const gained = (Math.max(0, now - settings.tokensAt) / 1000) * settings.ratePerSecond
    settings.tokens = Math.min(burst, settings.tokens + gained)
    settings.tokensAt = now
    return Math.min(wanted, Math.floor(settings.tokens))
  }

  /** So many were claimed: a token is spent only on a job that is there. */
  spend(queue: string, claimed: number): void {
    const settings = this.settings.get(queue)
    if (settings !== undefined) settings.tokens -= claimed
  }
}
