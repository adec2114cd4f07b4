/**
 * Bad bodies, bad encodings, and bodies that are gone on with.
 */
import { assert, describe } from "@effect/vitest"
import { Duration } from "effect"
import { hash } from "node:crypto"
import * as zlib from "node:zlib"
import type * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { reply, type Row, run, type Visit } from "../../support/zoo/Zoo.ts"

const chunkedHead = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
const ok = (bytes: number) => (outcome: { readonly bytes: number }) => assert.strictEqual(outcome.bytes, bytes)
const row = (name: string, text: string | Uint8Array, expect: string, more?: Partial<Row>): Row => ({
  name,
  serve: ({ last }) => last(text),
  expect,
  ...more
})
const kept = (name: string, text: string | Uint8Array, expect: string, more?: Partial<Row>): Row => ({
  name,
  serve: ({ send }) => send(text),
  expect,
  ...more
})

describe("the zoo: bodies that end early", () => {
  run([
    row("three of a hundred bytes", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", "TruncatedBody", {
      check: (outcome) => assert.strictEqual(outcome.error?.["bytesReceived"], 3)
    }),
    row(
      "a big one cut in the middle",
      `HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n${"x".repeat(500_000)}`,
      "TruncatedBody"
    ),
    row("chunks without the last", `${chunkedHead}5\r\nhello\r\n`, "TruncatedBody"),
    row("a chunk cut in the middle", `${chunkedHead}ff\r\nhello`, "TruncatedBody"),
    row("cut in the size of a chunk", `${chunkedHead}5\r\nhello\r\n1`, "TruncatedBody"),
    row("cut before the last line break", `${chunkedHead}5\r\nhello\r\n0\r\n`, "TruncatedBody"),
    ...[0, 1, 1023, 1024, 65_535, 65_536, 65_537].map((bytes): Row => ({
      name: `reset after ${bytes} bytes`,
      serve: ({ send, socket }) => {
        send(`HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n${"x".repeat(bytes)}`)
        setTimeout(() => socket.resetAndDestroy(), 30)
      },
      expect: "TruncatedBody"
    }))
  ])
})

describe("the zoo: chunks that are none", () => {
  run([
    kept("a size that is no number", `${chunkedHead}xyz\r\nhello\r\n0\r\n\r\n`, "ProtocolError"),
    kept("a negative size", `${chunkedHead}-5\r\nhello\r\n0\r\n\r\n`, "ProtocolError"),
    kept("a size beyond 64 bits", `${chunkedHead}fffffffffffffffff\r\nhello`, "ProtocolError"),
    kept("more bytes than the size says", `${chunkedHead}2\r\nhello\r\n0\r\n\r\n`, "ProtocolError"),
    kept("a bare line feed after the size", `${chunkedHead}5\nhello\r\n0\r\n\r\n`, "ProtocolError"),
    kept("extensions are skipped", `${chunkedHead}5;a=b;c="d"\r\nhello\r\n0\r\n\r\n`, "ok", { check: ok(5) }),
    kept("trailers are skipped", `${chunkedHead}5\r\nhello\r\n0\r\nx-checksum: 1\r\n\r\n`, "ok", { check: ok(5) }),
    kept("a size with leading zeros", `${chunkedHead}00005\r\nhello\r\n0\r\n\r\n`, "ok", { check: ok(5) }),
    kept("capital hexadecimal", `${chunkedHead}A\r\nhellohello\r\n0\r\n\r\n`, "ok", { check: ok(10) }),
    kept("bytes one by one", `${chunkedHead}${"1\r\nx\r\n".repeat(5000)}0\r\n\r\n`, "ok", { check: ok(5000) }),
    {
      name: "an extension without end",
      serve: ({ drip, send }) => {
        send(`${chunkedHead}5;`)
        drip(1, () => "x".repeat(10_000))
      },
      expect: "ProtocolError",
      check: (outcome) => assert.strictEqual(outcome.error?.["code"], "BAD_CHUNK")
    }
  ])
})

