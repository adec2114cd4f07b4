/**
 * What this machine's files say of names, as the stub resolver reads them.
 */
import { assert, describe, it } from "@effect/vitest"
import * as AddressOrder from "../../../src/layers/fetch/dns/AddressOrder.ts"
import * as HostsFile from "../../../src/layers/fetch/dns/HostsFile.ts"
import { Nameservers } from "../../../src/layers/fetch/dns/Nameservers.ts"
import * as NameSources from "../../../src/layers/fetch/dns/NameSources.ts"
import * as ResolvConf from "../../../src/layers/fetch/dns/ResolvConf.ts"

const conf = (text: string, machine = "box") => ResolvConf.parse(text, machine)

describe("resolv.conf", () => {
  it("an empty file means the server of this machine and no search", () => {
    assert.deepStrictEqual(conf(""), ResolvConf.absent)
  })

  it("three servers at most, IPv6 with its link, what is no address is none", () => {
    const text =
      "nameserver 1.1.1.1\nnameserver nonsense\nnameserver fe80::1%eth0\n\tnameserver ::1 # here\nnameserver 9.9.9.9\n"
    assert.deepStrictEqual(conf(text).servers, ["1.1.1.1", "[fe80::1%eth0]", "[::1]"])
  })

  it("the last of search and domain counts, comments do not, options are bounded", () => {
    const text =
      "search a.test b.test.\n#search no.test\n;domain no.test\noptions ndots:99 attempts:9\noptions timeout:0 rotate no-aaaa\n"
    assert.deepStrictEqual(conf(text), {
      servers: ["127.0.0.1"],
      search: ["a.test", "b.test"],
      ndots: 15,
      attempts: 5,
      timeoutMillis: 1000,
      rotates: true,
      asksForIpv6: false
    })
    assert.deepStrictEqual(conf("search a.test\ndomain c.test").search, ["c.test"])
    assert.deepStrictEqual(conf("search .").search, [])
    assert.deepStrictEqual(conf("options ndots:x timeout:").ndots, 1)
  })

  it("without search or domain the machine's own domain is searched", () => {
    assert.deepStrictEqual(conf("", "box.corp.test").search, ["corp.test"])
    assert.deepStrictEqual(conf("search .", "box.corp.test").search, [])
  })

  it("names with few dots go through the search list first, the others last; a dot at the end means: as it is", () => {
    const at = (ndots: number) => ({ ...ResolvConf.absent, search: ["x.test", "y.test"], ndots })
    assert.deepStrictEqual(ResolvConf.candidates("db", at(1)), ["db.x.test", "db.y.test", "db"])
    assert.deepStrictEqual(ResolvConf.candidates("a.b", at(1)), ["a.b", "a.b.x.test", "a.b.y.test"])
    assert.deepStrictEqual(ResolvConf.candidates("a.b.c.d", at(5)), ["a.b.c.d.x.test", "a.b.c.d.y.test", "a.b.c.d"])
    assert.deepStrictEqual(ResolvConf.candidates("db", at(0)), ["db", "db.x.test", "db.y.test"])
    assert.deepStrictEqual(ResolvConf.candidates("db.", at(1)), ["db"])
  })
})

