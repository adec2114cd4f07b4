/**
 * Bad connections and bad response heads.
 */
import { assert, describe } from "@effect/vitest"
import { Duration } from "effect"
import { reply, type Row, run } from "../../support/zoo/Zoo.ts"

const ok = (bytes: number) => (outcome: { readonly bytes: number }) => assert.strictEqual(outcome.bytes, bytes)

const raw = (name: string, text: string, expect: string, more?: Partial<Row>): Row => ({
  name,
  serve: ({ last }) => last(text),
  expect,
  ...more
})

/** Replies that the connection stays open after. */
const kept = (name: string, text: string, expect: string, more?: Partial<Row>): Row => ({
  name,
  serve: ({ send }) => send(text),
  expect,
  ...more
})

describe("the zoo: connections", () => {
  run([
    { name: "closes at once", accept: (socket) => socket.end(), serve: () => {}, expect: "ProtocolError" },
    {
      name: "resets without reading",
      accept: (socket) => void setTimeout(() => socket.resetAndDestroy(), 20),
      serve: () => {},
      expect: "ProtocolError",
      check: (outcome) => assert.strictEqual(outcome.error?.["code"], "ECONNRESET")
    },
    { name: "closes after the request", serve: ({ socket }) => socket.end(), expect: "ProtocolError" },
    { name: "resets after the request", serve: ({ socket }) => socket.resetAndDestroy(), expect: "ProtocolError" },
    { name: "takes the request and is silent", serve: () => {}, expect: "HeadersTimeout" },
    {
      name: "is silent for longer than the whole may take",
      serve: () => {},
      policy: { timeouts: { total: Duration.millis(150) } },
      expect: "TotalTimeout"
    },
    {
      name: "speaks TLS to a plain request",
      serve: ({ last }) => last("\x15\x03\x01\x00\x02\x02\x28"),
      expect: "ProtocolError"
    },
    {
      name: "speaks SSH",
      accept: (socket) => socket.write("SSH-2.0-OpenSSH_9.9\r\n"),
      serve: () => {},
      expect: "ProtocolError"
    },
    {
      name: "answers before it was asked, then the request",
      accept: (socket) => socket.write(reply("early")),
      serve: () => {},
      expect: "ok",
      check: ok(5)
    },
    {
      name: "closes the kept connection under the second try, which gets a new one",
      serve: ({ n, send, socket }) => n === 0 ? socket.end() : send(reply("ok")),
      policy: { retry: { times: 1 } },
      requests: 2,
      expect: "ok"
    }
  ])
})

