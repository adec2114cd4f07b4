/**
 * Lists as they come: other encodings, control characters, broken JSON. Either the URL that is written there is what will be fetched, or
 * the line is named, with its number and the reason; never is it another URL.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
import * as Inputs from "../../../src/programs/fetch/Inputs.ts"

/** What each line came to: method, URL as sent (origin and path) and body; or the message. */
const read = (bytes: Uint8Array, format: Inputs.Format = "detect", chunk = 5) =>
  Stream.fromIterable(
    Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, n) => bytes.subarray(n * chunk, (n + 1) * chunk))
  ).pipe(
    Stream.rechunk(1),
    Inputs.decode("list", format),
    Stream.runCollect,
    Effect.map((inputs) =>
      inputs.map((input) =>
        Result.match(input, {
          onFailure: ({ message }) => message,
          onSuccess: ({ origin, path, request }) =>
            `${request.method ?? "GET"} ${origin}${path}${request.body === undefined ? "" : ` ${request.body}`}`
        })
      )
    )
  )

const utf8 = (text: string) => new TextEncoder().encode(text)
const latin1 = (text: string) => Buffer.from(text, "latin1")
const utf16 = (text: string) => Buffer.from(text, "utf16le")
const utf16be = (text: string) => utf16(text).swap16()

const iconv = (from: string) => `only UTF-8 is read; \`iconv -f ${from} -t UTF-8\` makes it of that`

