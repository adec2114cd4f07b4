/**
 * What is known of hosts, in memory, over all runs of a frontier.
 */
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import * as HostState from "../../services/fetch/HostState.ts"

/** Hosts that are kept before the stale ones are looked for. */
const sweepMin = 4096

interface Known {
  readonly state: HostState.HostState
  readonly staleAtMillis: number
}

/** States by host. Stale ones go when there are many. */
export class MemoryHosts {
  private readonly known = new Map<string, Known>()
  private sweepAt = sweepMin

  /** What is known of a host now. */
  get(host: string, nowMillis: number): HostState.HostState | undefined {
    const known = this.known.get(host)
    return known !== undefined && known.staleAtMillis > nowMillis ? known.state : undefined
  }

  /** Takes the last word on a host; a block that is under way and ends later stays. */
  note({ host: state, target: { host } }: Fetched, nowMillis: number): void {
    const known = this.known.get(host)
    if (known !== undefined) {
      const shutUntilMillis = HostState.shutUntilMillis(known.state)
      if (shutUntilMillis > nowMillis && (state === undefined || HostState.shutUntilMillis(state) < shutUntilMillis)) {
        return
      }
    }
    if (state === undefined) {
      this.known.delete(host)
      return
    }
    if (known === undefined && this.known.size >= this.sweepAt) this.sweep(nowMillis)
    this.known.set(host, { state, staleAtMillis: HostState.staleAtMillis(state, nowMillis) })
  }

  private sweep(nowMillis: number): void {
    for (const [host, { staleAtMillis }] of this.known) if (staleAtMillis <= nowMillis) this.known.delete(host)
    this.sweepAt = Math.max(sweepMin, this.known.size * 2)
  }
}
