/**
 * The small pure rules of fetching, each as a table: Retry-After, jitter, redaction, redirects, addresses.
 */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as AddressPolicy from "../../../src/layers/fetch/AddressPolicy.ts"
import { type FetchRequest, type FetchTarget, keyOf, parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import * as Redact from "../../../src/services/fetch/Redact.ts"
import * as Redirect from "../../../src/services/fetch/Redirect.ts"
import * as Retry from "../../../src/services/fetch/Retry.ts"
import * as StatusRange from "../../../src/services/fetch/StatusRange.ts"
import { chanceOf } from "../../support/fetch/SimulatedHost.ts"

describe("Retry-After", () => {
  const now = Date.UTC(2026, 0, 1, 12, 0, 0)
  const table: ReadonlyArray<readonly [string | undefined, number | undefined]> = [
    [undefined, undefined],
    ["0", 0],
    ["120", 120_000],
    [" 7 ", 7000],
    ["Thu, 01 Jan 2026 12:00:30 GMT", 30_000],
    ["Thursday, 01-Jan-26 12:00:30 GMT", 30_000],
    ["Thu Jan  1 12:00:30 2026 GMT", 30_000],
    ["Thu, 01 Jan 2026 11:00:00 GMT", 0],
    ["-5", undefined],
    ["1.5", undefined],
    ["1e10", undefined],
    ["soon", undefined],
    ["", undefined],
    ["Wed, 99 Foo 2026", undefined],
    ["99999999999", 99_999_999_999_000]
  ]
  for (const [header, expected] of table) {
    it(`${String(header)} is ${String(expected)}`, () =>
      assert.strictEqual(Retry.retryAfterMillis(header, now), expected))
  }
})

describe("statuses", () => {
  const table: ReadonlyArray<readonly [string, string | undefined]> = [
    ["404", "404"],
    ["5XX", "5xx"],
    ["500", "500"],
    ["600", undefined],
    ["5x", undefined],
    ["", undefined]
  ]
  for (const [given, expected] of table) {
    it(`${JSON.stringify(given)} is ${String(expected)}`, () => {
      const range = StatusRange.parse(given)
      assert.strictEqual(range === undefined ? undefined : StatusRange.text(range), expected)
    })
  }
  it("are retried when they are known to pass, or said to", () => {
    const more = [{ least: 404, most: 404 }, { least: 500, most: 599 }]
    const retried = [403, 404, 405, 499, 500, 501, 503, 599, 600].filter((status) =>
      Retry.isTransientStatus(status, more)
    )
    assert.deepStrictEqual(retried, [404, 500, 501, 503, 599])
    assert.deepStrictEqual([404, 500, 501, 503].filter((status) => Retry.isTransientStatus(status)), [500, 503])
  })
})

describe("jitter", () => {
  it("stays in its bounds, at any chance, and under the cap", () => {
    for (let n = 1; n <= 40; n++) {
      const step = Math.min(30_000, 250 * 2 ** (n - 1))
      for (const chance of [0, 0.1, 0.5, 0.999]) {
        const full = Retry.fullJitterMillis(n, 250, 30_000, chance)
        const equal = Retry.equalJitterMillis(n, 250, 30_000, chance)
        assert.isTrue(full >= 0 && full <= step)
        assert.isTrue(equal >= step / 2 && equal <= step)
      }
    }
  })
})

describe("Redact", () => {
  const table: ReadonlyArray<readonly [string, string]> = [
    ["https://one.test/a?b=c", "https://one.test/a?b=c"],
    ["https://user:secret@one.test/a", "https://REDACTED@one.test/a"],
    ["https://one.test/@user", "https://one.test/@user"],
    ["https://one.test/a?token=abc&b=c", "https://one.test/a?token=REDACTED&b=c"],
    ["https://one.test/a?b=c&API_KEY=x#f", "https://one.test/a?b=c&API_KEY=REDACTED#f"],
    [
      "https://b.s3.test/o?X-Amz-Signature=1f&X-Amz-Date=2",
      "https://b.s3.test/o?X-Amz-Signature=REDACTED&X-Amz-Date=2"
    ],
    ["https://one.test/a?monkey=1", "https://one.test/a?monkey=1"]
  ]
  for (const [url, expected] of table) it(url, () => assert.strictEqual(Redact.url(url), expected))
})

describe("redirects", () => {
  const next = (
    request: FetchRequest,
    status: number,
    header: string | ReadonlyArray<string>
  ): Result.Result<FetchTarget, unknown> => {
    const from = Result.getOrThrow(parseTarget(request))
    const location = Redirect.location(header)
    if (Result.isFailure(location)) return Result.fail(location.failure)
    return location.success === undefined ? Result.fail("none") : Redirect.next(from, status, location.success)
  }
  const methods: ReadonlyArray<readonly [number, FetchRequest["method"], string]> = [
    [301, "POST", "GET"],
    [302, "POST", "GET"],
    [303, "POST", "GET"],
    [303, "PUT", "GET"],
    [303, "HEAD", "HEAD"],
    [301, "PUT", "PUT"],
    [307, "POST", "POST"],
    [308, "PUT", "PUT"]
  ]
  for (const [status, method, expected] of methods) {
    it(`${status} turns ${String(method)} into ${expected}`, () => {
      const request: FetchRequest = { url: "http://one.test/", ...(method === undefined ? {} : { method }) }
      assert.strictEqual(Result.getOrThrow(next(request, status, "/x")).request.method, expected)
    })
  }
  const locations: ReadonlyArray<readonly [string | ReadonlyArray<string>, string | undefined]> = [
    ["/x", "http://one.test/x"],
    ["x", "http://one.test/a/x"],
    ["?q", "http://one.test/a/b?q"],
    ["//two.test/x", "http://two.test/x"],
    ["https://two.test", "https://two.test/"],
    ["http://two.test/\r\nx", "http://two.test/x"],
    ["", undefined],
    ["  ", undefined],
    [[], undefined],
    [["", ""], undefined],
    ["  /x\t", "http://one.test/x"],
    ["/a b", "http://one.test/a%20b"],
    ["/a, b", "http://one.test/a,%20b"],
    ["/x#part", "http://one.test/x"],
    ["#part", "http://one.test/a/b"],
    [".", "http://one.test/a/"],
    ["../x", "http://one.test/x"],
    ["../../../x", "http://one.test/x"],
    ["./x/./y/../z", "http://one.test/a/x/z"],
    ["\\x", "http://one.test/x"],
    ["HTTP://TWO.test:80/X", "http://two.test/X"],
    ["http:x", "http://one.test/a/x"],
    ["/%7Ex%2f", "http://one.test/%7Ex%2f"],
    ["/caf\xc3\xa9", "http://one.test/caf%C3%A9"],
    ["/caf\xe9", "http://one.test/caf%E9"],
    ["/caf%C3%A9\xc3\xa9", "http://one.test/caf%C3%A9%C3%A9"],
    ["?q=\xe7\x8c\xab", "http://one.test/a/b?q=%E7%8C%AB"],
    ["http://b\xc3\xbccher.test/", "http://xn--bcher-kva.test/"],
    ["http://b\xfccher.test/", undefined],
    [["/x"], "http://one.test/x"],
    [["/x", "/x"], "http://one.test/x"],
    ["/x, /x", "http://one.test/x"],
    ["/x, /x, /x", "http://one.test/x"],
    [["/x", "/y"], undefined],
    ["file:///etc/passwd", undefined],
    ["data:text/plain,x", undefined],
    ["javascript:alert(1)", undefined],
    ["http://", undefined],
    ["http://[::1", undefined]
  ]
  for (const [location, expected] of locations) {
    it(`${JSON.stringify(location)} leads to ${String(expected)}`, () => {
      const found = next({ url: "http://one.test/a/b" }, 302, location)
      assert.strictEqual(Result.isSuccess(found) ? found.success.url : undefined, expected)
    })
  }
  it("any path of any script leads where its bytes say", () => {
    const chance = chanceOf(3)
    const letters = ["a", "Z", "~", "é", "ü", "猫", "ツ", "😀", "/", "-", " ", "%41"]
    for (let n = 0; n < 2000; n++) {
      const text = `/p${
        Array.from({ length: 8 }, () => letters[Math.floor(chance() * letters.length)] ?? "").join("")
      }x`
      // As it comes over the wire: UTF-8 read as Latin-1.
      const raw = Buffer.from(text, "utf8").toString("latin1")
      const expected = new URL(text, "http://one.test/").href
      assert.strictEqual(Result.getOrThrow(next({ url: "http://one.test/" }, 302, raw)).url, expected, text)
    }
  })

  it("307 to another origin takes the body and what describes it, and no credentials", () => {
    const headers = { Authorization: "x", Cookie: "y", "Content-Type": "text/csv", "X-Key": "z" }
    const found = Result.getOrThrow(
      next({ url: "http://one.test/", method: "POST", body: "b", headers }, 307, "http://two.test/")
    )
    assert.deepStrictEqual(found.request.headers, { "Content-Type": "text/csv" })
    assert.strictEqual(found.request.body, "b")
  })
})

describe("addresses", () => {
  const forbidden = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
    "nonsense"
  ]
  const allowed = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
  for (const address of forbidden) {
    it(`${address} is forbidden`, () => assert.isDefined(AddressPolicy.forbiddenRange(address)))
  }
  for (const address of allowed) {
    it(`${address} is allowed`, () => assert.isUndefined(AddressPolicy.forbiddenRange(address)))
  }

  it("decimal, octal and hexadecimal forms are dotted by the URL parser before they get here", () => {
    for (const host of ["2130706433", "0177.0.0.1", "0x7f.1", "127.1"]) {
      assert.strictEqual(Result.getOrThrow(parseTarget({ url: `http://${host}/` })).host, "127.0.0.1")
    }
  })
})

