/**
 * Several `sluice fetch` processes on one run, and a database, while anything of it is stopped, thawed and killed at random.
 *
 * In the end every URL has one outcome; a URL that was recorded is not asked for again, but for what was on its way when its process was
 * stopped; and no lane stays with an owner that nobody knows.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Queue, Random, type Scope } from "effect"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import { eventually } from "../../support/eventually.ts"
import { type SluiceProcess, start } from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const seed = process.env["SLUICE_SEED"] ?? (isLong ? String(process.pid) : "sluice")
const rounds = isLong ? 150 : 7
const urlCount = isLong ? 60_000 : 1200
const workers = 3
const concurrency = 4

/** A server on every address of 127.0.0.0/8, which says when it was asked for what. */
const origin = Effect.acquireRelease(
  Effect.callback<{ readonly port: number; readonly asked: Map<string, Array<number>>; readonly close: () => void }>(
    (resume) => {
      const asked = new Map<string, Array<number>>()
      const server = createServer((request, response) => {
        const url = `http://${request.headers.host}${request.url}`
        const times = asked.get(url)
        if (times === undefined) asked.set(url, [Date.now()])
        else times.push(Date.now())
        setTimeout(() => response.end("hello"), 60)
      })
      server.listen(0, "0.0.0.0", () => {
        const address = server.address()
        resume(Effect.succeed({
          port: typeof address === "object" && address !== null ? address.port : 0,
          asked,
          close: () => {
            server.close()
            server.closeAllConnections()
          }
        }))
      })
    }
  ),
  ({ close }) => Effect.sync(close)
)

/** The children of a process. */
const childrenOf = (pid: number): ReadonlyArray<number> =>
  readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const parent = Number(readFileSync(`/proc/${name}/stat`, "utf8").split(") ")[1]?.split(" ")[1])
      return parent === pid ? [Number(name)] : []
    } catch {
      return []
    }
  })

const signal = (pids: ReadonlyArray<number>, name: NodeJS.Signals): void => {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {
      // Gone already.
    }
  }
}

interface Worker {
  readonly child: SluiceProcess
  stops: number
}

