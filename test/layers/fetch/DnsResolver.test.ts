/**
 * The stub resolver against a name server of the test's own: what it answers, what it asks, and what it leaves behind. Timers are
 * virtual; the sockets are real, and a test waits until the server has heard.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Answer, Lookup } from "../../../src/layers/fetch/dns/Answer.ts"
import * as StubResolver from "../../../src/layers/fetch/dns/StubResolver.ts"
import * as Timers from "../../../src/layers/fetch/dns/Timers.ts"
import * as Child from "../../support/Child.ts"
import * as DnsServer from "../../support/fetch/DnsServer.ts"
import { leakFree } from "../../support/leakFree.ts"

const starved = fileURLToPath(new URL("../../support/fetch/starved.ts", import.meta.url))

interface Files {
  readonly hosts?: string
  readonly resolvConf?: string
  readonly nsswitch?: string
}

interface Setup extends Files {
  readonly servers: ReadonlyArray<string>
  readonly system?: Lookup
}

const names = ["hosts", "resolvConf", "nsswitch"] as const

const directory = (files: Files): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = mkdtempSync(join(tmpdir(), "sluice-dns-"))
      for (const name of names) if (files[name] !== undefined) writeFileSync(join(path, name), files[name])
      return path
    }),
    (path) => Effect.sync(() => rmSync(path, { recursive: true }))
  )

const setup = Effect.fnUntraced(function*({ servers, system, ...files }: Setup) {
  const path = yield* directory(files)
  const timers = yield* Timers.make
  const held: Array<boolean> = []
  const lookup = StubResolver.make(timers, {
    servers,
    paths: { hosts: join(path, "hosts"), resolvConf: join(path, "resolvConf"), nsswitch: join(path, "nsswitch") },
    system: system ?? (() => assert.fail("the system was asked"))
  })
  const resolve = (name: string): Effect.Effect<Answer> =>
    Effect.callback((resume) => {
      const cancel = lookup(name, (answer) => resume(Effect.succeed(answer)), (isHeld) => held.push(isHeld))
      return Effect.sync(() => cancel?.())
    })
  return { path, held, resolve }
})

const addressesOf = (answer: Answer): ReadonlyArray<string> | string =>
  "code" in answer ? answer.code : answer.addresses.map(({ address }) => address)

/** A script by name: for each the replies to A and to AAAA; a name that is not there is NXDOMAIN. */
const scripted = (
  table: Readonly<
    Record<string, (asked: DnsServer.Asked) => DnsServer.Reply | ReadonlyArray<DnsServer.Reply> | undefined>
  >
) =>
(asked: DnsServer.Asked) => {
  const script = table[asked.name]
  return script === undefined ? { rcode: DnsServer.rcodes.nxdomain } : script(asked)
}

const a = (...addresses: ReadonlyArray<string>) => ({ type }: DnsServer.Asked): DnsServer.Reply => ({
  records: type === "A" ? addresses.map((address) => ({ a: address })) : []
})

