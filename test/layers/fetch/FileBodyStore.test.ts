/**
 * Bodies as files: whole or not there, and never outside their directory.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result, Stream } from "effect"
import * as fs from "node:fs"
import * as promises from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import * as FileBodyStore from "../../../src/layers/fetch/FileBodyStore.ts"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as BodyName from "../../../src/services/fetch/BodyName.ts"
import { BodyStore } from "../../../src/services/fetch/BodyStore.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import { type FetchRequest, parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import * as SaveTemplate from "../../../src/services/fetch/SaveTemplate.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(tmpdir(), "sluice-bodies-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

const targetOf = (request: FetchRequest) => Result.getOrThrow(parseTarget(request))

const filesIn = (directory: string) =>
  fs.readdirSync(directory, { recursive: true, withFileTypes: true }).filter((each) => each.isFile()).map((each) =>
    each.name
  )

const thing = targetOf({ url: "http://one.test/a/thing.tar.GZ?x=1" })

describe("FileBodyStore", () => {
  it.live("a committed body is there, whole; an uncommitted one has never been", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const store = yield* Layer.build(FileBodyStore.layer(directory))
      const { writer } = yield* Effect.provideContext(BodyStore, store)
      const name = yield* Effect.scoped(Effect.gen(function*() {
        const body = yield* writer(thing, undefined)
        yield* body.write(new TextEncoder().encode("one "))
        yield* body.write(new TextEncoder().encode("two"))
        return yield* body.commit
      }))
      assert.strictEqual(fs.readFileSync(name, "utf8"), "one two")
      assert.isTrue(name.startsWith(path.join(directory, "one.test", "a_thing.tar-")))
      assert.isTrue(name.endsWith(".gz"))
      yield* Effect.scoped(Effect.flatMap(writer(thing, undefined), (body) => body.write(new Uint8Array(1000))))
      assert.strictEqual(fs.readFileSync(name, "utf8"), "one two")
      assert.lengthOf(filesIn(directory), 1)
    }).pipe(Effect.scoped, leakFree))

  it.live("what a process that is gone left half-written is swept at the start; what lives is not", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const file = (name: string) => path.join(directory, name)
      fs.writeFileSync(file(".sluice-999999999-0.part"), "orphan")
      fs.writeFileSync(file(`.sluice-${process.ppid}-0.part`), "another's, under way")
      fs.writeFileSync(file("kept"), "x")
      yield* Layer.build(FileBodyStore.layer(directory))
      assert.deepStrictEqual(filesIn(directory).sort(), [`.sluice-${process.ppid}-0.part`, "kept"])
    }).pipe(Effect.scoped, leakFree))

  it.live("a directory that cannot be made is a typed error with the system's code", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const file = path.join(directory, "file")
      fs.writeFileSync(file, "")
      const error = yield* Effect.flip(Layer.build(FileBodyStore.layer(path.join(file, "below"))))
      assert.strictEqual(error.code, "ENOTDIR")
    }).pipe(Effect.scoped, leakFree))

  it.live("a directory that can neither be found nor made is refused at once", () =>
    Effect.gen(function*() {
      // Node's own recursive mkdir does not come back from there.
      const error = yield* Effect.flip(Layer.build(FileBodyStore.layer("/proc/sluice/bodies")))
      assert.strictEqual(error.message, "cannot save bodies to /proc/sluice: there is no such directory (ENOENT)")
    }).pipe(Effect.scoped, leakFree))

  it.live("directories are made however deep, also when others make them at the same time", () =>
    Effect.gen(function*() {
      const deep = path.join(yield* temporary, "a", "b", "c")
      yield* Effect.forEach([1, 2, 3, 4], () => Layer.build(Layer.fresh(FileBodyStore.layer(deep))), { concurrency: 4 })
      assert.isTrue(fs.existsSync(deep))
      assert.deepStrictEqual(fs.readdirSync(deep), [], "nothing of the probe stays")
    }).pipe(Effect.scoped, leakFree))

  /** The system's, but that what is asked of it fails so. */
  const failing = (code: string, when: keyof FileBodyStore.Files | "write"): FileBodyStore.Files => {
    const fail = () => Promise.reject(Object.assign(new Error(code), { code }))
    if (when !== "write") return { ...promises, [when]: fail }
    return {
      ...promises,
      open: (...args) => promises.open(...args).then((file) => Object.assign(file, { write: fail }))
    }
  }

  it.live("a disk that is full or read-only is found before anything is fetched, and nothing of it is left open", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      for (
        const [code, when] of [["ENOSPC", "write"], ["EDQUOT", "write"], ["EROFS", "open"], ["EACCES", "open"]] as const
      ) {
        const error = yield* Effect.flip(Layer.build(FileBodyStore.layer(directory, { files: failing(code, when) })))
        assert.strictEqual(error.code, code)
        assert.match(error.message, new RegExp(`^cannot save bodies to ${directory}/\\S+: .* \\(${code}\\)$`))
      }
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }).pipe(Effect.scoped, leakFree))

  it.live("the fetcher saves through it: the outcome says where, and the checksum is the file's", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const origin = yield* Origin.make((request, response) => {
        if (request.url === "/cut") {
          response.writeHead(200, { "content-length": "100000" })
          response.write("short", () => response.destroy())
        } else response.end(Buffer.alloc(200_000, request.url ?? ""))
      })
      const outcomes = yield* Effect.gen(function*() {
        const fetcher = yield* Fetcher
        return yield* Stream.runCollect(
          fetcher.fetchAll(Stream.map(Stream.make("/a", "/b", "/cut"), (each) => ({ url: `${origin.url}${each}` })))
        )
      }).pipe(
        Effect.provide(
          Layer.merge(Layer.provide(HttpFetcher.layer, Http1Client.layer()), FileBodyStore.layer(directory))
        )
      )
      const saved = outcomes.filter((each) => each.ok)
      assert.lengthOf(saved, 2)
      for (const each of saved) assert.strictEqual(fs.statSync(each.savedTo ?? "").size, 200_000)
      assert.strictEqual(outcomes.find((each) => !each.ok)?.error?._tag, "TruncatedBody")
      assert.lengthOf(filesIn(directory), 2)
    }).pipe(Effect.scoped, leakFree))
})