describe("the zoo: heads that are none", () => {
  run([
    raw("HTTP/0.9: a body without a head", "hello\n", "ProtocolError"),
    raw("an empty line and nothing else", "\r\n\r\n", "ProtocolError"),
    raw("a bad version", "HTTP/7.3 200 OK\r\ncontent-length: 0\r\n\r\n", "ProtocolError"),
    raw("no version", "200 OK\r\n\r\n", "ProtocolError"),
    raw("another protocol's name", "ICY 200 OK\r\n\r\n", "ProtocolError"),
    raw("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "ProtocolError"),
    raw("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "ProtocolError"),
    raw("a negative status", "HTTP/1.1 -200 OK\r\n\r\n", "ProtocolError"),
    raw("status zero", "HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n", "ProtocolError"),
    raw("a header without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "ProtocolError"),
    raw("a header without a name", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "ProtocolError"),
    raw("a space before the colon", "HTTP/1.1 200 OK\r\nx : y\r\n\r\n", "ProtocolError"),
    raw("NUL in a value", "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", "ProtocolError"),
    raw("a bare CR in a value", "HTTP/1.1 200 OK\r\nx: a\rb: c\r\n\r\n", "ProtocolError"),
    raw(
      "bytes that are no text",
      Buffer.from(Array.from({ length: 256 }, (_, n) => n)).toString("latin1"),
      "ProtocolError"
    ),
    raw("a head that ends in the middle", "HTTP/1.1 200 OK\r\ncontent-le", "ProtocolError")
  ])
})

describe("the zoo: heads that are odd, and fine", () => {
  run([
    kept("no reason phrase", "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", "ok", { check: ok(2) }),
    kept("an odd reason phrase", "HTTP/1.1 200 \xe9\xff nothing to see\r\ncontent-length: 2\r\n\r\nok", "ok", {
      check: ok(2)
    }),
    raw("HTTP/1.0, ended by the connection", "HTTP/1.0 200 OK\r\n\r\nhello", "ok", { check: ok(5) }),
    kept("no body at all: 204", "HTTP/1.1 204 No Content\r\n\r\n", "ok", { check: ok(0) }),
    kept("a length of nothing", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "ok", { check: ok(0) }),
    kept("HEAD with a length and no body", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", "ok", {
      request: { method: "HEAD" },
      check: ok(0)
    }),
    kept("a hundred headers", reply("ok", Array.from({ length: 100 }, (_, n) => `x-${n}: y\r\n`).join("")), "ok", {
      check: ok(2)
    }),
    kept("the same header twice", reply("ok", "x: 1\r\nx: 2\r\nset-cookie: a\r\nset-cookie: b\r\n"), "ok", {
      check: ok(2)
    }),
    kept("103 before the response", `HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n${reply("ok")}`, "ok", {
      check: ok(2)
    }),
    kept("102 three times before the response", `${"HTTP/1.1 102 Processing\r\n\r\n".repeat(3)}${reply("ok")}`, "ok", {
      check: ok(2)
    })
  ])
})

describe("the zoo: heads without an end or a measure", () => {
  run([
    {
      name: "a head that drips for ever",
      serve: ({ drip, send }) => {
        send("HTTP/1.1 200 OK\r\nx: ")
        drip(50, () => "y")
      },
      expect: "HeadersTimeout"
    },
    {
      name: "headers without end",
      serve: ({ drip, send }) => {
        send("HTTP/1.1 200 OK\r\n")
        drip(1, (n) => `x-${n}: ${"y".repeat(8000)}\r\n`)
      },
      expect: "ProtocolError",
      check: (outcome) => assert.strictEqual(outcome.error?.["code"], "HEAD_TOO_LARGE")
    },
    kept("one header of a megabyte", `HTTP/1.1 200 OK\r\nx: ${"y".repeat(1_000_000)}\r\n\r\n`, "ProtocolError"),
    kept("ten thousand small headers", `HTTP/1.1 200 OK\r\n${"x: yyyyyyyy\r\n".repeat(10_000)}\r\n`, "ProtocolError"),
    {
      name: "early hints for ever",
      serve: ({ drip }) => drip(5, () => "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
      expect: "ProtocolError",
      check: (outcome) => assert.strictEqual(outcome.error?.["code"], "TOO_MANY_INTERIM_RESPONSES")
    },
    kept(
      "101 that nobody asked for",
      "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
      "ProtocolError"
    ),
    {
      name: "100 without end",
      serve: ({ send }) => send("HTTP/1.1 100 Continue\r\n\r\n".repeat(17)),
      expect: "ProtocolError",
      check: (outcome) => assert.strictEqual(outcome.error?.["code"], "TOO_MANY_INTERIM_RESPONSES")
    },
    kept("100 and nothing after it", "HTTP/1.1 100 Continue\r\n\r\n", "HeadersTimeout")
  ])
})

describe("the zoo: lengths that contradict", () => {
  run([
    kept("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!", "ProtocolError"),
    kept(
      "length and chunks: the chunks count",
      "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      "ok",
      { check: ok(2) }
    ),
    kept("a negative length", "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", "ProtocolError"),
    kept("a length beyond 64 bits", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n", "ProtocolError"),
    kept("a length that is no number", "HTTP/1.1 200 OK\r\ncontent-length: 2x\r\n\r\nok", "ProtocolError"),
    kept("a hexadecimal length", "HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok", "ProtocolError"),
    raw(
      "chunked twice",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      "ProtocolError"
    )
  ])
})