const table: ReadonlyArray<readonly [name: string, bytes: Uint8Array, expected: ReadonlyArray<string | RegExp>]> = [
  ["UTF-8", utf8("http://h.test/é\n"), ["GET http://h.test/%C3%A9"]],
  ["a byte order mark", utf8("\uFEFFhttp://h.test/1\n\uFEFFhttp://h.test/2\n"), [
    "GET http://h.test/1",
    /^list:2: .*not an absolute URL/
  ]],
  ["CRLF", utf8("http://h.test/1\r\nhttp://h.test/2\r\n"), ["GET http://h.test/1", "GET http://h.test/2"]],
  ["CR alone", utf8("http://h.test/1\rhttp://h.test/2"), [/^list:1: .*has a line break in it/]],
  ["a tab inside", utf8("http://h.test/4\t5\n"), [/^list:1: .*has a tab in it; a URL has none: write it as %09/]],
  ["a tab around", utf8("\thttp://h.test/1\t\n"), ["GET http://h.test/1"]],
  ["NUL", utf8("http://h.test/\0\n"), [/^list:1: .*has a NUL character in it/]],
  ["an escape character", utf8("http://h.test/\u001b[0m\n"), [/^list:1: .*has a control character \(U\+001B\) in it/]],
  ["a no-break space at the end", utf8("http://h.test/1\u00a0\n"), ["GET http://h.test/1%C2%A0"]],
  ["an empty query", utf8("http://h.test/x?\nhttp://h.test/x\n"), ["GET http://h.test/x?", "GET http://h.test/x"]],
  ["an empty fragment", utf8("http://h.test/x#\nhttp://h.test/x?#\n"), ["GET http://h.test/x", "GET http://h.test/x?"]],
  ["user information", utf8("http://u:p@h.test/a?\n"), ["GET http://h.test/a?"]],
  ["a replacement character", utf8("http://h.test/\uFFFD\n"), [/^list:1: .*has U\+FFFD in it/]],
  ["Latin-1", latin1("http://h.test/caf\xe9\nhttp://h.test/1\n"), [
    `list:1: is not UTF-8: ${iconv("ISO-8859-1")}`,
    "GET http://h.test/1"
  ]],
  ["UTF-16", Buffer.concat([Buffer.of(0xff, 0xfe), utf16("http://h.test/1\nhttp://h.test/2\n")]), [
    `list:1: is UTF-16: ${iconv("UTF-16")}`,
    /^list:2: .*NUL character/,
    /^list:3: .*NUL character/
  ]],
  ["UTF-16, big end first", Buffer.concat([Buffer.of(0xfe, 0xff), utf16be("http://h.test/1\n")]), [
    `list:1: is UTF-16: ${iconv("UTF-16")}`
  ]],
  ["UTF-16 without a mark", utf16("http://h.test/1\n"), [/^list:1: .*NUL character/, /^list:2: .*NUL character/]],
  ["a cut UTF-8 character", Buffer.concat([utf8("http://h.test/"), Buffer.of(0xe2, 0x82)]), [/^list:1: is not UTF-8/]],
  ["an overlong character", Buffer.concat([utf8("http://h.test/"), Buffer.of(0xc0, 0xaf, 0x0a)]), [
    /^list:1: is not UTF-8/
  ]],
  ["a method in small letters", utf8("{\"url\":\"http://h.test/\",\"method\":\"post\",\"body\":\"x\"}"), [
    "POST http://h.test/ x"
  ]],
  ["no method", utf8("{\"url\":\"http://h.test/\",\"method\":\"FETCH\"}"), [
    /^list:1: method "FETCH" is none of GET, HEAD/
  ]],
  ["a method that is no text", utf8("{\"url\":\"http://h.test/\",\"method\":1}"), [/^list:1: method 1 is none of GET/]],
  ["no text for a body", utf8("{\"url\":\"http://h.test/\",\"method\":\"POST\",\"body\":{}}"), [
    /^list:1: "body" is no text; for JSON name it "json"/
  ]],
  ["no headers", utf8("{\"url\":\"http://h.test/\",\"headers\":[1]}"), [/^list:1: "headers" is not an object/]],
  ["no URL", utf8("{\"method\":\"GET\"}"), [/^list:1: has no "url"/]],
  ["cut JSON", utf8("{\"url\":\"http://h.test/\"\n{\"url\":\"http://h.test/2\"}"), [
    /^list:1: not JSON/,
    "GET http://h.test/2"
  ]],
  ["half a character in a URL", utf8("{\"url\":\"http://h.test/\\ud800\"}"), [/^list:1: .*half a character/]],
  ["half a character in a body", utf8("{\"url\":\"http://h.test/\",\"method\":\"POST\",\"body\":\"\\ud800\"}"), [
    /^list:1: .*its body has half a character/
  ]],
  ["a NUL by its escape", utf8("{\"url\":\"http://h.test/\\u0000\"}"), [/^list:1: .*NUL character/]],
  ["a cell with a line break", utf8("url\n\"http://h.test/\n1\"\nhttp://h.test/2\n"), [
    /^list:2: .*line break/,
    "GET http://h.test/2"
  ]],
  ["a cell with spaces around", utf8("url,x\n http://h.test/1 ,y\n"), ["GET http://h.test/1"]],
  ["a long URL", utf8(`http://h.test/${"x".repeat(9000)}\nhttp://h.test/1\n`), [
    /^list:1: .*longer than 8192/,
    "GET http://h.test/1"
  ]]
]

describe("lists as they come", () => {
  for (const [name, bytes, expected] of table) {
    it.effect(name, () =>
      Effect.gen(function*() {
        for (const chunk of [1, 3, 1000]) {
          const lines = yield* read(bytes, "detect", chunk)
          assert.strictEqual(lines.length, expected.length, JSON.stringify(lines))
          lines.forEach((line, index) => {
            const wanted = expected[index]
            if (wanted instanceof RegExp) assert.match(line, wanted)
            else assert.strictEqual(line, wanted)
          })
        }
      }))
  }

  it.effect("every byte, anywhere in a URL: it is sent as that byte, or the line is named", () =>
    Effect.gen(function*() {
      for (let byte = 0; byte < 256; byte++) {
        if (byte === 0x0a) continue
        const [line = ""] = yield* read(
          Buffer.concat([utf8("http://h.test/a"), Buffer.of(byte), utf8("b\n")]),
          "detect",
          1000
        )
        if (line.startsWith("list:1: ")) continue
        const shown = String.fromCharCode(byte)
        // The fragment is not sent, and a backslash is a slash to every browser.
        const wanted = shown === "#" ? ["a"] : [`a${shown === "\\" ? "/" : shown}b`, `a${encodeURIComponent(shown)}b`]
        assert.include(wanted, line.slice("GET http://h.test/".length), `byte ${byte}`)
      }
    }))
})
