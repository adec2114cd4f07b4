/**
 * Host names to addresses: the system's resolver, with one lookup at a time per name and a bounded memory. Without it thirty parallel
 * requests to one host are thirty lookups through libuv's four threads.
 */
import type { LookupAddress } from "node:dns"
import { lookup as systemLookup } from "node:dns"

/** What a lookup ends with. */
export type Answer = { readonly addresses: ReadonlyArray<LookupAddress> } | { readonly code: string }

type Lookup = (hostname: string, done: (answer: Answer) => void) => void

interface Entry {
  readonly answer: Answer
  readonly expiresAtMillis: number
}

/** The system's resolver (getaddrinfo), all addresses in the order that it gives them. */
export const system: Lookup = (hostname, done) => {
  systemLookup(hostname, { all: true, order: "verbatim" }, (error, addresses) => {
    if (error !== null) done({ code: error.code ?? "EAI_FAIL" })
    else if (addresses.length === 0) done({ code: "ENODATA" })
    else done({ addresses })
  })
}

/** How long and how many answers are remembered. getaddrinfo does not tell the record's own TTL. */
export interface DnsCacheOptions {
  /** @default 30_000 */
  readonly ttlMillis?: number | undefined
  /** Failures, too, are remembered, but shortly. @default 1_000 */
  readonly failureTtlMillis?: number | undefined
  /** @default 10_000 */
  readonly entriesMax?: number | undefined
  readonly lookup?: Lookup | undefined
}

/** A resolver with a memory. */
export class DnsCache {
  private readonly entries = new Map<string, Entry>()
  private readonly pending = new Map<string, Array<(answer: Answer) => void>>()
  private readonly ttlMillis: number
  private readonly failureTtlMillis: number
  private readonly entriesMax: number
  private readonly lookup: Lookup
  private readonly nowMillis: () => number

  constructor(nowMillis: () => number, options: DnsCacheOptions = {}) {
    this.nowMillis = nowMillis
    this.ttlMillis = options.ttlMillis ?? 30_000
    this.failureTtlMillis = options.failureTtlMillis ?? 1_000
    this.entriesMax = options.entriesMax ?? 10_000
    this.lookup = options.lookup ?? system
  }

  resolve(hostname: string, done: (answer: Answer) => void): void {
    const known = this.entries.get(hostname)
    if (known !== undefined) {
      if (known.expiresAtMillis > this.nowMillis()) return done(known.answer)
      this.entries.delete(hostname)
    }
    const waiting = this.pending.get(hostname)
    if (waiting !== undefined) {
      waiting.push(done)
      return
    }
    const all = [done]
    this.pending.set(hostname, all)
    this.lookup(hostname, (answer) => {
      this.pending.delete(hostname)
      this.remember(hostname, answer)
      for (const each of all) each(answer)
    })
  }

  private remember(hostname: string, answer: Answer): void {
    if (this.entries.size >= this.entriesMax) {
      const oldest = this.entries.keys().next()
      if (oldest.done !== true) this.entries.delete(oldest.value)
    }
    const ttlMillis = "addresses" in answer ? this.ttlMillis : this.failureTtlMillis
    this.entries.set(hostname, { answer, expiresAtMillis: this.nowMillis() + ttlMillis })
  }
}
