import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Redacted } from "effect"
import * as RequestFlags from "../../../src/programs/fetch/RequestFlags.ts"

it.effect("headers and bodies of files, and what is wrong with them", () =>
  Effect.gen(function*() {
    const files = yield* FileSystem.FileSystem
    const directory = yield* files.makeTempDirectoryScoped()
    const file = (name: string) => `@${directory}/${name}`
    const write = (name: string, bytes: string | Uint8Array) =>
      files.writeFile(`${directory}/${name}`, Buffer.from(bytes))
    yield* write("good", "# ours\nX-One: 1\r\n\n  X-Two:  a: b  \n")
    yield* write("bad", "A: b\nnonsense\n")
    yield* write("body", "a=ü\n")
    yield* write("large", "x".repeat(1024 * 1024 + 1))
    yield* write("latin1", Buffer.of(0x61, 0xe9))
    assert.deepStrictEqual(yield* RequestFlags.headers(file("good")), [["x-one", "1"], ["x-two", "a: b"]])
    assert.deepStrictEqual(yield* RequestFlags.headers("Accept:*/*"), [["accept", "*/*"]])
    assert.strictEqual((yield* RequestFlags.data(file("body"))).text, "a=ü\n")
    assert.strictEqual((yield* RequestFlags.data("{}")).text, "{}")
    const wrong = (effect: Effect.Effect<unknown, { readonly message: string }, FileSystem.FileSystem>) =>
      Effect.map(Effect.flip(effect), ({ message }) => message.replaceAll(directory, ""))
    assert.include(
      yield* wrong(RequestFlags.headers(file("bad"))),
      "\"@/bad (its line 2)\". Expected: a name and a value"
    )
    assert.include(yield* wrong(RequestFlags.headers("a: b\nc: d")), "Expected: a name and a value")
    assert.include(yield* wrong(RequestFlags.headers(file("none"))), "\"@/none\". Expected: a file that is there")
    assert.include(yield* wrong(RequestFlags.data("@" + directory)), "can be read: it is a directory (EISDIR)")
    assert.include(yield* wrong(RequestFlags.data(file("large"))), "a file of 1048576 bytes at most")
    assert.include(yield* wrong(RequestFlags.data(file("latin1"))), "a file in UTF-8")
  }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))

it.effect("a user and password are sent as they are, and never shown", () =>
  Effect.gen(function*() {
    const header = yield* RequestFlags.basicAuth(Redacted.make("anna:se:cret"))
    assert.strictEqual(Redacted.value(header), `Basic ${Buffer.from("anna:se:cret").toString("base64")}`)
    assert.notInclude(JSON.stringify({ header }), "se:cret")
    const error = yield* Effect.flip(RequestFlags.basicAuth(Redacted.make("hunter2")))
    assert.include(error.message, "a name, a colon and a password")
    assert.notInclude(JSON.stringify(error) + error.message, "hunter2")
  }))