describe("the zoo: bodies without an end", () => {
  const small: FetchPolicy.FetchPolicyInput = { maxBody: 100_000n as never }
  run([
    {
      name: "chunks for ever",
      serve: ({ drip, send }) => {
        send(chunkedHead)
        drip(1, () => `2710\r\n${"x".repeat(10_000)}\r\n`)
      },
      policy: small,
      expect: "BodyTooLarge"
    },
    kept("a length over the limit", `HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n`, "BodyTooLarge", {
      policy: small
    }),
    kept("a whole body over a smaller limit", reply("x".repeat(2000)), "BodyTooLarge", {
      policy: { maxBody: 1000n as never },
      keepsConnection: true
    }),
    {
      name: "nothing after the head",
      serve: ({ send }) => send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
      expect: "IdleTimeout"
    },
    {
      name: "standing still at ninety-nine per cent",
      serve: ({ send }) => send(`HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n${"x".repeat(99_000)}`),
      expect: "IdleTimeout",
      check: (outcome) => assert.strictEqual(outcome.error?.["bytesReceived"], 99_000)
    },
    {
      name: "a byte now and then, for ever",
      serve: ({ drip, send }) => {
        send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        drip(50, () => "x")
      },
      expect: "AttemptTimeout"
    },
    {
      name: "slower than the minimum speed",
      serve: ({ drip, send }) => {
        send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        drip(50, () => "x".repeat(10))
      },
      policy: { minSpeed: { bytesPerSecond: 1000, over: Duration.millis(300) } },
      expect: "TooSlow"
    },
    {
      name: "faster than the minimum speed",
      serve: ({ drip, send }) => {
        send(`HTTP/1.1 200 OK\r\ncontent-length: ${12 * 200}\r\n\r\n`)
        drip(50, (n) => n < 12 ? "x".repeat(200) : "")
      },
      policy: { minSpeed: { bytesPerSecond: 1000, over: Duration.millis(200) } },
      expect: "ok"
    },
    kept(
      "bytes after the length are not the body's",
      `${reply("ok")}HTTP/1.1 500 Forged\r\ncontent-length: 4\r\n\r\nevil`,
      "ok",
      { check: ok(2) }
    ),
    row("304 with a body", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil", "StatusError", {
      keepsConnection: true
    }),
    row("204 with a body", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil", "ok", { check: ok(0) }),
    row("HEAD answered with a body", reply("evil"), "ok", { request: { method: "HEAD" }, check: ok(0) }),
    kept("an error whose body never comes", "HTTP/1.1 500 Sorry\r\ncontent-length: 100\r\n\r\n", "StatusError", {
      waitsForNothing: true
    })
  ])
})