const chaos = Effect.gen(function*() {
  const directory = yield* TestDatabase.ownDirectory
  const { asked, port } = yield* origin
  const server = yield* EmbeddedPostgres.make({ directory, settings: { track_commit_timestamp: "on" } })
  const urls = Array.from({ length: urlCount }, (_, n) => `http://127.0.0.${1 + n % 7}:${port}/${n}`)
  const list = join(directory, "list.txt")
  writeFileSync(list, urls.join("\n"))
  const env = { SLUICE_DATA_DIR: directory }
  const args = ["fetch", "-i", list, "--run", "chaos", "-c", String(concurrency), "--retries", "50"]
  const begin: Effect.Effect<Worker, never, Scope.Scope> = Effect.map(
    start(args, env),
    (child) => ({ child, stops: 0 })
  )
  const all = yield* Effect.forEach(Array.from({ length: workers }), () => begin, { concurrency: workers })
  yield* eventually(Effect.sync(() => asked.size), (size) => size > 20)
  let stops = 0

  const someWorker = Effect.map(Random.nextIntBetween(0, workers), (at) => at)
  const replace = Effect.fnUntraced(function*(at: number) {
    yield* all[at]?.child.kill("SIGKILL") ?? Effect.void
    all[at] = yield* begin
  })
  const stopFor = (atMost: number) =>
    Effect.flatMap(Random.nextBetween(atMost / (isLong ? 8 : 1.2), atMost), (seconds) => Effect.sleep(seconds * 1000))
  const events: ReadonlyArray<readonly [name: string, event: Effect.Effect<void, unknown, Scope.Scope>]> = [
    [
      "a frozen process",
      Effect.gen(function*() {
        const at = yield* someWorker
        stops++
        yield* all[at]?.child.kill("SIGSTOP") ?? Effect.void
        yield* stopFor(isLong ? 8 : 6)
        yield* all[at]?.child.kill("SIGCONT") ?? Effect.void
      })
    ],
    [
      "a lost machine",
      Effect.gen(function*() {
        const at = yield* someWorker
        stops++
        yield* all[at]?.child.kill("SIGSTOP") ?? Effect.void
        yield* stopFor(isLong ? 8 : 2)
        yield* replace(at)
      })
    ],
    ["a killed process", Effect.flatMap(someWorker, replace)],
    [
      "a killed backend",
      Effect.gen(function*() {
        const { serverPid } = yield* server.processes
        const backends = childrenOf(serverPid)
        signal(
          [backends[yield* Random.nextIntBetween(0, Math.max(1, backends.length))] ?? 0].filter((pid) => pid > 1),
          "SIGKILL"
        )
      })
    ],
    [
      "cut connections",
      Effect.gen(function*() {
        const { serverPid } = yield* server.processes
        for (const pid of childrenOf(serverPid)) if ((yield* Random.next) < 0.5) signal([pid], "SIGTERM")
      })
    ],
    [
      "a killed server",
      Effect.flatMap(server.processes, ({ serverPid }) => Effect.sync(() => signal([serverPid], "SIGKILL")))
    ],
    [
      "a server that hangs",
      Effect.gen(function*() {
        const { serverPid } = yield* server.processes
        const pids = [serverPid, ...childrenOf(serverPid)]
        signal(pids, "SIGSTOP")
        yield* stopFor(isLong ? 6 : 3)
        signal(pids, "SIGCONT")
      })
    ]
  ]
  for (let round = 0; round < rounds; round++) {
    const [name, event] = events[round % events.length] ?? events[0] ?? ["", Effect.void]
    if (process.env["SLUICE_TELL"] === "1") console.log(`${Math.round(performance.now())} ${name}, ${asked.size} asked`)
    yield* event
    yield* stopFor(isLong ? 1 : 0.5)
  }
  const exits = yield* Effect.forEach(all, ({ child }) =>
    Effect.gen(function*() {
      const code = yield* child.exit
      const said = (yield* Queue.takeAll(child.lines)).filter((line) => !line.startsWith("{"))
      if (process.env["SLUICE_TELL"] === "1") console.log(Math.round(performance.now()), said.join("\n"))
      return code === 0 ? code : `${code}: ${said.join(" | ")}`
    }), { concurrency: workers })
  return { asked, directory, exits, server, stops, urls }
})

describe("a run in bad weather", () => {
  it.live(
    "records every URL once, asks for none again that is recorded, and leaves no lane without an owner",
    () =>
      Effect.scoped(
        Effect.gen(function*() {
          const { asked, directory, exits, stops, urls } = yield* chaos
          assert.deepStrictEqual(
            exits,
            Array.from({ length: workers }, () => 0),
            "every process that was left ended well"
          )
          const context = yield* Layer.build(Layer.provideMerge(PostgresFrontier.layer, Database.layer({ directory })))
          yield* Effect.provideContext(
            Effect.gen(function*() {
              const sql = yield* PgClient.PgClient
              const rows = yield* sql<{ readonly url: string; readonly atMillis: number }>`
            select u.url, (extract(epoch from pg_xact_commit_timestamp(o.xmin)) * 1000)::float8 as "atMillis"
            from sluice.fetch_outcome o join sluice.fetch_url u on u.lane_id = o.lane_id and u.seq = o.seq where o.state = 'done'`
              assert.deepStrictEqual(rows.map(({ url }) => url).toSorted(), urls.toSorted())
              const { counts } = yield* (yield* Frontier).find("chaos")
              assert.deepStrictEqual(counts, { pending: 0, leased: 0, done: urls.length, failed: 0, deferred: 0 })
              assert.deepStrictEqual(yield* sql`select id, owner from sluice.fetch_lane where owner is not null`, [])
              const late = rows.flatMap(({ atMillis, url }) =>
                (asked.get(url) ?? []).filter((at) => at > atMillis + 500)
              )
              if (process.env["SLUICE_TELL"] === "1") {
                console.log(`stops ${stops}, late ${late.length}, URLs ${rows.length}`)
              }
              // What was between its last look at the lease and the wire when its process was stopped.
              assert.isAtMost(late.length, stops * concurrency, "asked for again after they were recorded")
            }),
            context
          )
        }).pipe(Random.withSeed(seed))
      ),
    isLong ? 1_800_000 : 180_000
  )
})
