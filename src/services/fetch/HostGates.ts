/**
 * Gates by host; idle ones are forgotten, so that a crawl of a million hosts stays small.
 */
import { HostGate } from "./HostGate.ts"

export class HostGates {
  private readonly gates = new Map<string, HostGate>()
  private readonly idleMax: number
  private sweepAt: number

  /** @param idleMax gates that are kept before those that may be forgotten are looked for. @default 4096 */
  constructor(idleMax = 4096) {
    this.idleMax = idleMax
    this.sweepAt = idleMax
  }

  /** The gate of a host, new if it has none. */
  get(host: string, forgiveMillis: number, nowMillis: number): HostGate {
    let gate = this.gates.get(host)
    if (gate === undefined) {
      if (this.gates.size >= this.sweepAt) this.sweep(forgiveMillis, nowMillis)
      gate = new HostGate(host)
      this.gates.set(host, gate)
    }
    return gate
  }

  /** Gates that are held now. */
  get size(): number {
    return this.gates.size
  }

  /** Those that somebody uses, or that are shut. */
  *awake(nowMillis: number): Generator<HostGate> {
    for (const gate of this.gates.values()) {
      if (gate.inFlight > 0 || gate.queued > 0 || gate.shutUntilMillis > nowMillis) yield gate
    }
  }

  private sweep(forgiveMillis: number, nowMillis: number): void {
    for (const [host, gate] of this.gates) if (gate.isFresh(forgiveMillis, nowMillis)) this.gates.delete(host)
    // Sweeping again only after as many have come as stayed keeps the cost of a sweep constant per host.
    this.sweepAt = Math.max(this.idleMax, this.gates.size * 2)
  }
}