describe("answers of every kind", () => {
  const { servfail, refused, nxdomain, notimp, formerr } = DnsServer.rcodes
  const many = Array.from({ length: 200 }, (_, n) => `10.0.0.${n}`)
  const kinds: ReadonlyArray<
    readonly [string, Parameters<typeof scripted>[0][string], ReadonlyArray<string> | string]
  > = [
    ["one address", a("10.0.0.1"), ["10.0.0.1"]],
    ["both families", ({ type }) => ({ records: [type === "A" ? { a: "10.0.0.1" } : { aaaa: "fd00::1" }] }), [
      "10.0.0.1",
      "fd00::1"
    ]],
    ["only IPv6", ({ type }) => ({ records: type === "A" ? [] : [{ aaaa: "fd00::1" }] }), ["fd00::1"]],
    ["a chain of aliases", ({ type }) => ({
      records: type === "AAAA" ? [] : [
        { cname: "two.test" },
        { cname: "three.test", of: "two.test" },
        { a: "10.0.0.3", of: "three.test" }
      ]
    }), ["10.0.0.3"]],
    ["an alias that leads nowhere", () => ({ records: [{ cname: "two.test" }] }), "ENODATA"],
    ["a name without addresses", () => ({}), "ENODATA"],
    ["no such name", () => ({ rcode: nxdomain }), "ENOTFOUND"],
    [
      "no such name for IPv6, though there is one for IPv4",
      ({ type }) => type === "A" ? { records: [{ a: "10.0.0.1" }] } : { rcode: nxdomain },
      ["10.0.0.1"]
    ],
    ["a failure for IPv6", ({ type }) => type === "A" ? { records: [{ a: "10.0.0.1" }] } : { rcode: servfail }, [
      "10.0.0.1"
    ]],
    ["a server that fails", () => ({ rcode: servfail }), "ESERVFAIL"],
    ["a failure for IPv4, and no IPv6", ({ type }) => type === "A" ? { rcode: servfail } : {}, "ESERVFAIL"],
    ["a server that refuses", () => ({ rcode: refused }), "EREFUSED"],
    ["a server that cannot", () => ({ rcode: notimp }), "ENOTIMP"],
    ["a server that does not understand", () => ({ rcode: formerr }), "EFORMERR"],
    [
      "truncated, whole over TCP",
      ({ isTcp, type }) => isTcp ? { records: type === "A" ? [{ a: "10.0.0.1" }] : [] } : { isTruncated: true },
      ["10.0.0.1"]
    ],
    [
      "two hundred addresses, over TCP",
      ({ isTcp, type }) => isTcp ? a(...many)({ name: "", type, isTcp }) : { isTruncated: true },
      many.slice(0, 16)
    ],
    ["a forged id before the right answer", ({ type }) => [
      { isForged: true, records: [{ a: "6.6.6.6" }] },
      { records: type === "A" ? [{ a: "10.0.0.1" }] : [] }
    ], ["10.0.0.1"]],
    ["an answer to another question before the right one", ({ type }) => [
      { isOfAnother: true, records: [{ a: "6.6.6.6" }] },
      { records: type === "A" ? [{ a: "10.0.0.1" }] : [] }
    ], ["10.0.0.1"]]
  ]
  for (const [title, script, expected] of kinds) {
    it.effect(title, () =>
      Effect.gen(function*() {
        const server = yield* DnsServer.make(scripted({ "one.test": script }))
        const { resolve } = yield* setup({ servers: [server.address], resolvConf: "options timeout:5 attempts:1\n" })
        assert.deepStrictEqual(addressesOf(yield* resolve("one.test")), expected)
      }).pipe(Effect.scoped, leakFree))
  }

  it.effect("names that are none are refused without a word to the server", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(scripted({}))
      const { resolve } = yield* setup({ servers: [server.address] })
      for (const name of [`${"x".repeat(64)}.test`, "a..test", `${"x.".repeat(130)}test`]) {
        assert.include(["EBADNAME", "ENOTFOUND"], addressesOf(yield* resolve(name)), name)
      }
      assert.deepStrictEqual(server.asked, [])
    }).pipe(Effect.scoped, leakFree))

  it.effect("the shortest time to live of all that was said", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(scripted({
        "one.test": ({ type }) => ({
          records: type === "A"
            ? [{ a: "10.0.0.1", ttl: 30 }, { a: "10.0.0.2", ttl: 7 }]
            : [{ aaaa: "fd00::1", ttl: 9 }]
        })
      }))
      const { resolve } = yield* setup({ servers: [server.address] })
      const answer = yield* resolve("one.test")
      assert.strictEqual("addresses" in answer ? answer.ttlMillis : answer.code, 7000)
    }).pipe(Effect.scoped, leakFree))
})

