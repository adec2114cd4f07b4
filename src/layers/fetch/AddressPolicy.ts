/**
 * Which addresses a request may not reach when private ones are refused. Judged on the resolved address at connect time, so that a
 * host name that changes its answer (DNS rebinding) gains nothing. Decimal, octal and hexadecimal IPv4 forms need no rule here: the
 * WHATWG URL parser has turned them into dotted ones.
 */
import ipaddr from "ipaddr.js"

/** Ranges as ipaddr.js names them (IANA special-purpose address registries); everything but plain unicast is refused. */
const names: Readonly<Record<string, string>> = {
  unspecified: "unspecified",
  broadcast: "broadcast",
  multicast: "multicast",
  linkLocal: "link-local",
  loopback: "loopback",
  carrierGradeNat: "carrier-grade NAT",
  private: "private",
  uniqueLocal: "private (unique local)",
  reserved: "reserved"
}

/** Cloud metadata services outside the link-local range. */
const metadata = new Set(["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"])

/** The name of the range that makes an address forbidden; `undefined` when it is a public one. */
export const forbiddenRange = (address: string): string | undefined => {
  const bare = address.split("%")[0] ?? address
  if (!ipaddr.isValid(bare)) return "not an IP address"
  // An IPv4-mapped IPv6 address is judged as the IPv4 address that it reaches.
  const parsed = ipaddr.process(bare)
  if (metadata.has(parsed.toString())) return "a metadata service"
  const embedded = parsed.kind() === "ipv6" ? embeddedIPv4(parsed.toByteArray()) : undefined
  if (embedded !== undefined) return forbiddenRange(embedded)
  const range = parsed.range()
  return range === "unicast" ? undefined : names[range] ?? range
}

/** The IPv4 address inside a NAT64 (RFC 6052) or 6to4 (RFC 3056) address: a translator would connect to that. */
const embeddedIPv4 = (bytes: ReadonlyArray<number>): string | undefined => {
  const has = (prefix: ReadonlyArray<number>) => prefix.every((byte, index) => bytes[index] === byte)
  if (has([0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0])) return bytes.slice(12, 16).join(".")
  if (has([0x20, 0x02])) return bytes.slice(2, 6).join(".")
  // IPv4-compatible (deprecated): ::a.b.c.d, but not :: and ::1, which have ranges of their own.
  if (has([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) && (bytes[12] !== 0 || bytes[13] !== 0)) {
    return bytes.slice(12, 16).join(".")
  }
  return undefined
}
