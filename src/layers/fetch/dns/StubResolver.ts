/**
 * Names to addresses as this machine would have it: its hosts file, its name servers with their search list, and the system's own
 * resolver only for names that no name server can know. A name that is silent or slow costs a socket and a timer, never a thread.
 */
import type { LookupAddress } from "node:dns"
import * as fs from "node:fs"
import { isIP } from "node:net"
import { devNull } from "node:os"
import { isNoName } from "../../../services/fetch/Retry.ts"
import * as AddressOrder from "./AddressOrder.ts"
import { type Answer, type Cancel, isOutOfFiles, type Lookup } from "./Answer.ts"
import { GetaddrinfoLane } from "./GetaddrinfoLane.ts"
import { Question } from "./Question.ts"
import * as ResolvConf from "./ResolvConf.ts"
import { type Names, type Paths, SystemNames } from "./SystemNames.ts"
import type { Timers } from "./Timers.ts"

/** What the files say holds until they are looked at again. */
const fileTtlMillis = 5000

const loopback: ReadonlyArray<LookupAddress> = [{ address: "127.0.0.1", family: 4 }, { address: "::1", family: 6 }]

/** Names of this machine wherever they are asked for (RFC 6761, section 6.3): never sent to a name server. */
const isLocalhost = (name: string): boolean => name === "localhost" || name.endsWith(".localhost")

/** One name on its way through the sources. */
class Search {
  /** Ends what is being waited for. */
  cancel: Cancel = () => {}
  private readonly hostname: string
  private readonly system: Lookup
  private readonly timers: Timers
  private readonly held: (isHeld: boolean) => void
  private readonly done: (answer: Answer) => void
  private isEnded = false
  /** The word to end with when the rest of the search list knows nothing. */
  private code = "ENOTFOUND"

  constructor(
    hostname: string,
    sources: { readonly system: Lookup; readonly timers: Timers },
    asker: { readonly done: (answer: Answer) => void; readonly held: (isHeld: boolean) => void }
  ) {
    this.hostname = hostname
    this.system = sources.system
    this.timers = sources.timers
    this.done = asker.done
    this.held = asker.held
  }

  begin(names: Names | { readonly code: string }): void {
    if (this.isEnded) return
    if ("code" in names) return this.end(names)
    const name = this.hostname.replace(/\.$/, "").toLowerCase()
    const family = isIP(name)
    if (family !== 0) return this.end({ addresses: [{ address: name, family }] })
    const known = names.hosts.get(name) ?? (isLocalhost(name) ? loopback : undefined)
    if (known !== undefined) {
      const addresses = AddressOrder.sort(known, names.isIpv6Reachable)
      return this.end({ addresses, ttlMillis: fileTtlMillis })
    }
    if (names.route(name) === "system") return this.askSystem()
    this.ask(names, ResolvConf.candidates(this.hostname.toLowerCase(), names.nameservers.conf))
  }

  stop(): void {
    this.isEnded = true
    this.cancel()
  }

  private ask(names: Names, [candidate, ...rest]: ReadonlyArray<string>): void {
    if (candidate === undefined) {
      if (names.route(this.hostname) === "dns-then-system" && isNoName(this.code)) this.askSystem()
      else this.end({ code: this.code })
      return
    }
    const question = new Question(candidate, names.nameservers, this.timers, (answer) => {
      if ("addresses" in answer) {
        return this.end({ ...answer, addresses: AddressOrder.sort(answer.addresses, names.isIpv6Reachable) })
      }
      // "There is none" of one candidate is outweighed by whatever else is said of another.
      if (answer.code !== "ENOTFOUND") this.code = answer.code
      // Silence or refusal goes for the rest of the list too: those who would answer are the same.
      if (isNoName(answer.code) || answer.code === "ESERVFAIL") this.ask(names, rest)
      else if (answer.code === "ECONNREFUSED") this.endUnlessOutOfFiles(answer)
      else this.end(answer)
    })
    this.cancel = () => question.cancel()
  }

  private askSystem(): void {
    const cancel = this.system(this.hostname, (answer) => this.endUnlessOutOfFiles(answer), this.held)
    this.cancel = () => cancel?.()
  }

  /** c-ares and getaddrinfo have no word for a process that is out of files: to them the server refuses, or the name is unknown. */
  private endUnlessOutOfFiles(answer: Answer): void {
    if ("addresses" in answer) return this.end(answer)
    fs.open(devNull, "r", (error, file) => {
      if (error === null) fs.close(file)
      this.end(error !== null && isOutOfFiles(error.code ?? "") ? { code: error.code ?? "" } : answer)
    })
  }

  private end(answer: Answer): void {
    if (this.isEnded) return
    this.isEnded = true
    this.done(answer)
  }
}

/** How names are resolved, where it is not as the machine's files have it. */
export interface StubResolverOptions {
  /** Name servers to ask, as `dns.setServers` takes them (`"127.0.0.1:5353"`). @default those of /etc/resolv.conf */
  readonly servers?: ReadonlyArray<string> | undefined
  /** Where the files are. @default /etc/hosts, /etc/resolv.conf, /etc/nsswitch.conf */
  readonly paths?: Paths | undefined
  /** Who knows what no name server does. @default getaddrinfo, two calls at a time */
  readonly system?: Lookup | undefined
}

/** This machine's resolver. */
export const make = (timers: Timers, options: StubResolverOptions = {}): Lookup => {
  const names = new SystemNames(timers.nowMillis, options.paths, options.servers)
  const system = options.system ?? new GetaddrinfoLane().lookup
  return (hostname, done, held) => {
    const search = new Search(hostname, { system, timers }, { done, held })
    names.use((loaded) => search.begin(loaded))
    return () => search.stop()
  }
}
