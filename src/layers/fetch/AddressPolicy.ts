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
  if (parsed.kind() === "ipv4") return rangeOf(parsed)
  const bytes = parsed.toByteArray()
  const translated = translatedIPv4(bytes)
  if (translated !== undefined) return forbiddenRange(translated)
  const tunnelled = tunnelledIPv4(bytes)
  return (tunnelled === undefined ? undefined : forbiddenRange(tunnelled)) ?? rangeOf(parsed) ??
    (isGlobal(bytes) ? undefined : "not global unicast")
}

const rangeOf = (address: ipaddr.IPv4 | ipaddr.IPv6): string | undefined => {
  const range = address.range()
  return range === "unicast" ? undefined : names[range] ?? range
}

/** IANA gives out addresses of 2000::/3 only (RFC 4291 section 2.4), and of those not 3fff::/20 (RFC 9637, documentation). */
const isGlobal = ([first = 0, second = 0, third = 0]: ReadonlyArray<number>): boolean =>
  first >> 5 === 0b001 && !(first === 0x3f && second === 0xff && third >> 4 === 0)

const begins = (bytes: ReadonlyArray<number>, prefix: ReadonlyArray<number>): boolean =>
  prefix.every((byte, index) => bytes[index] === byte)

const dotted = (bytes: ReadonlyArray<number>, from: number): string => bytes.slice(from, from + 4).join(".")

/** The IPv4 address inside a NAT64 (RFC 6052) or 6to4 (RFC 3056) address: a translator would connect to that. */
const translatedIPv4 = (bytes: ReadonlyArray<number>): string | undefined => {
  if (begins(bytes, [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0])) return dotted(bytes, 12)
  return begins(bytes, [0x20, 0x02]) ? dotted(bytes, 2) : undefined
}

/** The IPv4 address inside an ISATAP (RFC 5214) or IPv4-compatible (deprecated) one, whose prefix is judged too. */
const tunnelledIPv4 = (bytes: ReadonlyArray<number>): string | undefined => {
  const isIsatap = (bytes[8] === 0 || bytes[8] === 2) && begins(bytes.slice(9), [0, 0x5e, 0xfe])
  const isCompatible = bytes.slice(0, 12).every((byte) => byte === 0) && (bytes[12] !== 0 || bytes[13] !== 0)
  return isIsatap || isCompatible ? dotted(bytes, 12) : undefined
}
