import { assert, describe, it } from "@effect/vitest"
import { ResponseParser } from "../../../../src/layers/fetch/http1/ResponseParser.ts"
import * as Chance from "../../../support/zoo/Chance.ts"
import * as Reply from "../../../support/zoo/Reply.ts"

/** What a parser makes of these pieces. */
const read = (method: string, pieces: ReadonlyArray<Buffer>) => {
  const told: Array<unknown> = []
  const body: Array<Buffer> = []
  const parser = new ResponseParser(method, 65_536, {
    onInterim: (status) => told.push(status),
    onHead: ({ fields, status }, length) => told.push(status, length, fields),
    onBody: (piece) => body.push(piece)
  })
  let fault: string | undefined
  for (const piece of pieces) fault ??= parser.take(piece)?.code
  const { isDone, isReusable } = parser
  return { told, body: Buffer.concat(body).toString("latin1"), fault, isDone, isReusable: isDone && isReusable }
}

const bytes = (text: string) => Buffer.from(text, "latin1")

describe("ResponseParser", () => {
  it("reads the same however it is cut", () => {
    for (let seed = 1; seed <= 400; seed++) {
      const chance = Chance.make(seed)
      const reply = Reply.make(chance, false)
      const all = Buffer.concat(reply.pieces)
      if (all.length > 20_000) continue
      const once = read(reply.method, [all])
      const { fault } = once
      for (const pieces of [reply.pieces, Array.from(all, (byte) => Buffer.from([byte]))]) {
        const cut = read(reply.method, pieces)
        // What comes before the fault may have been handed on already.
        assert.deepStrictEqual(
          fault === undefined ? cut : cut.fault,
          fault === undefined ? once : fault,
          `seed ${seed}`
        )
      }
    }
  })

  const head = "HTTP/1.1 200 OK\r\n"
  const row = (name: string, text: string, code: string) =>
    it(name, () => assert.strictEqual(read("GET", [bytes(text)]).fault, code))
  row("one code for each fault: status line", "HTTP/1.1 20x\r\n\r\n", "BAD_STATUS_LINE")
  row("not HTTP", "SSH-2.0", "BAD_STATUS_LINE")
  row("header", `${head}nonsense\r\n\r\n`, "BAD_HEADER")
  row("fold of nothing", `${head} x: y\r\n\r\n`, "BAD_HEADER")
  row("many headers", `${head}${"a:\n".repeat(1001)}\r\n`, "TOO_MANY_HEADERS")
  row("long head", `${head}a: ${"b".repeat(65_536)}`, "HEAD_TOO_LARGE")
  row("length", `${head}content-length: 1a\r\n\r\n`, "BAD_CONTENT_LENGTH")
  row("coding", `${head}transfer-encoding: br\r\n\r\n`, "BAD_TRANSFER_ENCODING")
  const chunked = `${head}transfer-encoding: chunked\r\n\r\n`
  row("extension without end", `${chunked}5;${"x".repeat(5000)}`, "BAD_CHUNK")
  row("extensions longer than the body", `${chunked}${`1;${"x".repeat(4000)}\r\nx\r\n`.repeat(18)}`, "BAD_CHUNK")
  row("trailer without end", `${chunked}0\r\n${"a: b\r\n".repeat(3000)}`, "BAD_CHUNK")
  row("trailer that is none", `${chunked}0\r\nnonsense\r\n\r\n`, "BAD_CHUNK")

  it("keeps a connection only where the server does, and nothing came that was not asked for", () => {
    const isKept = (text: string, method = "GET") => read(method, [bytes(text)]).isReusable
    const length = "content-length: 0\r\n"
    assert.isTrue(isKept(`${head}${length}\r\n`))
    assert.isTrue(isKept(`${head}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`))
    assert.isTrue(isKept(`HTTP/1.0 200 OK\r\n${length}connection: x, Keep-Alive\r\n\r\n`))
    assert.isTrue(isKept(`${head}content-length: 5\r\n\r\n`, "HEAD"))
    assert.isFalse(isKept(`HTTP/1.0 200 OK\r\n${length}\r\n`))
    assert.isFalse(isKept(`${head}${length}connection: keep-alive\r\nconnection: Close\r\n\r\n`))
    assert.isFalse(isKept(`${head}${length}\r\nx`))
    assert.isFalse(isKept(`${head}content-length: 5\r\n\r\nhello`, "HEAD"))
    assert.isFalse(isKept(`${head}content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`))
    assert.isFalse(isKept(`HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`))
  })

  it("hostile names are names", () => {
    const { told } = read("GET", [
      bytes(`${head}__proto__: a\r\nconstructor: b\r\nconstructor: c\r\n folded\r\ncontent-length: 0\r\n\r\n`)
    ])
    assert.deepStrictEqual(Object.entries(told[2] ?? {}), [["__proto__", "a"], ["constructor", ["b", "c folded"]], [
      "content-length",
      "0"
    ]])
  })
})
