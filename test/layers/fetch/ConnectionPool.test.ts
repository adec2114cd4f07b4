/**
 * A process that may open few files fetches from many hosts all the same: what it lacks is never told as the fault of a host, and costs
 * no attempt.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Timers from "../../../src/layers/fetch/dns/Timers.ts"
import { SocketRoom } from "../../../src/layers/fetch/http1/SocketRoom.ts"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as DnsServer from "../../support/fetch/DnsServer.ts"
import { leakFree } from "../../support/leakFree.ts"

const crawler = fileURLToPath(new URL("../../support/fetch/crawler.ts", import.meta.url))
const isLong = process.env["SLUICE_LONG"] === "1"

/** A server at every address of 127.0.0.0/8; gives its port. */
const everywhere: Effect.Effect<number, never, Scope.Scope> = Effect.gen(function*() {
  const sockets = new Set<net.Socket>()
  const server = yield* Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer({ keepAliveTimeout: 60_000 }, (_, response) => response.end("ok"))
      server.on("connection", (socket) => {
        sockets.add(socket)
        socket.on("error", () => {}).on("close", () => sockets.delete(socket))
      })
      server.listen(0, "0.0.0.0", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
  )
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
})

const crawl = (files: number, ...args: ReadonlyArray<string | number>): Effect.Effect<unknown> =>
  Effect.callback((resume) => {
    const command = `ulimit -n ${files}; exec "${process.execPath}" "${crawler}" ${args.join(" ")}`
    const child = execFile(
      "/bin/bash",
      ["-c", command],
      { env: { ...process.env, NODE_OPTIONS: "" } },
      (error, output) => {
        resume(error === null ? Effect.succeed(JSON.parse(output).ends) : Effect.die(error))
      }
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

describe("few files", () => {
  const limits: ReadonlyArray<readonly [files: number, hosts: number, concurrency: number]> = isLong
    ? [50, 64, 96, 128, 256, 512, 1024].flatMap((files) =>
      [16, 64, 400, 1000].map((each) => [files, 3000, each] as const)
    )
    : [[256, 1500, 64], [256, 600, 400], [64, 300, 100]]
  for (const [files, hosts, concurrency] of limits) {
    it.live(
      `${files} files, ${hosts} hosts, ${concurrency} at a time: each is fetched, at its first attempt`,
      () =>
        Effect.gen(function*() {
          const port = yield* everywhere
          assert.deepStrictEqual(yield* crawl(files, hosts, port, concurrency), { "ok at attempt 1": hosts })
        }).pipe(Effect.scoped, leakFree),
      120_000
    )
  }

  it.live("names, whose lookups need files too", () =>
    Effect.gen(function*() {
      const port = yield* everywhere
      const server = yield* DnsServer.make(({ name, type }) => {
        const n = Number(name.replace(/\D/g, ""))
        return { records: type === "A" ? [{ a: `127.1.${n >> 8}.${n & 255}` }] : [] }
      })
      assert.deepStrictEqual(yield* crawl(80, 500, port, 300, server.address), { "ok at attempt 1": 500 })
    }).pipe(Effect.scoped, leakFree), 120_000)

  it.live("bodies that are saved, whose files are files too", () =>
    Effect.gen(function*() {
      const port = yield* everywhere
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-pool-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      assert.deepStrictEqual(yield* crawl(64, 300, port, 64, "-", directory), { "ok at attempt 1": 300 })
      assert.lengthOf(readdirSync(directory), 300)
    }).pipe(Effect.scoped, leakFree), 120_000)
})

describe("room for sockets", () => {
  it.live("idle connections give way to a new one", () =>
    Effect.gen(function*() {
      const port = yield* everywhere
      const fetcher = yield* Fetcher
      for (let host = 1; host <= 12; host++) {
        const outcome = yield* fetcher.outcome({ url: `http://127.1.0.${host}:${port}/` })
        assert.strictEqual(outcome.error, null)
      }
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make({ retry: { times: 0 }, timeouts: { attempt: Duration.seconds(5) } })
      ),
      Effect.provide(Layer.provide(
        HttpFetcher.layer,
        Http1Client.layer({ socketsMax: 4, idleMax: 4, keepAlive: "1 minute" })
      )),
      Effect.scoped,
      leakFree
    ))

  const waiters = Effect.fnUntraced(function*(isHopeless: () => boolean) {
    const made: Array<number> = []
    const told: Array<string> = []
    const room = new SocketRoom(yield* Timers.make, 10, () => made.push(1), isHopeless)
    const wait = (name: string) => room.wait((isOver) => told.push(`${name} ${isOver ? "tries" : "fails"}`))
    return { made, told, room, wait }
  })

  it.effect("who waits looks again one by one, for files that others free; who has left does not", () =>
    Effect.gen(function*() {
      const { made, room, told, wait } = yield* waiters(() => false)
      wait("a")
      const leave = wait("b")
      wait("c")
      leave()
      assert.lengthOf(made, 3)
      yield* TestClock.adjust("249 millis")
      assert.deepStrictEqual(told, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(told, ["a tries"])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(told, ["a tries", "c tries"])
      assert.strictEqual(room.size, 0)
    }).pipe(Effect.scoped, leakFree))

  it.effect("a socket that closes makes room, one that got no file has none to give", () =>
    Effect.gen(function*() {
      const { room, told, wait } = yield* waiters(() => false)
      const closed = (error?: Error) =>
        Effect.callback<void>((resume) => {
          const socket = new net.Socket()
          room.take(socket)
          socket.on("error", () => {}).once("close", () => resume(Effect.void))
          socket.destroy(error)
        })
      wait("a")
      yield* closed(Object.assign(new Error("no file"), { code: "EMFILE" }))
      assert.deepStrictEqual(told, [])
      yield* closed(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }))
      assert.deepStrictEqual(told, ["a tries"])
      wait("b")
      yield* closed()
      assert.deepStrictEqual(told, ["a tries", "b tries"])
    }).pipe(Effect.scoped, leakFree))

  it.effect("when nothing of ours could be closed, all are refused after two seconds", () =>
    Effect.gen(function*() {
      const { room, told, wait } = yield* waiters(() => true)
      wait("a")
      for (let quarter = 1; quarter < 8; quarter++) {
        yield* TestClock.adjust("250 millis")
        // It has tried, and found no file.
        wait("a")
      }
      wait("b")
      assert.deepStrictEqual(told, Array.from({ length: 7 }, () => "a tries"))
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual(told.slice(7), ["a fails", "b fails"])
      assert.strictEqual(room.size, 0)
    }).pipe(Effect.scoped, leakFree))
})
