/**
 * Redirects, politeness, kept connections, TLS, names, robots: what a server does over several requests.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Stream } from "effect"
import * as net from "node:net"
import * as tls from "node:tls"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"
import { cert, key } from "../../support/zoo/certificate.ts"
import { fetcher, origin, reply, type Row, run, strict, type Visit } from "../../support/zoo/Zoo.ts"

const moved = (location: string, status = "302 Found") => reply("", `location: ${location}\r\n`, status)
const problem = (expected: string) => (outcome: { readonly error: { readonly [field: string]: unknown } | null }) =>
  assert.strictEqual(outcome.error?.["problem"], expected)
const polite = { keepsConnection: true }

describe("the zoo: redirects", () => {
  run([
    {
      name: "to itself",
      serve: ({ send }) => send(moved("/")),
      expect: "RedirectError",
      check: problem("loop"),
      requests: 2,
      ...polite
    },
    {
      name: "to itself once, with a cookie",
      serve: ({ n, send }) =>
        send(n === 0 ? reply("", "location: /\r\nset-cookie: a=b\r\n", "302 Found") : reply("here")),
      requests: 2,
      expect: "ok"
    },
    {
      name: "by way of a page that sets a cookie, and back",
      serve: ({ n, path, send }) => send(n === 0 ? moved("/set") : path === "/set" ? moved("/") : reply("here")),
      requests: 3,
      expect: "ok"
    },
    {
      name: "by two equal lines",
      serve: ({ path, send }) =>
        send(path === "/x" ? reply("here") : reply("", "location: /x\r\nlocation: /x\r\n", "302 Found")),
      requests: 2,
      expect: "ok"
    },
    {
      name: "by two lines that differ",
      serve: ({ send }) => send(reply("", "location: /x\r\nlocation: /y\r\n", "302 Found")),
      expect: "RedirectError",
      check: problem("several"),
      ...polite
    },
    {
      name: "to raw UTF-8, which stays that",
      serve: ({ path, send }) =>
        send(path === "/caf%C3%A9?q=%E7%8C%AB" ? reply("here") : moved("/caf\xc3\xa9?q=\xe7\x8c\xab")),
      requests: 2,
      expect: "ok"
    },
    {
      name: "to raw Latin-1, which stays that",
      serve: ({ path, send }) => send(path === "/caf%E9" ? reply("here") : moved("/caf\xe9")),
      requests: 2,
      expect: "ok"
    },
    {
      name: "between two",
      serve: ({ path, send }) => send(moved(path === "/a" ? "/b" : "/a")),
      path: "/a",
      expect: "RedirectError",
      check: problem("loop"),
      requests: 4,
      ...polite
    },
    {
      name: "to a new address each time, without end",
      serve: ({ n, send }) => send(moved(`/?n=${n}`)),
      expect: "RedirectError",
      check: problem("limit"),
      requests: 11,
      ...polite
    },
    {
      name: "thirty hops, when thirty are allowed",
      serve: ({ n, send }) => send(n < 30 ? moved(`/${n}`) : reply("here")),
      policy: { maxRedirects: 30 },
      expect: "ok",
      requests: 31
    },
    {
      name: "to a file",
      serve: ({ send }) => send(moved("file:///etc/passwd")),
      expect: "RedirectError",
      check: problem("location"),
      ...polite
    },
    {
      name: "to data",
      serve: ({ send }) => send(moved("data:,x")),
      expect: "RedirectError",
      check: problem("location"),
      ...polite
    },
    {
      name: "to nowhere",
      serve: ({ send }) => send(moved("http://")),
      expect: "RedirectError",
      check: problem("location"),
      ...polite
    },
    {
      name: "without a Location",
      serve: ({ send }) => send(reply("", "", "302 Found")),
      expect: "StatusError",
      ...polite
    },
    {
      name: "with an empty Location: as good as none",
      serve: ({ send }) => send(moved("")),
      expect: "StatusError",
      ...polite
    },
    {
      name: "whose body never ends",
      serve: ({ path, send }) =>
        send(path === "/" ? "HTTP/1.1 302 Found\r\nlocation: /x\r\ntransfer-encoding: chunked\r\n\r\n" : reply("here")),
      expect: "ok",
      waitsForNothing: true,
      requests: 2
    },
    {
      name: "to a private address, when those are refused",
      serve: () => {},
      policy: { denyPrivate: true },
      requests: 0,
      expect: "ForbiddenAddress"
    },
    {
      name: "a POST, which goes on as a GET without its body",
      serve: ({ head, path, send }) => {
        if (path === "/") return send(moved("/x", "303 See Other"))
        assert.match(head, /^GET /)
        assert.notMatch(head, /content-length/i)
        send(reply("here"))
      },
      request: { method: "POST", headers: { "content-type": "text/plain" }, body: "" },
      requests: 2,
      expect: "ok"
    }
  ])
})

describe("the zoo: throttling", () => {
  const once = (headers: string, status = "429 Too Many Requests") => ({ n, send }: Visit) =>
    send(n === 0 ? reply("", headers, status) : reply("ok"))
  const again: FetchPolicy.FetchPolicyInput = { retry: { times: 1, base: Duration.millis(20) } }
  const row = (name: string, headers: string, more?: Partial<Row>): Row => ({
    name,
    serve: once(headers),
    policy: again,
    expect: "ok",
    requests: 2,
    ...more
  })
  const longerThan = (millis: number) => (outcome: { readonly durationMs: number }) =>
    assert.isAtLeast(outcome.durationMs, millis)
  run([
    row("without a header", "", { check: longerThan(10) }),
    row("one second", "retry-after: 1\r\n", { check: longerThan(1000) }),
    row("zero", "retry-after: 0\r\n"),
    row("a date in the past", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
    row("negative", "retry-after: -5\r\n"),
    row("a fraction", "retry-after: 1.5\r\n"),
    row("junk", "retry-after: in a while\r\n"),
    row("an exponent", "retry-after: 1e10\r\n"),
    row("twice", "retry-after: 0\r\nretry-after: 0\r\n"),
    row("for three years", "retry-after: 99999999\r\n", { expect: "RetryAfterTooLong", requests: 1, ...polite }),
    row("until the year 9999", "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", {
      expect: "RetryAfterTooLong",
      requests: 1,
      ...polite
    }),
    row("with seventeen digits", "retry-after: 99999999999999999\r\n", { requests: 2 }),
    row("503", "", { serve: once("", "503 Service Unavailable") }),
    row("for ever", "", {
      serve: ({ send }) => send(reply("", "", "503 Service Unavailable")),
      expect: "StatusError",
      ...polite
    })
  ])

  it.live("a server that takes four at once is found out, and not asked for more than a probe", () =>
    Effect.gen(function*() {
      let inFlight = 0
      let refusedLate = 0
      let inFlightLate = 0
      let answered = 0
      const server = yield* origin({
        serve: ({ send, socket }) => {
          inFlight++
          const isRefused = inFlight > 4
          if (++answered > 200) {
            inFlightLate = Math.max(inFlightLate, inFlight)
            if (isRefused) refusedLate++
          }
          setTimeout(() => {
            inFlight--
            if (socket.writable) send(isRefused ? reply("", "", "429 Too Many Requests") : reply("ok"))
          }, 5)
        }
      }, () => 0)
      const f = yield* Fetcher
      const outcomes = yield* Stream.runCollect(
        f.fetchAll(Stream.map(Stream.range(1, 600), (n) => ({ url: `${server.url}/${n}` })))
      )
      assert.lengthOf(outcomes.filter((each) => each.ok), 600)
      assert.isAtMost(inFlightLate, 5)
      assert.isBelow(refusedLate, 20)
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make(strict, { perHost: 32, retry: { times: 5 } })),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ))

  it.live("a host that does not answer is asked a few times, not once for each of its URLs", () =>
    Effect.gen(function*() {
      let connects = 0
      const server = yield* Origin.makeRaw((socket) => {
        connects++
        socket.resume()
      })
      const f = yield* Fetcher
      const outcomes = yield* Stream.runCollect(
        f.fetchAll(Stream.map(Stream.range(1, 1000), (n) => ({ url: `${server.url}/${n}` })))
      )
      const tags = new Map<string, number>()
      for (const { error } of outcomes) tags.set(error?._tag ?? "ok", (tags.get(error?._tag ?? "ok") ?? 0) + 1)
      assert.isAbove(tags.get("HostUnavailable") ?? 0, 900)
      assert.isBelow(connects, 40)
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make(strict, {
          timeouts: { headers: Duration.millis(50) },
          retry: { patience: Duration.millis(100) },
          hosts: { breakerCooldown: Duration.millis(60) }
        })
      ),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ))

  it.live("a hedged request: the second answers, the first one's socket closes", () =>
    Effect.gen(function*() {
      let visits = 0
      const server = yield* origin({ serve: ({ n, send }) => n === 0 ? undefined : send(reply("second")) }, () =>
        visits++)
      const f = yield* Fetcher
      const response = yield* f.fetch({ url: server.url })
      assert.strictEqual(new TextDecoder().decode(response.body), "second")
      assert.strictEqual(response.outcome.attempts, 1)
      assert.strictEqual(visits, 2)
      yield* server.socketsFallTo(1)
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make(strict, { hedge: { after: Duration.millis(50) } })
      ),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ))
})

describe("the zoo: kept connections", () => {
  const many = (count: number, serve: (visit: Visit) => void, policy: FetchPolicy.FetchPolicyInput = {}) =>
    Effect.gen(function*() {
      let visits = 0
      const server = yield* origin({ serve }, () => visits++)
      const f = yield* Fetcher
      for (let n = 0; n < count; n++) {
        const outcome = yield* f.outcome({ url: `${server.url}/${n}` })
        assert.isTrue(outcome.ok, JSON.stringify(outcome))
        assert.strictEqual(outcome.bytes, `body ${n}`.length)
      }
      return server
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make(strict, { retry: { times: 2 } }, policy)),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    )
  const body = ({ path }: Visit) => reply(`body ${path.slice(1)}`)
  it.live("a hundred requests over one", () => many(100, (visit) => visit.send(body(visit))))
  it.live("closed after each, with notice", () =>
    many(30, (visit) => visit.last(reply(`body ${visit.path.slice(1)}`, "connection: close\r\n"))))
  it.live("closed after each, without notice", () => many(30, (visit) => visit.last(body(visit))))
  it.live("reset after each, without notice", () =>
    many(30, (visit) => {
      visit.send(body(visit))
      setTimeout(() => visit.socket.resetAndDestroy(), 1)
    }))
  it.live("closed under every second request", () =>
    many(
      30,
      (visit) =>
        visit.n % 2 === 1 && !visit.socket.readableEnded && visit.n < 50
          ? visit.socket.destroy()
          : visit.send(body(visit)),
      {
        retry: { times: 5 }
      }
    ))
  it.live("a keep-alive of one second that is a lie", () =>
    many(30, (visit) => visit.last(reply(`body ${visit.path.slice(1)}`, "keep-alive: timeout=1\r\n"))))
  it.live("a forged second response is nobody's", () =>
    many(20, (visit) => visit.send(`${body(visit)}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil`)))
})

describe("the zoo: TLS and names", () => {
  const secure = (accept: (socket: net.Socket) => void) => Origin.makeRaw(accept)
  const outcomeOf = (url: string, policy: FetchPolicy.FetchPolicyInput = {}, client: Http1Client.Options = {}) =>
    Effect.gen(function*() {
      const f = yield* Fetcher
      return yield* f.outcome({ url })
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make(strict, policy)),
      Effect.provide(Layer.provide(HttpFetcher.layer, Http1Client.layer(client)))
    )
  const at = (server: Origin.Origin, host = "localhost") => `https://${host}:${new URL(server.url).port}/`
  const shaken = (socket: net.Socket) => {
    const secured = new tls.TLSSocket(socket, { isServer: true, secureContext: tls.createSecureContext({ cert, key }) })
    secured.on("error", () => {})
    secured.on("data", () => secured.write(reply("secret")))
  }
  const row = (name: string, accept: (socket: net.Socket) => void, tag: string, more: {
    readonly host?: string
    readonly policy?: FetchPolicy.FetchPolicyInput
    readonly client?: Http1Client.Options
    readonly code?: string
  } = {}) =>
    it.live(name, () =>
      Effect.gen(function*() {
        const server = yield* secure(accept)
        const outcome = yield* outcomeOf(at(server, more.host), more.policy, more.client)
        assert.strictEqual(outcome.error?._tag ?? "ok", tag, JSON.stringify(outcome))
        if (more.code !== undefined) assert.strictEqual(outcome.error?.["code"], more.code)
        if (tag !== "ok") yield* server.socketsFallTo(0)
      }).pipe(Effect.scoped, leakFree))
  row("a certificate that is trusted", shaken, "ok", { client: { tls: { ca: cert } } })
  row("a certificate that nobody signed", shaken, "TlsError", { code: "DEPTH_ZERO_SELF_SIGNED_CERT" })
  row("a certificate for another name", shaken, "TlsError", {
    host: "127.0.0.1",
    client: { tls: { ca: cert } },
    code: "ERR_TLS_CERT_ALTNAME_INVALID"
  })
  row("no TLS at all", (socket) => {
    socket.resume()
    socket.write(reply("plain"))
  }, "TlsError")
  row("a handshake that never comes", (socket) => socket.resume(), "TlsTimeout", {
    policy: { timeouts: { tls: Duration.millis(100) } }
  })
  row("a handshake that never comes, and no limit of its own", (socket) => socket.resume(), "ConnectTimeout")
  row("a reset in the handshake", (socket) => {
    socket.on("data", () => socket.resetAndDestroy())
  }, "TlsError")
  row("closed in the handshake", (socket) => {
    socket.on("data", () => socket.end())
  }, "TlsError")

  it.live("the name that TLS is told has no dot at its end", () =>
    Effect.gen(function*() {
      const names: Array<string> = []
      const server = yield* secure((socket) => {
        const secured = new tls.TLSSocket(socket, {
          isServer: true,
          SNICallback: (name, done) => {
            names.push(name)
            done(null, tls.createSecureContext({ cert, key }))
          }
        })
        secured.on("error", () => {})
        secured.on("data", () => secured.write(reply("secret")))
      })
      const dns = named(() => ["127.0.0.1"]).client
      const outcome = yield* outcomeOf(at(server, "localhost."), {}, { ...dns, tls: { ca: cert } })
      assert.strictEqual(outcome.error?._tag ?? "ok", "ok", JSON.stringify(outcome))
      assert.deepStrictEqual(names, ["localhost"])
    }).pipe(Effect.scoped, leakFree))

  it.live("a port that nobody listens on", () =>
    Effect.gen(function*() {
      const outcome = yield* outcomeOf("http://127.0.0.1:1/")
      assert.deepStrictEqual([outcome.error?._tag, outcome.error?.["code"]], ["ConnectError", "ECONNREFUSED"])
    }).pipe(leakFree))

  it.live("port zero", () =>
    Effect.gen(function*() {
      const outcome = yield* outcomeOf("http://127.0.0.1:0/")
      assert.strictEqual(outcome.error?._tag, "ConnectError")
    }).pipe(leakFree))

  it.live("a connect that is neither taken nor refused", () =>
    Effect.gen(function*() {
      const full = yield* Origin.makeFull
      const outcome = yield* outcomeOf(full.url)
      assert.strictEqual(outcome.error?._tag, "ConnectTimeout")
    }).pipe(Effect.scoped, leakFree))

  const named = (addresses: (n: number) => ReadonlyArray<string> | string) => {
    let asked = 0
    return {
      asked: () => asked,
      client: {
        dns: {
          lookup: (_: string, done: (answer: Http1Client.DnsAnswer) => void) => {
            const answer = addresses(asked++)
            if (typeof answer === "string") {
              if (answer !== "never") done({ code: answer })
            } else done({ addresses: answer.map((address) => ({ address, family: net.isIP(address) })) })
          }
        }
      } satisfies Http1Client.Options
    }
  }

  const namedRow = (
    name: string,
    addresses: (n: number) => ReadonlyArray<string> | string,
    tag: string,
    policy: FetchPolicy.FetchPolicyInput = {}
  ) =>
    it.live(name, () =>
      Effect.gen(function*() {
        const server = yield* origin({ serve: ({ send }) => send(reply("ok")) }, () => 0)
        const outcome = yield* outcomeOf(
          `http://one.test:${new URL(server.url).port}/`,
          policy,
          named(addresses).client
        )
        assert.strictEqual(outcome.error?._tag ?? "ok", tag, JSON.stringify(outcome))
      }).pipe(Effect.scoped, leakFree))
  namedRow("a name that does not exist", () => "ENOTFOUND", "DnsError")
  namedRow("a resolver that is busy", () => "EAI_AGAIN", "DnsError")
  namedRow("a resolver that never answers", () => "never", "DnsTimeout", { timeouts: { dns: Duration.millis(100) } })
  namedRow("a name for a private address, when those are refused", () => ["127.0.0.1"], "ForbiddenAddress", {
    denyPrivate: true
  })
  namedRow("a name for a public and a private address", () => ["1.1.1.1", "10.0.0.1"], "ForbiddenAddress", {
    denyPrivate: true
  })
  namedRow("a name for a mapped private address", () => ["::ffff:127.0.0.1"], "ForbiddenAddress", { denyPrivate: true })
  namedRow("IPv6 dead, IPv4 alive", () => ["::1", "127.0.0.1"], "ok")

  it.live("rebinding: the address that was judged is the one that is connected to", () =>
    Effect.gen(function*() {
      let visits = 0
      const server = yield* origin({ serve: ({ send }) => send(reply("ok")) }, () => visits++)
      // Public when it is looked up, private a moment later: what is connected to is what was looked up.
      const rebinding = named((n) => n === 0 ? ["192.0.2.1"] : ["127.0.0.1"])
      const outcome = yield* outcomeOf(`http://one.test:${new URL(server.url).port}/`, {}, rebinding.client)
      assert.notStrictEqual(outcome.error, null)
      assert.strictEqual(rebinding.asked(), 1)
      assert.strictEqual(visits, 0)
    }).pipe(Effect.scoped, leakFree))

  it.live("a hundred requests to a name are one lookup", () =>
    Effect.gen(function*() {
      const server = yield* origin({ serve: ({ send }) => send(reply("ok")) }, () => 0)
      const names = named(() => ["127.0.0.1"])
      const url = `http://one.test:${new URL(server.url).port}`
      const outcomes = yield* Effect.gen(function*() {
        const f = yield* Fetcher
        return yield* Stream.runCollect(f.fetchAll(Stream.map(Stream.range(1, 100), (n) => ({ url: `${url}/${n}` }))))
      }).pipe(Effect.provide(Layer.provide(HttpFetcher.layer, Http1Client.layer(names.client))))
      assert.isTrue(outcomes.every((each) => each.ok))
      assert.strictEqual(names.asked(), 1)
    }).pipe(Effect.scoped, leakFree))

  it.live("a connection opened without the address policy is not used by a request under it", () =>
    Effect.gen(function*() {
      const server = yield* origin({ serve: ({ send }) => send(reply("ok")) }, () => 0)
      yield* Effect.gen(function*() {
        const f = yield* Fetcher
        assert.isTrue((yield* f.outcome({ url: server.url })).ok)
        const denied = yield* f.outcome({ url: server.url }).pipe(
          Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make(strict, { denyPrivate: true }))
        )
        assert.strictEqual(denied.error?._tag, "ForbiddenAddress")
      }).pipe(Effect.provide(fetcher))
    }).pipe(Effect.scoped, leakFree))
})

describe("the zoo: robots.txt", () => {
  const row = (
    name: string,
    robots: (visit: Visit) => void,
    expect: string,
    requests = 2,
    more: Partial<Row> = {}
  ): Row => ({
    name,
    serve: (visit) =>
      visit.path === "/robots.txt" || visit.path.startsWith("/hop") ? robots(visit) : visit.send(reply("ok")),
    path: "/private/x",
    policy: { robots: true },
    expect,
    requests,
    ...polite,
    ...more
  })
  const file = (text: string) => ({ send }: Visit) => send(reply(text))
  const unreachable = (name: string, robots: (visit: Visit) => void, reason: string, more: Partial<Row> = {}) =>
    row(`${name}: nothing is asked for, and its reason is told`, robots, "RobotsUnreachable", 1, {
      policy: { robots: true, retry: { times: 0, patience: Duration.zero } },
      check: ({ error }) => assert.strictEqual(error?.["reason"], reason),
      ...more
    })
  run([
    row("none: 404", ({ send }) => send(reply("", "", "404 Not Found")), "ok"),
    row("forbidden: 403 is as good as none", ({ send }) => send(reply("", "", "403 Forbidden")), "ok"),
    unreachable("broken", ({ send }) => send(reply("", "", "500 Sorry")), "StatusError"),
    unreachable("too many requests", ({ send }) => send(reply("", "", "429 Too Many")), "StatusError"),
    unreachable("the connection broken", ({ socket }) => socket.destroy(), "ProtocolError", { keepsConnection: false }),
    unreachable("silent", () => {}, "HeadersTimeout", { keepsConnection: false }),
    row("allows", file("User-agent: *\nDisallow: /other"), "ok"),
    row("disallows", file("User-agent: *\nDisallow: /private"), "RobotsDisallowed", 1),
    row("disallows another", file("User-agent: other\nDisallow: /"), "ok"),
    row("is a page", file("<!doctype html><title>hello</title>"), "ok"),
    row(
      "five hops away",
      ({ n, send }) => send(n < 5 ? moved(`/hop${n}`) : reply("User-agent: *\nDisallow: /")),
      "RobotsDisallowed",
      6
    ),
    row("six hops away is as good as none", ({ n, send }) => send(moved(`/hop${n}`)), "ok", 7),
    row(
      "fifteen megabytes: the first half is read",
      ({ last }) => last(reply(`User-agent: *\nDisallow: /private\n${"# x\n".repeat(4_000_000)}`)),
      "RobotsDisallowed",
      1,
      {
        keepsConnection: false
      }
    )
  ])
})