describe("names that no server is asked for", () => {
  it.effect("the hosts file, localhost, addresses; an entry of the file wins", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(scripted({}))
      const { resolve } = yield* setup({
        servers: [server.address],
        hosts: "10.1.1.1 Mine.test\n127.0.0.9 x.localhost\n"
      })
      assert.deepStrictEqual(addressesOf(yield* resolve("mine.test")), ["10.1.1.1"])
      assert.deepStrictEqual(addressesOf(yield* resolve("mine.test.")), ["10.1.1.1"])
      assert.deepStrictEqual(addressesOf(yield* resolve("localhost")), ["::1", "127.0.0.1"])
      assert.deepStrictEqual(addressesOf(yield* resolve("deep.er.localhost.")), ["::1", "127.0.0.1"])
      assert.deepStrictEqual(addressesOf(yield* resolve("x.localhost")), ["127.0.0.9"])
      assert.deepStrictEqual(addressesOf(yield* resolve("127.0.0.3.")), ["127.0.0.3"])
      assert.deepStrictEqual(server.asked, [])
    }).pipe(Effect.scoped, leakFree))

  it.effect("a hosts file that changes is read again, and one that goes is gone", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(scripted({ "mine.test": a("10.9.9.9") }))
      const { path, resolve } = yield* setup({ servers: [server.address], hosts: "10.1.1.1 mine.test\n" })
      assert.deepStrictEqual(addressesOf(yield* resolve("mine.test")), ["10.1.1.1"])
      writeFileSync(join(path, "hosts"), "10.2.2.22 mine.test\n")
      assert.deepStrictEqual(addressesOf(yield* resolve("mine.test")), ["10.1.1.1"])
      yield* TestClock.adjust("5 seconds")
      // The first to come then starts the reading; who comes after it knows.
      while (addressesOf(yield* resolve("mine.test"))[0] !== "10.2.2.22") yield* Effect.promise(() => turn())
      rmSync(join(path, "hosts"))
      yield* TestClock.adjust("5 seconds")
      while (addressesOf(yield* resolve("mine.test"))[0] !== "10.9.9.9") yield* Effect.promise(() => turn())
    }).pipe(Effect.scoped, leakFree))

  it.effect("what only the system knows is asked of it, and what DNS knows is not", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(scripted({ "one.test": a("10.0.0.1"), "fails.test": () => ({ rcode: 2 }) }))
      const asked: Array<string> = []
      const { resolve } = yield* setup({
        servers: [server.address],
        nsswitch: "hosts: files mdns4_minimal [NOTFOUND=return] ldap dns\n",
        system: (name, done) => {
          asked.push(name)
          done({ addresses: [{ address: "10.7.7.7", family: 4 }] })
        }
      })
      assert.deepStrictEqual(addressesOf(yield* resolve("one.test")), ["10.0.0.1"])
      assert.strictEqual(addressesOf(yield* resolve("fails.test")), "ESERVFAIL")
      assert.deepStrictEqual(addressesOf(yield* resolve("printer.local")), ["10.7.7.7"])
      assert.deepStrictEqual(addressesOf(yield* resolve("of-ldap.test")), ["10.7.7.7"])
      assert.deepStrictEqual(asked, ["printer.local", "of-ldap.test"])
    }).pipe(Effect.scoped, leakFree))
})

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe("the search list", () => {
  it.effect("is gone through until a name is there; failure is remembered, refusal ends it", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(scripted({
        "db.y.test": a("10.0.0.2"),
        "fails.x.test": () => ({ rcode: 2 }),
        "closed.x.test": () => ({ rcode: 5 })
      }))
      const { resolve } = yield* setup({
        servers: [server.address],
        resolvConf: "search x.test y.test\noptions timeout:5 attempts:1\n"
      })
      assert.deepStrictEqual(addressesOf(yield* resolve("db")), ["10.0.0.2"])
      assert.deepStrictEqual([...new Set(server.asked.map(({ name }) => name))], ["db.x.test", "db.y.test"])
      assert.strictEqual(addressesOf(yield* resolve("fails")), "ESERVFAIL")
      assert.strictEqual(addressesOf(yield* resolve("closed")), "EREFUSED")
      assert.isFalse(server.asked.some(({ name }) => name === "closed.y.test"))
      assert.strictEqual(addressesOf(yield* resolve("db.")), "ENOTFOUND")
    }).pipe(Effect.scoped, leakFree))
})