describe("what a run knows a request by", () => {
  const key = (request: Omit<FetchRequest, "url">, url = "http://one.test/a") =>
    keyOf(Result.getOrThrow(parseTarget({ url, ...request })))

  it("is the same however its headers are ordered and their names spelt, and whatever it is called", () => {
    const headers = { accept: "*/*", "x-a": "1" }
    const same = [
      { headers },
      { headers: { "X-A": "1", Accept: "*/*" } },
      { headers: { "X-a": "2", ...headers } },
      { headers, method: "GET" as const },
      { headers, label: { id: 1, line: 2 } }
    ]
    assert.lengthOf(new Set(same.map((request) => key(request))), 1)
    assert.strictEqual(key({ headers: {} }), key({}))
    assert.strictEqual(key({ label: { id: 1 } }, "http://ONE.test:80/a#b"), "http://one.test/a")
  })

  it("is another for each method, URL, header, value and body", () => {
    const post = { method: "POST" as const }
    const all = [
      {},
      { method: "HEAD" as const },
      { headers: { accept: "" } },
      { headers: { accept: "a" } },
      { headers: { accept: "A" } },
      { headers: { accept: "a", b: "" } },
      { headers: { "accept: a b": "" } },
      post,
      { ...post, body: "x" },
      { ...post, body: "accept: a\n\n" },
      { ...post, headers: { accept: "a" } },
      { ...post, headers: { accept: "a" }, body: "x" },
      { ...post, body: "accept: a\n\nx" }
    ]
    const keys = [...all.map((request) => key(request)), key({}, "http://one.test/a?"), key({}, "http://one.test/A")]
    assert.lengthOf(new Set(keys), keys.length)
  })
})

describe("headers that are stored nowhere", () => {
  const from = Result.getOrThrow(parseTarget({ url: "http://one.test/a", headers: { Accept: "own" } }))
  const lent: FetchTarget = { ...from, headers: { accept: "lent", "accept-language": "de", authorization: "secret" } }

  it("follow a redirect on the same origin, and to another only as far as all do", () => {
    const near = Result.getOrThrow(Redirect.next(lent, 302, "/b")).request.headers
    assert.deepStrictEqual(new Headers(near).get("authorization"), "secret")
    assert.include(new Headers(near).get("accept"), "own")
    const far = Result.getOrThrow(Redirect.next(lent, 302, "http://two.test/b"))
    assert.deepStrictEqual(Object.keys(far.request.headers ?? {}).toSorted(), ["Accept", "accept", "accept-language"])
    assert.isUndefined(far.headers)
  })
})
