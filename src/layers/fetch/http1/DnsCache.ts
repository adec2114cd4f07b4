/**
 * Host names to addresses, with one lookup at a time per name and a bounded memory: without it thirty parallel requests to one host
 * are thirty questions.
 */
import { BoundedMap } from "../../../services/tasks/BoundedMap.ts"
import { type Answer, type Cancel, isOutOfFiles, type Lookup } from "../dns/Answer.ts"
import { Lookups, type LookupsOptions, type Running } from "../dns/Lookups.ts"
import * as StubResolver from "../dns/StubResolver.ts"
import type { Timers } from "../dns/Timers.ts"

interface Entry {
  readonly answer: Answer
  readonly expiresAtMillis: number
}

/** How names are resolved, and how long and how many answers are remembered. */
export interface DnsCacheOptions extends LookupsOptions, StubResolver.StubResolverOptions {
  /** For answers that do not tell how long they hold: those of getaddrinfo, and of a lookup of one's own. @default 30_000 */
  readonly ttlMillis?: number | undefined
  /** Answers that tell are remembered for as long as they say, but at least this long. @default 1_000 */
  readonly ttlMinMillis?: number | undefined
  /** And at most this long. @default 300_000 */
  readonly ttlMaxMillis?: number | undefined
  /** Failures, too, are remembered, but shortly. @default 1_000 */
  readonly failureTtlMillis?: number | undefined
  /** @default 10_000 */
  readonly entriesMax?: number | undefined
  /** Resolves instead of this machine's files and name servers. */
  readonly lookup?: Lookup | undefined
}

type Done = (answer: Answer) => void
type Held = (isHeld: boolean) => void

/** A lookup and who waits for it. */
class Shared {
  readonly askers = new Map<object, { readonly done: Done; readonly held: Held }>()
  isHeld = false
  running: Running | undefined = undefined
}

/** A resolver with a memory. */
export class DnsCache {
  private readonly entries: BoundedMap<string, Entry>
  private readonly pending = new Map<string, Shared>()
  private readonly lookups: Lookups
  private readonly options: DnsCacheOptions
  private readonly nowMillis: () => number

  constructor(timers: Timers, options: DnsCacheOptions = {}) {
    this.nowMillis = timers.nowMillis
    this.options = options
    this.entries = new BoundedMap(options.entriesMax ?? 10_000)
    this.lookups = new Lookups(options.lookup ?? StubResolver.make(timers, options), timers, options)
  }

  /**
   * Tells once, at once what is remembered. What is given back ends the waiting; the lookup itself goes on, and its answer is remembered.
   *
   * @param held hears whether the lookup waits for its turn, each time that this changes
   */
  resolve(hostname: string, done: Done, held: Held = () => {}): Cancel {
    const known = this.entries.get(hostname)
    if (known !== undefined) {
      if (known.expiresAtMillis > this.nowMillis()) {
        done(known.answer)
        return () => {}
      }
      this.entries.delete(hostname)
    }
    const shared = this.pending.get(hostname) ?? new Shared()
    const asker = {}
    shared.askers.set(asker, { done, held })
    if (shared.running !== undefined) {
      shared.running.isWanted = true
      if (shared.isHeld) held(true)
    } else this.ask(hostname, shared)
    return () => {
      if (!shared.askers.delete(asker) || shared.askers.size > 0) return
      if (shared.running !== undefined) this.lookups.leave(shared.running)
    }
  }

  /** Ends every lookup; nobody hears of them any more. */
  close(): void {
    this.pending.clear()
    this.lookups.close()
  }

  private ask(hostname: string, shared: Shared): void {
    this.pending.set(hostname, shared)
    shared.running = this.lookups.run(hostname, {
      held: (isHeld) => {
        shared.isHeld = isHeld
        for (const each of shared.askers.values()) each.held(isHeld)
      },
      done: (answer) => {
        if (!this.pending.delete(hostname)) return
        this.remember(hostname, answer)
        const askers = [...shared.askers.values()]
        shared.askers.clear()
        for (const each of askers) each.done(answer)
      }
    })
  }

  private remember(hostname: string, answer: Answer): void {
    const ttlMillis = this.ttlMillis(answer)
    if (ttlMillis <= 0) return
    this.entries.set(hostname, { answer, expiresAtMillis: this.nowMillis() + ttlMillis })
  }

  private ttlMillis(answer: Answer): number {
    const { failureTtlMillis = 1000, ttlMaxMillis = 300_000, ttlMillis = 30_000, ttlMinMillis = 1000 } = this.options
    // What this side has done says nothing of the name.
    if ("code" in answer) return isOutOfFiles(answer.code) || answer.code === "ECANCELLED" ? 0 : failureTtlMillis
    return answer.ttlMillis === undefined ? ttlMillis : Math.min(ttlMaxMillis, Math.max(ttlMinMillis, answer.ttlMillis))
  }
}