describe("servers that are silent, slow or dead", () => {
  it.effect("a lost question is asked again; an answer to the first one that comes late is taken", () =>
    Effect.gen(function*() {
      let send = () => {}
      let times = 0
      const server = yield* DnsServer.make(({ type }) =>
        type === "AAAA"
          ? {}
          : times++ === 0
          ? { records: [{ a: "10.0.0.1" }], when: (ready) => send = ready }
          : undefined
      )
      const { resolve } = yield* setup({ servers: [server.address] })
      const fiber = yield* Effect.forkChild(resolve("one.test"), { startImmediately: true })
      yield* server.hasHeard("one.test", 2)
      yield* TestClock.adjust("1 second")
      yield* server.hasHeard("one.test", 3)
      send()
      assert.deepStrictEqual(addressesOf(yield* Fiber.join(fiber)), ["10.0.0.1"])
    }).pipe(Effect.scoped, leakFree))

  it.effect("IPv6 that never comes is not waited for when IPv4 has", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make((asked) =>
        asked.type === "A" || asked.name === "next.test" ? a("10.0.0.1")(asked) : undefined
      )
      const { resolve } = yield* setup({ servers: [server.address] })
      const fiber = yield* Effect.forkChild(resolve("one.test"), { startImmediately: true })
      yield* server.hasHeard("one.test", 2)
      // What was answered later has come: so has the half that there is.
      yield* resolve("next.test")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("200 millis")
      assert.deepStrictEqual(addressesOf(yield* Fiber.join(fiber)), ["10.0.0.1"])
    }).pipe(Effect.scoped, leakFree))

  it.effect("a server that fails, refuses or is not there is passed over at once, one that is silent after a second, and not first again", () =>
    Effect.gen(function*() {
      const dead = yield* DnsServer.make(() => undefined)
      const failing = yield* DnsServer.make(() => ({ rcode: 2 }))
      const good = yield* DnsServer.make(a("10.0.0.1"))
      const failed = yield* setup({ servers: [failing.address, good.address] })
      assert.deepStrictEqual(addressesOf(yield* failed.resolve("one.test")), ["10.0.0.1"])
      const alone = yield* setup({ servers: [failing.address] })
      assert.strictEqual(addressesOf(yield* alone.resolve("once.test")), "ESERVFAIL")
      assert.lengthOf(failing.asked.filter(({ name }) => name === "once.test"), 2)
      const absent = yield* setup({ servers: ["127.0.0.1:1", good.address] })
      assert.deepStrictEqual(addressesOf(yield* absent.resolve("one.test")), ["10.0.0.1"])
      const silent = yield* setup({ servers: [dead.address, good.address] })
      const fiber = yield* Effect.forkChild(silent.resolve("one.test"), { startImmediately: true })
      yield* dead.hasHeard("one.test", 2)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(addressesOf(yield* Fiber.join(fiber)), ["10.0.0.1"])
      assert.deepStrictEqual(addressesOf(yield* silent.resolve("two.test")), ["10.0.0.1"])
      assert.isFalse(dead.asked.some(({ name }) => name === "two.test"))
    }).pipe(Effect.scoped, leakFree))

  it.effect("no server at all is ECONNREFUSED, silence to the end ETIMEOUT", () =>
    Effect.gen(function*() {
      const none = yield* setup({ servers: ["127.0.0.1:1"] })
      assert.strictEqual(addressesOf(yield* none.resolve("one.test")), "ECONNREFUSED")
      const dead = yield* DnsServer.make(() => undefined)
      const silent = yield* setup({ servers: [dead.address], resolvConf: "options timeout:2 attempts:2" })
      const fiber = yield* Effect.forkChild(silent.resolve("one.test"), { startImmediately: true })
      yield* dead.hasHeard("one.test", 2)
      yield* TestClock.adjust("2 seconds")
      yield* dead.hasHeard("one.test", 4)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(addressesOf(yield* Fiber.join(fiber)), "ETIMEOUT")
    }).pipe(Effect.scoped, leakFree))

  it.live("a process without files: neither the name nor the server is blamed", () =>
    Effect.gen(function*() {
      const server = yield* DnsServer.make(a("10.0.0.1"))
      const child = yield* Child.start(starved, [server.address])
      assert.deepStrictEqual(yield* Queue.take(child.lines), {
        "fed.test": "10.0.0.1",
        "starved.test": "EMFILE",
        "starved.system.test": "EMFILE"
      })
    }).pipe(Effect.scoped, leakFree))

  it.effect("a lookup that is given up asks nothing any more", () =>
    Effect.gen(function*() {
      const dead = yield* DnsServer.make(() => undefined)
      const { resolve } = yield* setup({ servers: [dead.address] })
      const fiber = yield* Effect.forkChild(resolve("one.test"), { startImmediately: true })
      yield* dead.hasHeard("one.test", 2)
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 minute")
      yield* Effect.promise(turn)
      assert.lengthOf(dead.asked, 2)
    }).pipe(Effect.scoped, leakFree))
})
