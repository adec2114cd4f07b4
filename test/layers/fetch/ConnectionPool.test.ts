/**
 * A process that may open few files fetches from many hosts all the same: what it lacks is never told as the fault of a host, and costs
 * no attempt.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as DnsServer from "../../support/fetch/DnsServer.ts"
import { leakFree } from "../../support/leakFree.ts"

const crawler = fileURLToPath(new URL("../../support/fetch/crawler.ts", import.meta.url))
const isLong = process.env["SLUICE_LONG"] === "1"

/** A server at every address of 127.0.0.0/8; gives its port. */
const everywhere: Effect.Effect<number, never, Scope.Scope> = Effect.gen(function*() {
  const sockets = new Set<Socket>()
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
