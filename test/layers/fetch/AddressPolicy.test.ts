/**
 * Which addresses are refused: the IANA special-purpose registries, and every IPv6 address that IANA gives nobody.
 */
import { assert, describe, it } from "@effect/vitest"
import { forbiddenRange } from "../../../src/layers/fetch/AddressPolicy.ts"

/** One address of each block that is not "globally reachable" (IANA special-purpose registries), and of other wordings of such. */
const refused = (
  "0.1.2.3 10.1.2.3 100.64.1.2 127.1.2.3 169.254.1.2 172.16.1.2 192.0.0.8 192.0.2.1 192.168.1.2 198.18.0.1 198.51.100.1 203.0.113.1 " +
  "224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:10.0.0.1 ::10.0.0.1 ::808:808 ::a00:1 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 100::1 " +
  "2001::1 2001:2::1 2001:db8::1 2002:7f00:1::1 3fff::1 3fff:fff::1 4000::1 5f00::1 ::5efe:7f00:1 ::5efe:808:808 fe80::5efe:808:808 " +
  "2a00::5efe:7f00:1 2a00::200:5efe:10.0.0.1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 100.100.100.200 168.63.129.16"
).split(" ")

const allowed = (
  "1.1.1.1 8.8.8.8 100.63.255.255 172.32.0.1 192.0.3.1 2606:4700::1111 2001:4860:4860::8888 2a00:1450::1 3ffe:ffff::1 3fff:1000::1 " +
  "64:ff9b::8.8.8.8 2002:808:808::1 ::ffff:8.8.8.8 2a00::5efe:808:808"
).split(" ")

describe("addresses", () => {
  for (const address of refused) it(`${address} is refused`, () => assert.isDefined(forbiddenRange(address)))
  for (const address of allowed) it(`${address} is allowed`, () => assert.isUndefined(forbiddenRange(address)))

  it("refuses all of IPv6 outside of 2000::/3, but for what a translator would make a public IPv4 address of", () => {
    for (let first = 0; first < 0x1_0000; first += 7) {
      const address = `${first.toString(16)}:1:2:3:4:5:6:7`
      if (first >> 13 === 1) continue
      assert.isDefined(forbiddenRange(address), address)
    }
  })
})
