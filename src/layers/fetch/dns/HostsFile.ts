/**
 * `/etc/hosts` (hosts(5)): an address and its names in each line.
 */
import type { LookupAddress } from "node:dns"
import { isIP } from "node:net"

/** The addresses of each name, names in lower case. */
export const parse = (text: string): ReadonlyMap<string, ReadonlyArray<LookupAddress>> => {
  const byName = new Map<string, Array<LookupAddress>>()
  for (const line of text.split("\n")) {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/)
    const family = isIP(address)
    if (family === 0) continue
    for (const name of names) {
      const key = name.toLowerCase()
      const known = byName.get(key)
      if (known === undefined) byName.set(key, [{ address, family }])
      else if (!known.some((each) => each.address === address)) known.push({ address, family })
    }
  }
  return byName
}
