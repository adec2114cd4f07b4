import { assert, describe, it } from "@effect/vitest"
import * as Headers from "effect/http/Headers"
import * as RequestHead from "../../../../src/layers/fetch/http1/RequestHead.ts"
import { RequestFault } from "../../../../src/layers/fetch/http1/WireFault.ts"

/** A head as a server would read it: its request line, and its fields. */
const read = (text: string) => {
  assert.isTrue(text.endsWith("\r\n\r\n"))
  const lines = text.slice(0, -4).split("\r\n")
  for (const line of lines) assert.notMatch(line, /[\r\n\0]/)
  return lines
}

const write = (method: string, path: string, headers: Record<string, string>, length: number | "unknown" = 0) =>
  RequestHead.write(
    { method, path, host: "host:1" },
    Headers.fromInput(headers),
    length === "unknown" ? undefined : length
  )

const problem = (head: RequestHead.RequestHead | RequestFault) =>
  head instanceof RequestFault ? head.problem : "written"

describe("RequestHead", () => {
  it("nothing that is put anywhere ends a line or begins another: every character, in every place", () => {
    for (let code = 0; code < 0x180; code++) {
      const odd = `a${String.fromCharCode(code)}b`
      const heads: ReadonlyArray<readonly [number, RequestHead.RequestHead | RequestFault]> = [
        [3, write(odd, "/", {})],
        [3, write("GET", `/${odd}`, {})],
        [4, write("GET", "/", { [odd]: "1" })],
        [4, write("GET", "/", { x: odd })],
        [3, write("GET", "/", { host: odd })]
      ]
      for (const [lines, head] of heads) {
        if (!(head instanceof RequestFault)) assert.lengthOf(read(head.text), lines, odd)
      }
    }
    for (const bad of ["\r", "\n", "\0", "\r\nx: y", "\u0100", "\u010d\u010a"]) {
      for (
        const head of [
          write(bad, "/", {}),
          write("GET", bad, {}),
          write("GET", "/", { x: bad }),
          write("GET", "/", { host: bad })
        ]
      ) {
        assert.instanceOf(head, RequestFault)
      }
    }
  })

  it("frames the body by what is known of it, whatever the headers say", () => {
    const text = (head: RequestHead.RequestHead | RequestFault) => head instanceof RequestFault ? "" : head.text
    assert.notInclude(text(write("GET", "/", {})), "content-length")
    assert.include(text(write("POST", "/", {})), "content-length: 0\r\n")
    assert.include(text(write("POST", "/", {}, "unknown")), "transfer-encoding: chunked\r\n")
    assert.include(text(write("POST", "/", { "content-length": "7" }, "unknown")), "content-length: 7\r\n")
    assert.strictEqual(text(write("POST", "/", { "content-length": "7" }, 7)).match(/content-length/g)?.length, 1)
  })

  it("says what cannot be sent", () => {
    assert.strictEqual(
      problem(write("GET", "/", { "content-length": "7" }, 5)),
      "content-length 7 contradicts a body of 5 bytes"
    )
    assert.strictEqual(
      problem(write("GET", "/", { "transfer-encoding": "gzip" })),
      "header transfer-encoding: the body's framing is the client's"
    )
    assert.strictEqual(problem(write("GET", "/", { upgrade: "x" })), "header upgrade: other protocols are not spoken")
    assert.strictEqual(
      problem(write("POST", "/", { expect: "x" }, 1)),
      "header expect: only \"100-continue\" can be expected"
    )
    assert.strictEqual(
      problem(write("GET", "/", { expect: "100-continue" })),
      "expect: 100-continue needs a body (RFC 9110 section 10.1.1)"
    )
    assert.strictEqual(problem(write("CONNECT", "/", {})), "method \"CONNECT\" cannot be sent")
    assert.strictEqual(problem(write("GET", "/", { constructor: "1", ["__proto__"]: "2" })), "written")
  })

  it("may be sent again: by method, or by the client's word", () => {
    const isRepeatable = (method: string, headers: Record<string, string> = {}) => {
      const head = write(method, "/", headers)
      return !(head instanceof RequestFault) && head.isRepeatable
    }
    assert.deepStrictEqual(
      ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].filter((method) => !isRepeatable(method)),
      []
    )
    assert.deepStrictEqual(["POST", "PATCH", "FANCY"].filter((method) => isRepeatable(method)), [])
    assert.isTrue(isRepeatable("POST", { "idempotency-key": "1" }))
  })
})
