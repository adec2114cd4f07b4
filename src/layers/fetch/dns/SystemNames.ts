/**
 * What this machine's files say of names: `/etc/hosts`, `/etc/resolv.conf`, `/etc/nsswitch.conf`. Read when first asked for, and again
 * when they have changed; meanwhile the old word holds.
 */
import type { LookupAddress } from "node:dns"
import * as fs from "node:fs"
import * as os from "node:os"
import * as process from "node:process"
import { hasGlobalIpv6 } from "./AddressOrder.ts"
import * as HostsFile from "./HostsFile.ts"
import { Nameservers } from "./Nameservers.ts"
import * as NameSources from "./NameSources.ts"
import * as ResolvConf from "./ResolvConf.ts"

/** Where the files are. */
export interface Paths {
  readonly hosts?: string | undefined
  readonly resolvConf?: string | undefined
  readonly nsswitch?: string | undefined
}

/** What the files say. */
export interface Names {
  readonly hosts: ReadonlyMap<string, ReadonlyArray<LookupAddress>>
  readonly nameservers: Nameservers
  readonly route: (name: string) => NameSources.Route
  readonly isIpv6Reachable: boolean
}

/** How often the files are looked at, at most. */
const lookAgainMillis = 5000

/** A larger file is not read into memory: the system is asked for every name instead. */
const bytesMax = 16 * 1024 * 1024

/** Elsewhere these files are not the whole truth: names that DNS does not know are asked of the system too. */
const areFilesTheTruth = process.platform === "linux"

interface Read {
  readonly stamp: string
  readonly text: string
  readonly isTooLarge: boolean
}

type Loaded = Names | { readonly code: string }

export class SystemNames {
  private readonly paths: readonly [hosts: string, resolvConf: string, nsswitch: string]
  private readonly servers: ReadonlyArray<string> | undefined
  private readonly nowMillis: () => number
  private files: ReadonlyArray<Read> = []
  private names: Names | undefined = undefined
  private lookAtMillis = -Infinity
  private waiting: Array<(names: Loaded) => void> | undefined = undefined

  /** @param servers name servers to ask instead of those that resolv.conf names */
  constructor(nowMillis: () => number, paths: Paths = {}, servers?: ReadonlyArray<string>) {
    this.nowMillis = nowMillis
    this.paths = [
      paths.hosts ?? "/etc/hosts",
      paths.resolvConf ?? "/etc/resolv.conf",
      paths.nsswitch ?? "/etc/nsswitch.conf"
    ]
    this.servers = servers
  }

  /** Hands over what the files say: at once if they have been read, and with a code if they cannot be. */
  use(take: (names: Loaded) => void): void {
    if (this.names !== undefined) take(this.names)
    else if (this.waiting !== undefined) return void this.waiting.push(take)
    else this.waiting = [take]
    if (this.nowMillis() < this.lookAtMillis) return
    this.lookAtMillis = this.nowMillis() + lookAgainMillis
    this.look()
  }

  private look(): void {
    let left = this.paths.length
    const files: Array<Read> = []
    let failure: string | undefined = undefined
    for (const [index, path] of this.paths.entries()) {
      read(path, this.files[index], (result) => {
        if ("code" in result) failure = result.code
        else files[index] = result
        if (--left === 0) this.looked(files, failure)
      })
    }
  }

  private looked(files: ReadonlyArray<Read>, failure: string | undefined): void {
    if (failure !== undefined) this.lookAtMillis = -Infinity
    else if (this.names === undefined || files.some((file, index) => file.stamp !== this.files[index]?.stamp)) {
      this.files = files
      this.names = this.of(files)
    }
    const waiting = this.waiting ?? []
    this.waiting = undefined
    for (const take of waiting) take(this.names ?? { code: failure ?? "UNKNOWN" })
  }

  private of([hosts, resolvConf, nsswitch]: ReadonlyArray<Read>): Names {
    const sources = NameSources.parse(nsswitch?.text ?? "")
    const conf = ResolvConf.parse(resolvConf?.text ?? "", os.hostname())
    const servers = this.servers ?? conf.servers
    const isStub = servers.every((server) => server === "127.0.0.53" || server === "127.0.0.54")
    const route = (name: string): NameSources.Route => {
      if (hosts?.isTooLarge === true) return "system"
      const known = NameSources.route(name, sources, isStub)
      return known === "dns" && !areFilesTheTruth ? "dns-then-system" : known
    }
    return {
      hosts: sources.files ? HostsFile.parse(hosts?.text ?? "") : new Map(),
      nameservers: new Nameservers({ ...conf, servers }),
      route,
      isIpv6Reachable: hasGlobalIpv6()
    }
  }
}

const absent: Read = { stamp: "absent", text: "", isTooLarge: false }

/** A file as it is now; the one that is known if it has not changed, and an empty one if there is none. */
const read = (
  path: string,
  known: Read | undefined,
  done: (result: Read | { readonly code: string }) => void
): void => {
  fs.stat(path, (error, stats) => {
    if (error !== null) return done(isAbsent(error) ? absent : { code: error.code ?? "UNKNOWN" })
    const stamp = `${stats.ino} ${stats.size} ${stats.mtimeMs}`
    if (known?.stamp === stamp) return done(known)
    if (stats.size > bytesMax) return done({ stamp, text: "", isTooLarge: true })
    fs.readFile(path, "utf8", (error, text) => {
      if (error !== null) done(isAbsent(error) ? absent : { code: error.code ?? "UNKNOWN" })
      else done({ stamp, text, isTooLarge: false })
    })
  })
}

/** Not there, or not for this user to read: to the system's resolver, too, it is then as if it were empty. */
const isAbsent = ({ code }: NodeJS.ErrnoException): boolean =>
  code === "ENOENT" || code === "EACCES" || code === "ENOTDIR"
