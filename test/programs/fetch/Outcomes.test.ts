import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Sink, Stdio } from "effect"
import * as PlatformError from "effect/PlatformError"
import * as CsvRow from "../../../src/programs/fetch/CsvRow.ts"
import * as Outcomes from "../../../src/programs/fetch/Outcomes.ts"
import { StatusError } from "../../../src/services/fetch/FetchError.ts"
import { failure, FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"

/** Fields in another order than the printed one. */
const outcome: FetchOutcome = {
  error: failure(new StatusError({ url: "http://a.test/", status: 404 })),
  savedTo: null,
  durationMs: 1.5,
  startedAt: "2026-01-02T03:04:05.678Z",
  contentType: "text/html; charset=\"utf-8\"",
  sha256: null,
  bytes: 3,
  attempts: 2,
  status: 404,
  ok: false,
  finalUrl: "http://a.test/b,c",
  input: { name: "a \"b\"" },
  line: 7,
  source: "list.csv",
  id: "x,1",
  method: "PUT",
  url: "http://a.test/"
}

const line =
  "{\"url\":\"http://a.test/\",\"method\":\"PUT\",\"id\":\"x,1\",\"source\":\"list.csv\",\"line\":7,\"input\":{\"name\":\"a \\\"b\\\"\"},\"finalUrl\":\"http://a.test/b,c\",\"ok\":false,\"status\":404,\"attempts\":2,\"bytes\":3," +
  "\"sha256\":null,\"contentType\":\"text/html; charset=\\\"utf-8\\\"\",\"startedAt\":\"2026-01-02T03:04:05.678Z\",\"durationMs\":1.5," +
  "\"savedTo\":null,\"error\":{\"_tag\":\"StatusError\",\"message\":\"status 404\",\"url\":\"http://a.test/\",\"status\":404}}\n"

const row =
  "http://a.test/,PUT,\"x,1\",list.csv,7,\"{\"\"name\"\":\"\"a \\\"\"b\\\"\"\"\"}\",\"http://a.test/b,c\",false,404,2,3,,\"text/html; charset=\"\"utf-8\"\"\",2026-01-02T03:04:05.678Z,1.5,," +
  "StatusError,status 404\r\n"

describe("Outcomes", () => {
  it("prints fields in one order", () => {
    assert.strictEqual(Outcomes.toNdjson(outcome), line)
    assert.strictEqual(Outcomes.toCsv(outcome), row)
    assert.deepStrictEqual(Object.keys(JSON.parse(line)), Object.keys(FetchOutcome.fields), "that of the schema")
  })

  it("has the same columns of CSV whatever there is, and what is no text as JSON", () => {
    const cells = (more: Partial<FetchOutcome>) => {
      const row = CsvRow.parse(Outcomes.toCsv({ ...outcome, ...more }).trimEnd(), ",")
      const names = Outcomes.csvHeader.trimEnd().split(",")
      return Object.fromEntries(row._tag === "Row" ? row.cells.map((cell, at) => [names[at] ?? "?", cell]) : [])
    }
    assert.strictEqual(
      Outcomes.csvHeader,
      "url,method,id,source,line,input,finalUrl,ok,status,attempts,bytes,sha256,contentType,startedAt,durationMs,savedTo,error,message\r\n"
    )
    const bare = cells({ id: null, input: null, source: null, line: null, error: null, status: null })
    assert.deepStrictEqual([bare["id"], bare["input"], bare["line"], bare["status"], bare["?"]], [
      "",
      "",
      "",
      "",
      undefined
    ])
    assert.deepStrictEqual([cells({ id: 7 })["id"], cells({ id: { a: "b,c" } })["id"]], ["7", "{\"a\":\"b,c\"}"])
    assert.deepStrictEqual(JSON.parse(cells({ input: { a: "\"\n" } })["input"] ?? ""), { a: "\"\n" })
  })

  it.effect("writes a file by its name, and appends to that of a run that goes on", () =>
    Effect.gen(function*() {
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      const write = (name: string, append: boolean) =>
        Effect.scoped(
          Effect.flatMap(Outcomes.file(`${directory}/${name}`, append), (output) => output.write([outcome, outcome]))
        )
      const text = (name: string) => files.readFileString(`${directory}/${name}`)
      yield* write("a.ndjson", false)
      yield* write("a.ndjson", true)
      assert.strictEqual(yield* text("a.ndjson"), line.repeat(4))
      yield* write("a.ndjson", false)
      assert.strictEqual(yield* text("a.ndjson"), line.repeat(2))
      yield* write("a.csv", true)
      yield* write("a.csv", true)
      assert.strictEqual(yield* text("a.csv"), Outcomes.csvHeader + row.repeat(4))
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("cuts a last line that is torn at any byte, and ends one that lacks its end only", () =>
    Effect.gen(function*() {
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      const appended = Effect.fnUntraced(function*(name: string, before: string) {
        yield* files.writeFileString(`${directory}/${name}`, before)
        yield* Effect.scoped(
          Effect.flatMap(Outcomes.file(`${directory}/${name}`, true), (output) => output.write([outcome]))
        )
        return yield* files.readFileString(`${directory}/${name}`)
      })
      for (let cut = 0; cut <= line.length; cut++) {
        const whole = cut >= line.length - 1 ? line : ""
        assert.strictEqual(yield* appended("a.ndjson", line + line.slice(0, cut)), line + whole + line, `${cut}`)
      }
      const head = Outcomes.csvHeader
      for (let cut = 0; cut <= row.length; cut++) {
        const text = yield* appended("a.csv", head + row + row.slice(0, cut))
        // What is cut within the last cell or after it cannot be told from a shorter one.
        const isWhole = cut > row.lastIndexOf(",")
        const kept = isWhole ? row.slice(0, cut).replace(/\r?\n?$/, "\r\n") : ""
        assert.strictEqual(text, head + row + kept + row, `${cut}`)
      }
      for (let cut = 1; cut < head.length - 2; cut++) {
        const text = yield* appended("b.csv", head.slice(0, cut))
        if (cut <= head.lastIndexOf(",")) assert.strictEqual(text, head + row, `${cut}`)
      }
      assert.strictEqual(yield* appended("notes", "of another hand"), `of another hand\n${line}`, "is not cut")
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))

  it.effect("has written everything to standard output when its scope closes", () =>
    Effect.gen(function*() {
      const written: Array<string | Uint8Array> = []
      const sink = Sink.forEach((chunk: string | Uint8Array) =>
        Effect.andThen(Effect.yieldNow, Effect.sync(() => void written.push(chunk)))
      )
      yield* Effect.scoped(Effect.gen(function*() {
        const output = yield* Outcomes.stdout
        for (let n = 0; n < 40; n++) yield* output.write([outcome])
      })).pipe(Effect.provide(Stdio.layerTest({ stdout: () => sink })))
      assert.strictEqual(written.join(""), line.repeat(40))
    }))

  it.effect("tells of the last lines, which nobody waited for, whether they could be written", () =>
    Effect.gen(function*() {
      const late = Stdio.layerTest({
        stdout: () =>
          Sink.forEach(() =>
            Effect.fail(PlatformError.systemError({
              _tag: "Unknown",
              module: "Stdio",
              method: "stdout",
              cause: Object.assign(new Error("full"), { code: "ENOSPC" })
            }))
          )
      })
      const end = Effect.scoped(Effect.flatMap(
        Outcomes.stdout,
        (output) => Effect.andThen(output.write([outcome]), output.flush)
      ))
      assert.strictEqual((yield* Effect.flip(Effect.provide(end, late)))._tag, "OutputError")
    }))

  it.effect("says that the output is closed when its reader has gone, and fails on any other error", () =>
    Effect.gen(function*() {
      const breaking = (code: string) =>
        Stdio.layerTest({
          stdout: () =>
            Sink.fail(PlatformError.systemError({
              _tag: "Unknown",
              module: "Stdio",
              method: "stdout",
              cause: Object.assign(new Error(code), { code })
            }))
        })
      const writeOn = Effect.scoped(
        Effect.flatMap(
          Outcomes.stdout,
          (output) => Effect.forever(Effect.andThen(output.write([outcome]), Effect.yieldNow))
        )
      )
      const closed = yield* Effect.flip(Effect.provide(writeOn, breaking("EPIPE")))
      assert.strictEqual(closed._tag, "OutputClosed")
      const full = yield* Effect.flip(Effect.provide(writeOn, breaking("ENOSPC")))
      assert.strictEqual(
        full._tag === "OutputError" ? full.message : "",
        "cannot write standard output: the disk is full (ENOSPC)"
      )
    }))
})
