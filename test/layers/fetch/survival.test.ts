/**
 * What is left when a fetch is interrupted at any step, when its process is killed, and when the system has no more to give.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Queue, Result, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { execFile, spawn } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import * as FileBodyStore from "../../../src/layers/fetch/FileBodyStore.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { BodyStore } from "../../../src/services/fetch/BodyStore.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import { parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"
import { sweep } from "../../support/sweep.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(tmpdir(), "sluice-survival-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

const filesIn = (directory: string) =>
  fs.readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => path.join(each.parentPath, each.name))

describe("interrupted at any step", () => {
  it.effect("a stream of outcomes leaves no request", () => {
    const script = ScriptedClient.make((n) =>
      n % 3 === 0 ? { code: "ECONNRESET" } : n % 3 === 1 ? { silent: true } : {}
    )
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const hits = yield* sweep(Effect.succeed({
        victim: Stream.runDrain(
          fetcher.fetchAll(Stream.map(Stream.range(1, 20), (n) => ({ url: `http://h${n % 3}.test/${n}` })))
        ),
        check: (at) => Effect.sync(() => assert.strictEqual(script.inFlight, 0, at))
      }))
      assert.isAbove(hits, 100)
    }).pipe(Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)), leakFree)
  })

  it.effect("a single fetch leaves no request, and the next one is served", () => {
    const script = ScriptedClient.make((n) => n % 2 === 0 ? { delay: 10 } : {})
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const hits = yield* sweep(Effect.succeed({
        victim: fetcher.fetch({ url: "http://one.test/" }),
        others: [Effect.andThen(TestClock.adjust(20), Effect.yieldNow)],
        check: (at) => Effect.sync(() => assert.strictEqual(script.inFlight, 0, at))
      }))
      assert.isAbove(hits, 20)
      const last = yield* Effect.forkChild(fetcher.outcome({ url: "http://one.test/" }), { startImmediately: true })
      yield* TestClock.adjust(20)
      assert.isTrue((yield* last.pollUnsafe() ?? Exit.die("still waiting")).ok)
    }).pipe(Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)), leakFree)
  })

  it.live("a file is whole or not there, and nothing half-written stays", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const scope = yield* Scope.Scope
      const context = yield* Layer.buildWithScope(FileBodyStore.layer(directory), scope)
      const { writer } = yield* Effect.provideContext(BodyStore, context)
      const to = Result.getOrThrow(parseTarget({ url: "http://one.test/file" }))
      const hits = yield* sweep(
        Effect.succeed({
          victim: Effect.scoped(Effect.gen(function*() {
            const body = yield* writer(to, undefined)
            yield* body.write(Buffer.alloc(1000, "x"))
            yield* body.write(Buffer.alloc(1000, "y"))
            yield* body.commit
          })),
          check: (at) =>
            Effect.sync(() => {
              for (const file of filesIn(directory)) {
                assert.isFalse(path.basename(file).startsWith("."), at)
                assert.strictEqual(fs.statSync(file).size, 2000, at)
                fs.rmSync(file)
              }
            })
        }),
        { budgets: 8, turns: 8 }
      )
      assert.isAbove(hits, 20)
    }).pipe(Effect.scoped, leakFree))
})

const saver = path.join(import.meta.dirname, "../../support/fetch/saver.ts")

const bytes = Buffer.alloc(150_000, "0123456789")

describe("killed", () => {
  it.live(
    "kill -9 at any moment: every file that has its name is whole, and the rest is swept at the next start",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const seen = yield* Queue.unbounded<void>()
        const origin = yield* Origin.make((_, response) => {
          Queue.offerUnsafe(seen, undefined)
          response.end(bytes)
        })
        let partsSeen = 0
        for (let round = 0; round < (isLong ? 50 : 5); round++) {
          const child = spawn(process.execPath, [saver, directory, origin.url, "2000"], { stdio: "ignore" })
          yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
          const exited = Effect.callback<void>((resume) => {
            child.on("exit", () => resume(Effect.void))
          })
          yield* Queue.takeN(seen, 100 + round % 10 * 37)
          child.kill("SIGKILL")
          yield* exited
          yield* Queue.clear(seen)
          for (const file of filesIn(directory)) {
            if (path.basename(file).startsWith(".sluice-")) partsSeen++
            else assert.isTrue(fs.readFileSync(file).equals(bytes), file)
          }
        }
        assert.isAbove(partsSeen, 0, "it was never killed in the middle of a file")
        yield* Layer.build(FileBodyStore.layer(directory))
        assert.isEmpty(filesIn(directory).filter((file) => path.basename(file).startsWith(".")))
      }).pipe(Effect.scoped, leakFree),
    isLong ? 300_000 : 60_000
  )
})

/** Runs the saver under a limit of the shell's, and gives how its outcomes ended. */
const limited = (
  ulimit: string,
  directory: string,
  url: string,
  count: number
): Effect.Effect<Record<string, number>> =>
  Effect.callback((resume) => {
    const command = `ulimit ${ulimit}; exec "${process.execPath}" "${saver}" "${directory}" "${url}" ${count}`
    execFile("/bin/bash", ["-c", command], (error, output, errors) => {
      resume(error === null ? Effect.succeed(JSON.parse(output)) : Effect.die(new Error(errors)))
    })
  })

describe("out of something", () => {
  it.live("out of room: a typed error for each body, and nothing left", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const origin = yield* Origin.make((_, response) => {
        response.end(bytes)
      })
      // In blocks of 1024 bytes: no file may grow beyond 100 KiB.
      const ends = yield* limited("-f 100", directory, origin.url, 50)
      assert.deepStrictEqual(ends, { "BodyStoreError EFBIG": 50 })
      assert.isEmpty(filesIn(directory))
    }).pipe(Effect.scoped, leakFree))

  it.live("out of files: sockets and bodies wait for each other, and all are saved whole", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const origin = yield* Origin.make((_, response) => {
        response.end(bytes)
      })
      assert.deepStrictEqual(yield* limited("-n 60", directory, origin.url, 300), { ok: 300 })
      for (const file of filesIn(directory)) assert.isTrue(fs.readFileSync(file).equals(bytes))
    }).pipe(Effect.scoped, leakFree))
})
