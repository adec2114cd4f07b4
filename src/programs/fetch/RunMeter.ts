/**
 * What a running fetch counts about itself, for its progress and its summary. Plain fields, because it is touched for each URL.
 */
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import type { Added, RunCounts } from "../../services/fetch/Frontier.ts"
import type { HostView } from "../../services/fetch/HostView.ts"

/** What is known of a host while something of it is in flight. */
export interface HostMeter {
  taken: number
  done: number
  failed: number
}

/** Hosts that are counted at once. */
const hostsMax = 10_000
/** Seconds over which the rate is taken. */
const rateSeconds = 8

/** How often outcomes ended so. */
export interface TagMeter {
  count: number
  /** A message that came with it. */
  readonly message: string
}

/** Counts of one invocation. */
export class RunMeter {
  readonly startedMillis: number
  /** URLs of the run, and how many of them were recorded before this invocation. */
  total = 0
  before = 0
  added = 0
  /** Lines of the input that the run knew before this invocation, and that repeat others of it. */
  known = 0
  repeated = 0
  malformed = 0
  isInputDone = false
  /** Taken from the frontier and not ended. */
  taken = 0
  ok = 0
  failed = 0
  bytes = 0
  /** Requests that were sent, the first of a URL included. */
  requests = 0
  retries = 0
  readonly tags = new Map<string, TagMeter>()
  readonly hosts = new Map<string, HostMeter>()
  private readonly ticks: Array<{ readonly second: number; count: number }> = []

  /** How the hosts were doing when it was last looked. */
  hostViews: ReadonlyArray<HostView> = []
  /** How long nothing was on the wire because every host with something to do was shut. */
  waitedMillis = 0
  private isWaiting = false
  private lookedMillis: number
  private waitedLastMillis = Number.NEGATIVE_INFINITY

  constructor(nowMillis: number) {
    this.startedMillis = nowMillis
    this.lookedMillis = nowMillis
  }

  /** Requests on the wire. */
  get inFlight(): number {
    return this.hostViews.reduce((sum, { inFlight }) => sum + inFlight, 0)
  }

  /** It was looked how hosts are doing; what was so last time has been so until now. */
  looked(views: ReadonlyArray<HostView>, nowMillis: number): void {
    if (this.isWaiting) {
      this.waitedMillis += nowMillis - this.lookedMillis
      this.waitedLastMillis = nowMillis
    }
    this.lookedMillis = nowMillis
    this.hostViews = views
    this.isWaiting = this.taken > 0 && this.inFlight === 0 && views.some(({ block }) => block !== undefined)
  }

  /** Seconds until the rest is done, as things go now; `undefined` while that cannot be told. */
  secondsLeft(nowMillis: number): number | undefined {
    const left = this.total - this.before - this.done
    // The latest seconds say nothing of the pace while there was none.
    const isDisturbed = this.isWaiting || nowMillis - this.waitedLastMillis < rateSeconds * 1000
    const busySeconds = (nowMillis - this.startedMillis - this.waitedMillis) / 1000
    const rate = isDisturbed ? this.done / Math.max(0.25, busySeconds) : this.rate(nowMillis)
    if (!this.isInputDone || left <= 0 || rate <= 0) return undefined
    const ofHosts = this.hostViews.map(({ block, host, perSecond = Infinity }) => {
      const taken = this.hosts.get(host)?.taken ?? 0
      return taken === 0 ? 0 : (block?.forMillis ?? 0) / 1000 + taken / Math.min(rate, perSecond)
    })
    return Math.max(left / rate, ...ofHosts)
  }

  /** The run as it was found. */
  opened({ deferred, done, failed, leased, pending }: RunCounts): void {
    this.before = done + failed + deferred
    this.total = done + failed + leased + pending
  }

  addedTo({ fresh, repeated }: Added, of: number): void {
    this.added += fresh
    this.repeated += repeated
    this.known += of - fresh - repeated
    this.total += fresh
  }

  started(host: string): void {
    this.taken++
    const meter = this.hosts.get(host)
    if (meter !== undefined) meter.taken++
    else if (this.hosts.size < hostsMax) this.hosts.set(host, { taken: 1, done: 0, failed: 0 })
  }

  /** A URL has ended, whether or not its outcome will be recorded. */
  ended({ outcome, target }: Fetched): void {
    this.taken = Math.max(0, this.taken - 1)
    const meter = this.hosts.get(target.host)
    if (meter === undefined) return
    meter.taken = Math.max(0, meter.taken - 1)
    meter.done++
    if (!outcome.ok) meter.failed++
    if (meter.taken <= 0 && this.hosts.size > hostsMax / 2) this.hosts.delete(target.host)
  }

  /** What was taken is another's now. */
  lost(): void {
    this.taken = 0
    for (const host of this.hosts.values()) host.taken = 0
  }

  recorded({ outcome }: Fetched, nowMillis: number): void {
    const tag = outcome.error?._tag ?? "ok"
    const known = this.tags.get(tag)
    if (known === undefined) this.tags.set(tag, { count: 1, message: outcome.error?.message ?? "" })
    else known.count++
    if (outcome.ok) this.ok++
    else this.failed++
    this.bytes += outcome.bytes
    this.requests += outcome.attempts
    this.retries += Math.max(0, outcome.attempts - 1)
    const second = Math.floor(nowMillis / 1000)
    const last = this.ticks.at(-1)
    if (last?.second === second) last.count++
    else {
      this.ticks.push({ second, count: 1 })
      while ((this.ticks[0]?.second ?? second) < second - rateSeconds) this.ticks.shift()
    }
  }

  /** Recorded by this invocation. */
  get done(): number {
    return this.ok + this.failed
  }

  /** URLs per second lately. */
  rate(nowMillis: number): number {
    const from = Math.max(this.startedMillis, nowMillis - rateSeconds * 1000)
    const fromSecond = Math.floor(from / 1000)
    const count = this.ticks.reduce((sum, tick) => tick.second >= fromSecond ? sum + tick.count : sum, 0)
    return count / Math.max(0.25, (nowMillis - Math.max(this.startedMillis, fromSecond * 1000)) / 1000)
  }
}