describe("names by a template", () => {
  const store = Effect.fnUntraced(function*(template: string) {
    const directory = yield* temporary
    const saveAs = Result.getOrThrow(SaveTemplate.parse(template))
    const { writer } = yield* Effect.provideContext(
      BodyStore,
      yield* Layer.build(FileBodyStore.layer(directory, { saveAs }))
    )
    const save = (request: FetchRequest, text: string) =>
      Effect.scoped(Effect.gen(function*() {
        const body = yield* writer(targetOf(request), "text/plain")
        yield* body.write(new TextEncoder().encode(text))
        return path.relative(directory, yield* body.commit)
      }))
    return { directory, save, read: (name: string) => fs.readFileSync(path.join(directory, name), "utf8") }
  })

  it.live("are as it says; one that is taken is never another's, and nothing else is left", () =>
    Effect.gen(function*() {
      const { directory, read, save } = yield* store("{host}/{path}{ext}")
      assert.strictEqual(yield* save({ url: "http://one.test/a/b?1" }, "1"), "one.test/a/b.txt")
      const second = yield* save({ url: "http://one.test/a/b?2" }, "2")
      assert.match(second, /^one\.test\/a\/b-[0-9a-f]{32}\.txt$/)
      assert.strictEqual(
        yield* save({ url: "http://one.test/a/b?2" }, "two"),
        second,
        "the same request, the same name"
      )
      assert.deepStrictEqual([read("one.test/a/b.txt"), read(second)], ["1", "two"])
      assert.lengthOf(filesIn(directory), 2)
    }).pipe(Effect.scoped, leakFree))

  it.live("go beside where a body has the name of a directory, and the other way round", () =>
    Effect.gen(function*() {
      const { read, save } = yield* store("{host}/{path}")
      assert.strictEqual(yield* save({ url: "http://one.test/a" }, "file"), "one.test/a")
      const below = yield* save({ url: "http://one.test/a/b/c" }, "below")
      assert.match(below, /^c-[0-9a-f]{32}$/)
      assert.match(yield* save({ url: "http://one.test/a/b" }, "just below"), /^b-[0-9a-f]{32}$/)
      assert.strictEqual(yield* save({ url: "http://one.test/d/e" }, "e"), "one.test/d/e")
      const file = yield* save({ url: "http://one.test/d" }, "d")
      assert.match(file, /^one\.test\/d-[0-9a-f]{32}$/)
      assert.deepStrictEqual([read("one.test/a"), read(below), read(file)], ["file", "below", "d"])
    }).pipe(Effect.scoped, leakFree))

  it.live("are those of what was asked for, whatever it redirects to", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const origin = yield* Origin.make((request, response) => {
        if (request.url === "/latest") response.writeHead(302, { location: "/v2/page.php" }).end()
        else response.writeHead(200, { "content-type": "text/html" }).end("page")
      })
      const saveAs = Result.getOrThrow(SaveTemplate.parse("{id}-{path}{ext}"))
      const { id, savedTo } = yield* Effect.gen(function*() {
        const fetcher = yield* Fetcher
        return yield* fetcher.outcome({ url: `${origin.url}/latest`, label: { id: 7 } })
      }).pipe(
        Effect.provide(
          Layer.merge(Layer.provide(HttpFetcher.layer, Http1Client.layer()), FileBodyStore.layer(directory, { saveAs }))
        )
      )
      assert.strictEqual(id, 7)
      assert.strictEqual(path.relative(directory, savedTo ?? ""), "7-latest.html")
    }).pipe(Effect.scoped, leakFree))
})

describe("BodyName", () => {
  const digest = "0123456789abcdef0123456789abcdef"
  const hostile = [
    "http://one.test/../../etc/passwd",
    "http://one.test/..%2f..%2fetc%2fpasswd",
    "http://one.test/%00",
    "http://one.test/.htaccess",
    "http://one.test/a\\b",
    `http://one.test/${"x".repeat(5000)}.html`,
    "http://one.test/",
    "http://[::1]:8080/x",
    "http://one.test/CON",
    "http://one.test/%F0%9F%92%A9"
  ]
  for (const url of hostile) {
    it(`${url.slice(0, 60)} stays inside and within 255 bytes`, () => {
      const { directories, file, spare } = BodyName.of({ target: targetOf({ url }), contentType: undefined, digest })
      assert.lengthOf(directories, 1)
      assert.match(directories[0] ?? "", /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/)
      assert.isUndefined(spare)
      assert.match(file, /^[A-Za-z0-9-][A-Za-z0-9._-]*$/)
      assert.isAtMost(Buffer.byteLength(file), 255)
    })
  }
})
