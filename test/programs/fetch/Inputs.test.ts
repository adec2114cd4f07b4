import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Result, Stdio, Stream } from "effect"
import { gzipSync } from "node:zlib"
import * as Inputs from "../../../src/programs/fetch/Inputs.ts"
import { lineLengthMax } from "../../../src/programs/fetch/Lines.ts"
import type { FetchRequest } from "../../../src/services/fetch/FetchRequest.ts"

const bytes = (text: string, chunk = 7) => {
  const all = new TextEncoder().encode(text)
  return Stream.fromIterable(
    Array.from({ length: Math.ceil(all.length / chunk) }, (_, n) => all.subarray(n * chunk, (n + 1) * chunk))
  ).pipe(Stream.rechunk(1))
}

const unlabelled = ({ label, ...request }: FetchRequest): FetchRequest => {
  assert.isDefined(label)
  return request
}

/** What each line came to: the request, or the message. */
const shown = (inputs: ReadonlyArray<Inputs.Input>) =>
  inputs.map((input) => Result.isSuccess(input) ? unlabelled(input.success.request) : input.failure.message)

/** How each line is labelled. */
const labels = (inputs: ReadonlyArray<Inputs.Input>) =>
  inputs.map((input) => Result.isSuccess(input) ? input.success.request.label : input.failure.message)

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
          "list:5: has no \"url\", or one that is no text; write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" or \"json\" if you like",
          "list:6: not JSON; write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" or \"json\" if you like",
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

  const labelled = (text: string, keep?: ReadonlyArray<string>, format: Inputs.Format = "detect") =>
    Effect.map(Stream.runCollect(Inputs.decode("list", format, { keep })(bytes(text, 1000))), labels)

  it.effect("labels each request with its line, its id and the other fields of its line", () =>
    Effect.gen(function*() {
      const json = "http://a.test/\n\n{\"url\":\"http://b.test/\",\"id\":7,\"name\":\"é\",\"more\":{\"a\":[1]}}\n"
      assert.deepStrictEqual(yield* labelled(json), [
        { source: "list", line: 1 },
        { source: "list", line: 3, id: 7, input: { name: "é", more: { a: [1] } } }
      ])
      assert.deepStrictEqual((yield* labelled(json, ["name", "other"]))[1], {
        source: "list",
        line: 3,
        id: 7,
        input: { name: "é" }
      })
      assert.deepStrictEqual((yield* labelled(json, []))[1], { source: "list", line: 3, id: 7 })
      const csv = "name,URL, Id ,,__proto__\r\nx,http://a.test/,1,skipped,p\r\n\"two\nlines\",http://b.test/\r\n"
      assert.deepStrictEqual(yield* labelled(csv), [
        { source: "list", line: 2, id: "1", input: JSON.parse("{\"name\":\"x\",\"__proto__\":\"p\"}") },
        { source: "list", line: 3, input: { name: "two\nlines" } }
      ])
      assert.deepStrictEqual(yield* labelled(csv, ["url"]), [
        { source: "list", line: 2, id: "1" },
        { source: "list", line: 3 }
      ])
    }))

  it.effect("bounds what is kept of a line, and names the line that has more", () =>
    Effect.gen(function*() {
      const line = (length: number) => `{"url":"http://a.test/","note":"${"é".repeat(length)}"}`
      const [good, bad, after] = yield* labelled(`${line(4000)}\n${line(4100)}\nhttp://b.test/\n`)
      assert.strictEqual(JSON.stringify(good).length > 4000, true)
      assert.strictEqual(
        bad,
        "list:2: its fields beside the request's have 8218 bytes, and 8192 are kept with a URL: choose some with --keep a,b"
      )
      assert.deepStrictEqual(after, { source: "list", line: 3 })
      assert.deepStrictEqual(
        yield* labelled(line(4100), ["id"]),
        [{ source: "list", line: 1 }],
        "what is not kept has any length"
      )
      assert.include((yield* labelled(`url,id\nhttp://a.test/,${"x".repeat(9000)}\n`))[0], "list:2: its fields")
    }))

  it.effect("takes a body as JSON, and for a POST what has a body and names no method", () =>
    Effect.gen(function*() {
      const type = { "content-type": "application/json" }
      assert.deepStrictEqual(
        yield* read([
          "{\"url\":\"http://a.test/\",\"json\":{\"a\":[1,null]}}",
          "{\"url\":\"http://a.test/\",\"method\":\"put\",\"json\":null,\"headers\":{\"Content-Type\":\"x/y\"}}",
          "{\"url\":\"http://a.test/\",\"body\":\"x\"}",
          "{\"url\":\"http://a.test/\",\"body\":{\"a\":1}}",
          "{\"url\":\"http://a.test/\",\"body\":\"x\",\"json\":1}",
          "{\"url\":\"http://a.test/\",\"method\":\"GET\",\"json\":1}"
        ].join("\n")),
        [
          { url: "http://a.test/", method: "POST", headers: type, body: "{\"a\":[1,null]}" },
          { url: "http://a.test/", method: "PUT", headers: { "content-type": "x/y" }, body: "null" },
          { url: "http://a.test/", method: "POST", body: "x" },
          "list:4: \"body\" is no text; for JSON name it \"json\"; " + example,
          "list:5: has a \"body\" and a \"json\": one of them is sent; " + example,
          "list:6: \"http://a.test/\": a body needs a method that carries one, not GET"
        ]
      )
    }))

  it.effect("gives a body to the requests that have none and may carry one", () =>
    Effect.gen(function*() {
      const list = [
        "http://a.test/",
        "{\"url\":\"http://b.test/\",\"method\":\"GET\"}",
        "{\"url\":\"http://c.test/\",\"body\":\"own\",\"headers\":{\"A\":\"b\"}}",
        "{\"url\":\"http://d.test/\",\"headers\":{\"Content-Type\":\"x/y\"}}"
      ]
      const body = { text: "a=1", contentType: "x/form" }
      const as = (defaults: Inputs.Defaults) =>
        Effect.map(Stream.runCollect(Inputs.fromArguments(list, defaults)), shown)
      const [, get, own] = yield* as({ body })
      assert.deepStrictEqual([get, own], [
        { url: "http://b.test/", method: "GET" },
        { url: "http://c.test/", method: "POST", headers: { A: "b" }, body: "own" }
      ])
      assert.deepStrictEqual((yield* as({ body })).filter((_, at) => at % 3 === 0), [
        { url: "http://a.test/", method: "POST", headers: { "content-type": "x/form" }, body: "a=1" },
        { url: "http://d.test/", method: "POST", headers: { "Content-Type": "x/y" }, body: "a=1" }
      ])
      assert.deepStrictEqual((yield* as({ body: { text: "a" }, method: "PATCH" }))[0], {
        url: "http://a.test/",
        method: "PATCH",
        headers: {},
        body: "a"
      })
    }))

  it.effect("takes a slip of the pen for what was meant, and not for a field to keep", () =>
    Effect.gen(function*() {
      const slip = (name: string, meant: string) =>
        `list:1: "${name}" is no field of a request; did you mean "${meant}"? (--keep ${name} keeps it as one of your own)`
      const of = (field: string) => `{"url":"http://a.test/","${field}":"POST"}`
      for (
        const [written, meant] of [
          ["bdy", "body"],
          ["boddy", "body"],
          ["bory", "body"],
          ["boyd", "body"],
          ["Body", "body"],
          ["header", "headers"],
          ["methdo", "method"],
          ["jsn", "json"]
        ] as const
      ) {
        assert.deepStrictEqual(yield* labelled(of(written)), [slip(written, meant)])
        assert.deepStrictEqual(
          yield* labelled(of(written), [written]),
          [{ source: "list", line: 1, input: { [written]: "POST" } }],
          "but not when it is asked for"
        )
      }
      assert.deepStrictEqual(yield* labelled("{\"URL\":\"http://a.test/\"}"), [slip("URL", "url")])
      for (const own of ["uri", "urls", "bo", "baddy2", "names", "medthos", "ydob"]) {
        assert.deepStrictEqual(yield* labelled(of(own)), [{ source: "list", line: 1, input: { [own]: "POST" } }], own)
      }
      assert.deepStrictEqual(
        yield* labelled("{\"url\":\"http://a.test/\",\"method\":\"GET\",\"methods\":3}"),
        [{ source: "list", line: 1, input: { methods: 3 } }],
        "what is there was not misspelt"
      )
    }))

  it.effect("reads gzip by its first bytes, several members and however it is cut; a broken one is a clear error", () =>
    Effect.gen(function*() {
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      const packed = Buffer.concat([gzipSync("url,id\nhttp://a.test/,1\n"), gzipSync("http://b.test/,2\n")])
      const read = (file: string) => Effect.map(Stream.runCollect(Inputs.fromFile(`${directory}/${file}`)), shown)
      const expected = [{ url: "http://a.test/" }, { url: "http://b.test/" }]
      for (const name of ["list.csv.gz", "list"]) {
        yield* files.writeFile(`${directory}/${name}`, packed)
        assert.deepStrictEqual(yield* read(name), expected)
      }
      for (const chunk of [1, 2, 3, 1000]) {
        const stdin = Stream.fromIterable(
          Array.from(
            { length: Math.ceil(packed.length / chunk) },
            (_, n) => packed.subarray(n * chunk, (n + 1) * chunk)
          )
        ).pipe(Stream.rechunk(1))
        const piped = Stream.runCollect(Inputs.fromStdin()).pipe(Effect.provide(Stdio.layerTest({ stdin })))
        assert.deepStrictEqual(shown(yield* piped), expected)
      }
      yield* files.writeFile(`${directory}/cut`, packed.subarray(0, 30))
      assert.strictEqual(
        (yield* Effect.flip(read("cut"))).message,
        `cannot read ${directory}/cut: its gzip data ends too soon`
      )
      yield* files.writeFile(`${directory}/bad`, Buffer.concat([packed.subarray(0, 10), Buffer.alloc(30, 255)]))
      assert.strictEqual(
        (yield* Effect.flip(read("bad"))).message,
        `cannot read ${directory}/bad: its gzip data is broken`
      )
      yield* files.writeFile(`${directory}/one`, Buffer.of(0x1f))
      assert.include((yield* read("one"))[0], ":1: ", "a byte is no gzip yet")
      yield* files.writeFile(`${directory}/empty`, new Uint8Array())
      assert.deepStrictEqual(yield* read("empty"), [])
      assert.strictEqual(
        (yield* Effect.flip(Stream.runDrain(Inputs.fromFile(directory)))).message,
        `cannot read ${directory}: it is a directory (EISDIR)`
      )
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
})

const example =
  "write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" or \"json\" if you like"
