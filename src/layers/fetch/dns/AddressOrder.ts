/**
 * Which of a name's addresses are tried first: those that this machine can reach (RFC 6724, as far as it matters to a client that
 * tries the families in turn, RFC 8305).
 */
import type { LookupAddress } from "node:dns"
import { networkInterfaces } from "node:os"

/** Whether this machine has an IPv6 address of the global kind (2000::/3). */
export const hasGlobalIpv6 = (): boolean =>
  Object.values(networkInterfaces()).some((each) =>
    each?.some(({ address, family, internal }) => family === "IPv6" && !internal && /^[23]/.test(address)) === true
  )

const isLoopback = ({ address, family }: LookupAddress): boolean =>
  family === 6 ? address === "::1" : address.startsWith("127.")

/** IPv6 before IPv4 where both can be reached, and after it where only IPv4 can; otherwise as they were. */
export const sort = (addresses: ReadonlyArray<LookupAddress>, isIpv6Reachable: boolean): Array<LookupAddress> => {
  const isFirst = (each: LookupAddress) => each.family === (isIpv6Reachable || addresses.every(isLoopback) ? 6 : 4)
  return [...addresses.filter(isFirst), ...addresses.filter((each) => !isFirst(each))]
}
