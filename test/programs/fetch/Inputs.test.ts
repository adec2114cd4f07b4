import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Result, Stdio, Stream } from "effect"
import * as Inputs from "../../../src/programs/fetch/Inputs.ts"
import { lineLengthMax } from "../../../src/programs/fetch/Lines.ts"

const bytes = (text: string, chunk = 7) => {
  const all = new TextEncoder().encode(text)
  return Stream.fromIterable(
    Array.from({ length: Math.ceil(all.length / chunk) }, (_, n) => all.subarray(n * chunk, (n + 1) * chunk))
  ).pipe(Stream.rechunk(1))
}

/** What each line came to: the URL, or the message. */
const shown = (inputs: ReadonlyArray<Inputs.Input>) =>
  inputs.map((input) => Result.isSuccess(input) ? input.success.request : input.failure.message)

const read = (text: string, format: Inputs.Format = "detect", chunk = 7) =>
  Effect.map(Stream.runCollect(Inputs.decode("list", format)(bytes(text, chunk))), shown)

describe("Inputs", () => {
  it.effect("reads a URL a line, comments and blank lines aside", () =>
    Effect.gen(function*() {
      const text = "\uFEFFhttp://a.test/1\n\n# a comment\r\n  http://a.test/é \r\n\t\n  # another\nhttp://a.test/3"
      for (const chunk of [1, 2, 3, 1000]) {
        assert.deepStrictEqual(yield* read(text, "detect", chunk), [
          { url: "http://a.test/1" },
          { url: "http://a.test/é" },
          { url: "http://a.test/3" }
        ])
      }
    }))

  it.effect("names malformed lines by file and number, and goes on", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* read("http://a.test/\nnonsense\n\nftp://a.test/\n{\"url\": 1}\n{oops\nhttp://b.test/"),
        [
          { url: "http://a.test/" },
          "list:2: \"nonsense\": not an absolute URL; write it as https://host/path",
          "list:4: \"ftp://a.test/\": scheme \"ftp:\" is not fetched; only http: and https: are",
          "list:5: has no \"url\", or one that is no text; write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" if you like",
          "list:6: not JSON; write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" if you like",
          { url: "http://b.test/" }
        ]
      )
    }))

  it.effect("reads NDJSON, alone or among plain lines", () =>
    Effect.gen(function*() {
      const line = { url: "http://a.test/", method: "POST", headers: { accept: "*/*" }, body: "x" } as const
      const text = `${JSON.stringify(line)}\nhttp://b.test/\n{"url":"http://c.test/","more":1}\n`
      assert.deepStrictEqual(yield* read(text), [line, { url: "http://b.test/" }, { url: "http://c.test/" }])
      const [, plain] = yield* read(text, "ndjson")
      assert.include(plain, "list:2: not JSON")
    }))

  it.effect("reads CSV by its url column, quoted cells and other delimiters included", () =>
    Effect.gen(function*() {
      const text =
        "id,URL,note\r\n1,http://a.test/,x\r\n2,\"http://a.test/?q=\"\"a,b\"\"\",\"two\nlines\"\r\n3,,none\r\n" +
        "4,\"http://a.test/\"x,bad\r\n5,http://b.test/,\r\n"
      const expected = [
        { url: "http://a.test/" },
        { url: "http://a.test/?q=\"a,b\"" },
        "list:5: no URL in the \"url\" column",
        "list:6: column 2 has text after its closing quote",
        { url: "http://b.test/" }
      ]
      assert.deepStrictEqual(yield* read(text, "csv"), expected)
      assert.deepStrictEqual(yield* read(text), expected, "detected by its first line")
      assert.deepStrictEqual(yield* read("a;url\n1;http://a.test/\n", "csv"), [{ url: "http://a.test/" }])
      assert.deepStrictEqual(yield* read("url\nhttp://a.test/\n"), [{ url: "http://a.test/" }])
      const [head, row] = yield* read("id,address\n1,http://a.test/\n", "csv")
      assert.strictEqual(head, "list:1: the first row names no \"url\" column")
      assert.include(row, "list:2: ")
      assert.deepStrictEqual(yield* read("url\n\"http://a.test/\n", "csv"), [
        "list:2: quoted cell has no closing quote"
      ])
    }))

  it.effect("bounds the length of a line and goes on behind it", () =>
    Effect.gen(function*() {
      const text = `http://a.test/${"x".repeat(lineLengthMax)}\nhttp://b.test/\n`
      assert.deepStrictEqual(yield* read(text, "detect", 65_536), [
        `list:1: line is longer than ${lineLengthMax} bytes`,
        { url: "http://b.test/" }
      ])
    }))

  it.effect("gives requests the method of the command line where they name none", () =>
    Effect.gen(function*() {
      const inputs = yield* Stream.runCollect(
        Inputs.fromArguments(["http://a.test/", "{\"url\":\"http://b.test/\",\"method\":\"GET\"}", "x"], {
          method: "HEAD"
        })
      )
      assert.deepStrictEqual(shown(inputs), [
        { url: "http://a.test/", method: "HEAD" },
        { url: "http://b.test/", method: "GET" },
        "argument:3: \"x\": not an absolute URL; write it as https://host/path"
      ])
    }))

  it.effect("reads standard input and files; a missing one is a clear error", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(shown(yield* Stream.runCollect(Inputs.fromStdin())), [{ url: "http://a.test/" }])
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      yield* files.writeFileString(`${directory}/list.csv`, "url\nhttp://b.test/\n")
      const inputs = yield* Stream.runCollect(Inputs.fromFile(`${directory}/list.csv`))
      assert.deepStrictEqual(shown(inputs), [{ url: "http://b.test/" }])
      const missing = yield* Effect.flip(Stream.runDrain(Inputs.fromFile(`${directory}/none`)))
      assert.strictEqual(missing.message, `cannot read ${directory}/none: there is no such file`)
    }).pipe(
      Effect.provide(Layer.merge(NodeFileSystem.layer, Stdio.layerTest({ stdin: bytes("http://a.test/\n") })))
    ))
})