describe("the zoo: encodings", () => {
  const text = Buffer.from("The quick brown fox. ".repeat(10_000))
  const gzip = zlib.gzipSync(text)
  const coded = (coding: string, body: Uint8Array): Buffer =>
    Buffer.concat([
      Buffer.from(`HTTP/1.1 200 OK\r\ncontent-encoding: ${coding}\r\ncontent-length: ${body.length}\r\n\r\n`),
      body
    ])
  const big = (encode: (body: Uint8Array) => Uint8Array) => {
    const random = Buffer.alloc(300_000)
    let seed = 1
    for (let n = 0; n < random.length; n++) random[n] = (seed = seed * 48_271 % 2_147_483_647) & 0xff
    return encode(random)
  }
  const bad = { keepsConnection: true }
  run([
    kept("gzip", coded("gzip", gzip), "ok", { check: ok(text.length) }),
    kept("x-gzip, in capitals", coded("X-GZIP", gzip), "ok", { check: ok(text.length) }),
    kept("br", coded("br", zlib.brotliCompressSync(text)), "ok", { check: ok(text.length) }),
    kept("zstd", coded("zstd", zlib.zstdCompressSync(text)), "ok", { check: ok(text.length) }),
    kept("deflate with a header", coded("deflate", zlib.deflateSync(text)), "ok", { check: ok(text.length) }),
    kept("deflate without", coded("deflate", zlib.deflateRawSync(text)), "ok", { check: ok(text.length) }),
    kept("big deflate without a header", coded("deflate", big(zlib.deflateRawSync)), "ok", { check: ok(300_000) }),
    kept("a big gzip, in a stream", coded("gzip", big(zlib.gzipSync)), "ok", { check: ok(300_000) }),
    kept("two members of gzip", coded("gzip", Buffer.concat([gzip, gzip])), "ok", { check: ok(2 * text.length) }),
    kept("gzip in br", coded("gzip, br", zlib.brotliCompressSync(gzip)), "ok", { check: ok(text.length) }),
    kept("gzip of nothing", coded("gzip", zlib.gzipSync("")), "ok", { check: ok(0) }),
    kept("identity", coded("identity", text), "ok", { check: ok(text.length) }),
    kept("gzip cut short, with the right length", coded("gzip", gzip.subarray(0, -20)), "TruncatedBody", bad),
    kept("big gzip cut short", coded("gzip", big(zlib.gzipSync).subarray(0, -20)), "TruncatedBody", bad),
    kept("br cut short", coded("br", zlib.brotliCompressSync(text).subarray(0, -2)), "TruncatedBody", bad),
    kept("big zstd cut short", coded("zstd", big(zlib.zstdCompressSync).subarray(0, -20)), "TruncatedBody", bad),
    kept("an empty body that says gzip", coded("gzip", Buffer.alloc(0)), "ok", bad),
    kept("plain text that says gzip", coded("gzip", Buffer.from("hello")), "ContentEncodingError", bad),
    kept(
      "gzip with a wrong checksum",
      coded("gzip", Buffer.concat([gzip.subarray(0, -8), Buffer.alloc(8)])),
      "ContentEncodingError",
      bad
    ),
    kept(
      "gzip with junk after it",
      coded("gzip", Buffer.concat([gzip, Buffer.from("junk")])),
      "ContentEncodingError",
      bad
    ),
    kept("a coding that nobody knows", coded("snappy", text), "ContentEncodingError", { waitsForNothing: true }),
    kept("a chain of six", coded("gzip, gzip, gzip, gzip, gzip, gzip", gzip), "ContentEncodingError", bad),
    ...(["br", "deflate", "gzip", "zstd"] as const).map((coding) => {
      const encode = {
        br: zlib.brotliCompressSync,
        deflate: zlib.deflateSync,
        gzip: zlib.gzipSync,
        zstd: zlib.zstdCompressSync
      }
      const body = Buffer.concat([big(encode[coding]), Buffer.from("not that!")])
      return kept(`a big ${coding} and bytes behind it`, coded(coding, body), "ContentEncodingError", bad)
    }),
    kept("a gzip bomb", coded("gzip", zlib.gzipSync(Buffer.alloc(30_000_000))), "ContentEncodingError", bad),
    kept(
      "a br bomb",
      coded(
        "br",
        zlib.brotliCompressSync(Buffer.alloc(30_000_000), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } })
      ),
      "ContentEncodingError",
      bad
    ),
    kept("a zstd bomb", coded("zstd", zlib.zstdCompressSync(Buffer.alloc(30_000_000))), "ContentEncodingError", bad),
    kept(
      "a bomb in a bomb",
      coded("gzip, gzip", zlib.gzipSync(zlib.gzipSync(Buffer.alloc(30_000_000)))),
      "ContentEncodingError",
      bad
    ),
    kept("decoded to more than the limit", coded("gzip", gzip), "BodyTooLarge", {
      policy: { maxBody: 1000n as never },
      ...bad
    })
  ])
})

describe("the zoo: a body that takes longer to decode than the server may stand still", () => {
  const slow = zlib.gzipSync(Buffer.alloc(30_000_000))
  run([
    kept(
      "is not the server's fault",
      Buffer.concat([
        Buffer.from(`HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${slow.length}\r\n\r\n`),
        slow
      ]),
      "ok",
      {
        policy: {
          timeouts: { idle: Duration.millis(30), attempt: Duration.seconds(20), total: Duration.seconds(20) },
          maxDecodeRatio: 2000
        },
        check: ok(30_000_000)
      }
    )
  ])
})

