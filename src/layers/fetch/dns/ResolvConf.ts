/**
 * `/etc/resolv.conf` as the stub resolver reads it (resolv.conf(5), glibc's rules).
 */
import { isIP } from "node:net"

export interface ResolvConf {
  /** Name servers to ask, the first one first; as `dns.setServers` takes them. */
  readonly servers: ReadonlyArray<string>
  /** Domains that are put behind a name with few dots. */
  readonly search: ReadonlyArray<string>
  /** A name with so many dots is first asked for as it is. */
  readonly ndots: number
  /** How often each server is asked; `undefined` when the file does not say. */
  readonly attempts: number | undefined
  /** How long a server is waited for before the next is asked; `undefined` when the file does not say. */
  readonly timeoutMillis: number | undefined
  /** Whether the servers take turns at being the first. */
  readonly rotates: boolean
  /** Whether IPv6 addresses are asked for. */
  readonly asksForIpv6: boolean
}

const serversMax = 3
const searchMax = 16

/** Without a file or an option. */
export const absent: ResolvConf = {
  servers: ["127.0.0.1"],
  search: [],
  ndots: 1,
  attempts: undefined,
  timeoutMillis: undefined,
  rotates: false,
  asksForIpv6: true
}

const numbered = (options: ReadonlyArray<string>, name: string, least: number, most: number): number | undefined => {
  const option = options.findLast((each) => each.startsWith(`${name}:`))
  const value = option === undefined ? Number.NaN : Number.parseInt(option.slice(name.length + 1), 10)
  return Number.isNaN(value) ? undefined : Math.min(most, Math.max(least, value))
}

/** An address as `dns.setServers` takes it; the name of a link (`fe80::1%eth0`) stays. */
const server = (address: string | undefined): ReadonlyArray<string> =>
  address === undefined || isIP(address) === 0 ? [] : [isIP(address) === 6 ? `[${address}]` : address]

/**
 * @param machine the name of this machine: its domain is searched when the file names none
 */
export const parse = (text: string, machine: string): ResolvConf => {
  const servers: Array<string> = []
  const options: Array<string> = []
  const dot = machine.indexOf(".")
  let search: ReadonlyArray<string> = dot < 0 ? [] : [machine.slice(dot + 1)]
  for (const line of text.split("\n")) {
    if (line.startsWith("#") || line.startsWith(";")) continue
    const [keyword, ...values] = line.trim().split(/\s+/)
    if (keyword === "nameserver") servers.push(...server(values[0]))
    else if (keyword === "search") search = values
    else if (keyword === "domain") search = values.slice(0, 1)
    else if (keyword === "options") options.push(...values)
  }
  const seconds = numbered(options, "timeout", 1, 30)
  return {
    servers: servers.length === 0 ? absent.servers : servers.slice(0, serversMax),
    search: search.map((domain) => domain.replace(/\.$/, "").toLowerCase()).filter((domain) => domain !== "")
      .slice(0, searchMax),
    ndots: numbered(options, "ndots", 0, 15) ?? absent.ndots,
    attempts: numbered(options, "attempts", 1, 5),
    timeoutMillis: seconds === undefined ? undefined : seconds * 1000,
    rotates: options.includes("rotate"),
    asksForIpv6: !options.includes("no-aaaa")
  }
}

/** The names to ask for, in order, when a program says `name`. One that ends in a dot is meant as it is. */
export const candidates = (name: string, { ndots, search }: ResolvConf): ReadonlyArray<string> => {
  if (name.endsWith(".")) return [name.slice(0, -1)]
  const longer = search.map((domain) => `${name}.${domain}`)
  return name.split(".").length - 1 >= ndots ? [name, ...longer] : [...longer, name]
}
