/**
 * One name asked of the name servers, both address families at once, by c-ares: no thread waits for it. It has c-ares
 * channels of its own, one for each server: a channel that others use learns its timeouts from the names that answer quickly and then has
 * no patience with the slow ones, and it can only be cancelled whole.
 */
import type { LookupAddress, RecordWithTtl } from "node:dns"
import { Resolver } from "node:dns"
import { isNoName } from "../../../services/fetch/Retry.ts"
import type { Answer, Cancel } from "./Answer.ts"
import type { Nameservers, Try } from "./Nameservers.ts"
import type { Timers } from "./Timers.ts"

/** The second family may come so much later than the first (RFC 8305, section 3, has 50 ms for answers that are under way). */
const graceMillis = 200

/** Addresses that are kept of each family; more are of no use to a client. */
const addressesMax = 16

/** What is known of one address family. */
class Half {
  readonly family: 4 | 6
  addresses: ReadonlyArray<LookupAddress> = []
  ttlMillis = Infinity
  /** Why there are no addresses. */
  code: string | undefined = undefined
  isKnown = false
  /** Servers that have been asked and have not answered. */
  open = 0

  constructor(family: 4 | 6) {
    this.family = family
  }

  found(records: ReadonlyArray<RecordWithTtl>): void {
    this.isKnown = true
    this.addresses = records.slice(0, addressesMax).map(({ address }) => ({ address, family: this.family }))
    this.ttlMillis = Math.min(...records.map(({ ttl }) => ttl * 1000))
    this.code = undefined
  }

  failed(code: string): void {
    this.code = code
    this.isKnown = isNoName(code)
  }
}

export class Question {
  private readonly name: string
  private readonly servers: Nameservers
  private readonly timers: Timers
  private readonly done: (answer: Answer) => void
  private readonly tries: ReadonlyArray<Try>
  private readonly halves: ReadonlyArray<Half>
  private readonly channels = new Map<string, Resolver>()
  private asked = 0
  private stopNext: Cancel = () => {}
  private stopGrace: Cancel | undefined = undefined
  private isEnded = false

  constructor(name: string, servers: Nameservers, timers: Timers, done: (answer: Answer) => void) {
    this.name = name
    this.servers = servers
    this.timers = timers
    this.done = done
    this.tries = servers.tries()
    this.halves = servers.conf.asksForIpv6 ? [new Half(4), new Half(6)] : [new Half(4)]
    this.ask()
  }

  /** Ends it without an answer. */
  cancel(): void {
    this.isEnded = true
    this.stopNext()
    this.stopGrace?.()
    for (const channel of this.channels.values()) channel.cancel()
  }

  /** Asks the next server, or ends when the last one has had its time. */
  private ask(): void {
    this.stopNext()
    const next = this.tries[this.asked]
    if (next === undefined) return this.end()
    const { server, waitMillis } = next
    this.stopNext = this.timers.after(waitMillis, () => this.ask())
    const channel = this.channels.get(server) ?? this.channelTo(server)
    this.asked++
    for (const half of this.halves) if (!half.isKnown) this.askFor(half, channel, server)
  }

  private askFor(half: Half, channel: Resolver, server: string): void {
    const serial = this.asked
    half.open++
    const hear = (error: NodeJS.ErrnoException | null, records: ReadonlyArray<RecordWithTtl>) => {
      // Silence is ours to judge: before Node 24 c-ares gives up after five seconds whatever it is told.
      if (this.isEnded || half.isKnown || error?.code === "ETIMEOUT") return
      half.open--
      if (error !== null) half.failed(error.code ?? "UNKNOWN")
      else if (records.length === 0) half.failed("ENODATA")
      else half.found(records)
      if (half.isKnown && serial > 1) this.servers.prefer(server)
      this.settle()
    }
    if (half.family === 4) channel.resolve4(this.name, { ttl: true }, hear)
    else channel.resolve6(this.name, { ttl: true }, hear)
  }

  private settle(): void {
    const unknown = this.halves.filter((half) => !half.isKnown)
    if (unknown.length === 0) return this.end()
    if (this.stopGrace === undefined && this.halves.some((half) => half.addresses.length > 0)) {
      this.stopGrace = this.timers.after(graceMillis, () => this.end())
    }
    // Failed or refused: the next server need not wait for its time, and one that has said so is not asked again at once.
    if (this.asked < this.servers.conf.servers.length) {
      if (unknown.some((half) => half.open === 0)) this.ask()
    } else if (unknown.every((half) => half.open === 0)) this.end()
  }

  private end(): void {
    this.cancel()
    const addresses = this.halves.flatMap((half) => half.addresses)
    if (addresses.length === 0) return this.done({ code: this.code() })
    this.done({ addresses, ttlMillis: Math.min(...this.halves.map((half) => half.ttlMillis)) })
  }

  /** A family that nobody could tell of decides: the name may have addresses of it. */
  private code(): string {
    const unknown = this.halves.find((half) => !half.isKnown)
    if (unknown !== undefined) return unknown.code ?? "ETIMEOUT"
    return this.halves.every(({ code }) => code === "ENOTFOUND") ? "ENOTFOUND" : this.halves[0]?.code ?? "ENODATA"
  }

  private channelTo(server: string): Resolver {
    const restMillis = this.tries.slice(this.asked).reduce((sum, { waitMillis }) => sum + waitMillis, 0)
    // c-ares asks once for each question that it is given; when to ask again, and whom, is decided here.
    const channel = new Resolver({ timeout: restMillis, maxTimeout: restMillis, tries: 1 })
    channel.setServers([server])
    this.channels.set(server, channel)
    return channel
  }
}