describe("the zoo: resuming", () => {
  const size = 300_000
  const body = "0123456789".repeat(size / 10)
  const half = 150_000
  const etag = "etag: \"v1\"\r\n"
  const rangeOf = (head: string) => /range: bytes=(\d+)-/i.exec(head)?.[1]
  /** The first half, then the connection breaks. */
  const first = ({ last }: Visit, headers = etag) =>
    last(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n${headers}\r\n${body.slice(0, half)}`)
  const partial = (from: number, to: number, text: string, headers = etag, total: number | string = size) =>
    `HTTP/1.1 206 Partial Content\r\ncontent-range: bytes ${from}-${to}/${total}\r\ncontent-length: ${text.length}\r\n${headers}\r\n${text}`
  const whole = "HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n"
  const rest = body.slice(half)
  const twice: FetchPolicy.FetchPolicyInput = { retry: { times: 2, base: Duration.millis(5) } }
  const lie = (name: string, answer: (visit: Visit) => void, more?: Partial<Row>): Row => ({
    name,
    serve: (visit) => {
      if (visit.n === 0) first(visit)
      else if (rangeOf(visit.head) === undefined) visit.send(`${whole}${etag}\r\n${body}`)
      else answer(visit)
    },
    policy: twice,
    expect: "ok",
    check: (outcome) => assert.strictEqual(outcome.sha256, hash("sha256", body, "hex")),
    requests: 3,
    ...more
  })
  run([
    {
      name: "the rest, as asked for: two requests, one body",
      serve: (visit) => {
        if (visit.n === 0) return first(visit)
        assert.include(visit.head, `bytes=${half}-`)
        assert.match(visit.head, /if-range: "v1"/i)
        visit.send(partial(half, size - 1, rest))
      },
      policy: twice,
      requests: 2,
      expect: "ok",
      check: (outcome) => assert.strictEqual(outcome.sha256, hash("sha256", body, "hex"))
    },
    {
      name: "200 to the range: the whole from the start",
      serve: (visit) => visit.n === 0 ? first(visit) : visit.send(`${whole}etag: "v2"\r\n\r\n${body}`),
      policy: twice,
      requests: 2,
      expect: "ok",
      check: ok(size)
    },
    {
      name: "a weak validator: no range is asked for",
      serve: (visit) => {
        if (visit.n === 0) return first(visit, "etag: W/\"v1\"\r\n")
        assert.isUndefined(rangeOf(visit.head))
        visit.send(`${whole}\r\n${body}`)
      },
      policy: twice,
      requests: 2,
      expect: "ok",
      check: ok(size)
    },
    {
      name: "no validator: no range is asked for",
      serve: (visit) => {
        if (visit.n === 0) return first(visit, "")
        assert.isUndefined(rangeOf(visit.head))
        visit.send(`${whole}\r\n${body}`)
      },
      policy: twice,
      requests: 2,
      expect: "ok",
      check: ok(size)
    },
    lie("206 that starts earlier", ({ send }) => send(partial(half - 10, size - 1, body.slice(half - 10)))),
    lie("206 that starts later", ({ send }) => send(partial(half + 10, size - 1, body.slice(half + 10)))),
    lie("206 that ends early, and says so", ({ send }) => send(partial(half, size - 11, rest.slice(0, -10)))),
    lie("206 of another version", ({ send }) => send(partial(half, size - 1, rest, "etag: \"v2\"\r\n"))),
    lie("206 without a validator", ({ send }) => send(partial(half, size - 1, rest, ""))),
    lie("206 of another size", ({ send }) => send(partial(half, size + 9, `${rest}0123456789`, etag, size + 10))),
    lie(
      "206 without a range",
      ({ send }) => send(`HTTP/1.1 206 Partial Content\r\ncontent-length: ${half}\r\n${etag}\r\n${rest}`)
    ),
    lie("206 of an unknown size", ({ send }) => send(partial(half, size - 1, rest, etag, "*"))),
    lie("206 whose length contradicts its range", ({ send }) => send(partial(half, size - 1, rest.slice(0, -10)))),
    lie(
      "206 in several parts",
      ({ send }) =>
        send(
          `HTTP/1.1 206 Partial Content\r\ncontent-type: multipart/byteranges; boundary=x\r\ncontent-length: 4\r\n${etag}\r\n--x-`
        )
    ),
    lie(
      "416",
      ({ send }) =>
        send(`HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */${size}\r\ncontent-length: 0\r\n\r\n`)
    ),
    {
      name: "206 that nobody asked for",
      serve: ({ send }) => send(partial(0, 4, "01234")),
      expect: "ProtocolError",
      check: (outcome) => assert.strictEqual(outcome.error?.["code"], "UNSOLICITED_PARTIAL"),
      keepsConnection: true
    },
    {
      name: "206 that the user asked for",
      serve: ({ send }) => send(partial(0, 4, "01234")),
      request: { headers: { Range: "bytes=0-4" } },
      expect: "ok",
      check: ok(5)
    }
  ])
})
