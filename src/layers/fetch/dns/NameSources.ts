/**
 * The `hosts:` line of `/etc/nsswitch.conf` (nsswitch.conf(5)): where names come from on this machine besides files and DNS.
 */

/** Who is to be asked for a name: the name servers, the system, or the system if the name servers know no such name. */
export type Route = "dns" | "system" | "dns-then-system"

/** What the line lists, without its `[...]` actions. */
export interface NameSources {
  readonly files: boolean
  readonly dns: boolean
  /** systemd-resolved: the name servers, and what it knows itself (LLMNR, mDNS, servers by link). */
  readonly resolved: boolean
  readonly mdns: boolean
  /** Sources of names without a dot: this machine and its containers. */
  readonly local: boolean
  /** Whatever else may know a name: a directory, a database. */
  readonly others: boolean
}

const localSources = new Set(["myhostname", "mymachines", "wins"])

/** Without a line, and where there is no such file (musl): files, then DNS. */
const usual = ["files", "dns"]

export const parse = (text: string): NameSources => {
  const line = text.split("\n").find((each) => /^\s*hosts\s*:/.test(each))
  const listed = line === undefined
    ? usual
    : line.replace(/#.*/, "").replace(/\[[^\]]*\]/g, " ").replace(/^\s*hosts\s*:/, "").trim().split(/\s+/)
  const is = (name: string) => listed.includes(name)
  const mdns = listed.filter((name) => name.startsWith("mdns"))
  const known = new Set(["", "files", "dns", "resolve", ...mdns, ...localSources])
  return {
    files: is("files"),
    dns: is("dns"),
    resolved: is("resolve"),
    mdns: mdns.length > 0,
    local: listed.some((name) => localSources.has(name)),
    others: listed.some((name) => !known.has(name))
  }
}

/**
 * @param isStub whether the name servers are systemd-resolved itself, which then says by DNS all that it knows but for mDNS and LLMNR
 */
export const route = (name: string, sources: NameSources, isStub: boolean): Route => {
  if (!sources.dns && !sources.resolved) return "system"
  const bare = name.replace(/\.$/, "")
  if (!bare.includes(".")) {
    return sources.local || sources.mdns || sources.resolved || sources.others ? "system" : "dns"
  }
  if (/\.local$/i.test(bare) && (sources.mdns || sources.resolved)) return "system"
  return sources.others || (sources.resolved && !isStub) ? "dns-then-system" : "dns"
}