describe("the order of the servers", () => {
  const tries = (text: string) =>
    new Nameservers(conf(text)).tries().map(({ server, waitMillis }) => [server, waitMillis])

  it("unless told otherwise: again and again, at doubling distances, for half a minute", () => {
    assert.deepStrictEqual(tries("nameserver 1.1.1.1"), [1, 2, 4, 8, 16].map((seconds) => ["1.1.1.1", seconds * 1000]))
    const three = tries("nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3")
    assert.deepStrictEqual(three.slice(0, 4), [["1.1.1.1", 1000], ["2.2.2.2", 1000], ["3.3.3.3", 1000], [
      "1.1.1.1",
      2000
    ]])
  })

  it("as the options say", () => {
    const two = "nameserver 1.1.1.1\nnameserver 2.2.2.2\n"
    assert.deepStrictEqual(tries(`${two}options timeout:3 attempts:1`), [["1.1.1.1", 3000], ["2.2.2.2", 3000]])
    assert.lengthOf(tries(`${two}options timeout:3`), 4)
    assert.deepStrictEqual(tries("nameserver 1.1.1.1\noptions attempts:2"), [["1.1.1.1", 1000], ["1.1.1.1", 2000]])
  })

  it("rotate takes turns; one that has answered for another is first", () => {
    const servers = new Nameservers(conf("nameserver 1.1.1.1\nnameserver 2.2.2.2\noptions rotate"))
    const firsts = [1, 2, 3].map(() => servers.tries()[0]?.server)
    assert.deepStrictEqual(firsts, ["2.2.2.2", "1.1.1.1", "2.2.2.2"])
    const steady = new Nameservers(conf("nameserver 1.1.1.1\nnameserver 2.2.2.2"))
    steady.prefer("2.2.2.2")
    assert.deepStrictEqual(steady.tries().slice(0, 2).map(({ server }) => server), ["2.2.2.2", "1.1.1.1"])
  })
})

describe("hosts", () => {
  it("all addresses of a name, whatever its case; comments and nonsense are none", () => {
    const hosts = HostsFile.parse(
      "127.0.0.1 localhost\n::1\tLocalHost ip6-localhost # me\n#1.2.3.4 no\nbad.address x\n127.0.0.1 localhost\n"
    )
    assert.deepStrictEqual([...hosts.keys()], ["localhost", "ip6-localhost"])
    assert.deepStrictEqual(hosts.get("localhost"), [{ address: "127.0.0.1", family: 4 }, { address: "::1", family: 6 }])
  })
})

describe("nsswitch.conf", () => {
  const route = (line: string, name: string, isStub = false) =>
    NameSources.route(name, NameSources.parse(`passwd: files\n${line}\n`), isStub)

  const lines: ReadonlyArray<readonly [string, string, NameSources.Route]> = [
    ["", "one.test", "dns"],
    ["", "db", "dns"],
    ["hosts: files dns", "db", "dns"],
    ["hosts: files dns # mdns", "printer.local", "dns"],
    ["hosts: files mdns4_minimal [NOTFOUND=return] dns", "printer.local", "system"],
    ["hosts: files mdns4_minimal [NOTFOUND=return] dns", "printer.local.", "system"],
    ["hosts: files mdns4_minimal [NOTFOUND=return] dns", "one.test", "dns"],
    ["hosts: files dns myhostname", "box", "system"],
    ["hosts: files dns myhostname", "one.test", "dns"],
    ["hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns", "one.test", "dns-then-system"],
    ["hosts: files ldap dns", "one.test", "dns-then-system"],
    ["hosts: files ldap", "one.test", "system"],
    ["hosts:files", "one.test", "system"]
  ]
  for (const [line, name, expected] of lines) {
    it(`${line === "" ? "no line" : line}: ${name} -> ${expected}`, () =>
      assert.strictEqual(route(line, name), expected))
  }

  it("systemd-resolved as the name server says all by DNS", () => {
    assert.strictEqual(route("hosts: files resolve dns", "one.test", true), "dns")
    assert.strictEqual(route("hosts: files resolve dns", "box", true), "system")
  })
})

describe("the order of addresses", () => {
  it("the family that can be reached is first, loopback IPv6 always can", () => {
    const four = { address: "192.0.2.1", family: 4 }
    const six = { address: "2001:db8::1", family: 6 }
    assert.deepStrictEqual(AddressOrder.sort([four, six], true), [six, four])
    assert.deepStrictEqual(AddressOrder.sort([six, four], false), [four, six])
    const own = [{ address: "127.0.0.1", family: 4 }, { address: "::1", family: 6 }]
    assert.deepStrictEqual(AddressOrder.sort(own, false).map(({ address }) => address), ["::1", "127.0.0.1"])
  })
})
