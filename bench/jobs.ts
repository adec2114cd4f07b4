/**
 * Jobs: no-op jobs, enqueueing, pick-up across processes, a million waiting, kill -9 and dead rows, beside the queues that
 * TypeScript programs use on Postgres. Every contender works on the same server, in processes and a database of its own.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Exit, Redacted, Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { execFileSync, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as EmbeddedPostgres from "../src/layers/postgres/EmbeddedPostgres.ts"
import * as Ours from "./jobs/ours.ts"
import type { BenchOptions } from "./main.ts"

const contenderFile = join(import.meta.dirname, "jobs/contender.ts")
const peersFolder = join(import.meta.dirname, "peers/jobs")
const dependencies = { bullmq: "6.7.0", "graphile-worker": "0.18.0", pg: "8.16.3", "pg-boss": "12.35.0" }

const installPeers = (): void => {
  if (existsSync(join(peersFolder, "node_modules/pg-boss"))) return
  mkdirSync(peersFolder, { recursive: true })
  writeFileSync(join(peersFolder, "package.json"), JSON.stringify({ private: true, dependencies }))
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], {
    cwd: peersFolder,
    stdio: "inherit"
  })
}

/** Who runs, and how many jobs a drain of about a second or two is for it. */
const contenders = [
  { name: "sluice", jobs: 100_000 },
  { name: "graphile-worker, batched", jobs: 100_000 },
  { name: "graphile-worker", jobs: 4_000 },
  { name: "pg-boss, batched", jobs: 60_000 },
  { name: "bullmq on Postgres", jobs: 3_000 },
  { name: "Effect PersistedQueue", jobs: 4_000 }
]

interface Line {
  readonly perSecond?: number
  readonly ready?: boolean
  readonly done?: number
  readonly at?: number
  readonly delay?: number
}

class Contender {
  readonly lines: Array<Line> = []
  private readonly child
  private readonly waiting: Array<() => void> = []
  readonly exited: Promise<void>

  constructor(name: string, mode: string, url: string, count: number) {
    this.child = spawn(process.execPath, [contenderFile, name, mode, url, String(count)], {
      stdio: ["pipe", "pipe", "inherit"]
    })
    let text = ""
    this.child.stdout.on("data", (chunk) => {
      const all = (text + String(chunk)).split("\n")
      text = all.pop() ?? ""
      for (const line of all) if (line.startsWith("{")) this.lines.push(JSON.parse(line) as Line)
      for (const wake of this.waiting.splice(0)) wake()
    })
    this.child.stdin.on("error", () => {})
    this.exited = new Promise((resolve) => this.child.on("exit", () => resolve()))
  }

  async until(test: () => boolean): Promise<void> {
    while (!test()) await Promise.race([new Promise<void>((resolve) => this.waiting.push(resolve)), this.exited])
  }

  go(): void {
    this.child.stdin.write("go\n")
  }

  kill(): void {
    this.child.kill("SIGKILL")
  }
}

const runOnce = async (name: string, mode: string, url: string, count: number): Promise<Line> => {
  const contender = new Contender(name, mode, url, count)
  await contender.exited
  return contender.lines.at(-1) ?? {}
}

/** Seconds from the word go until `processes` have done `count` jobs together. */
const drain = async (name: string, url: string, count: number, processes: number): Promise<number> => {
  const workers = Array.from({ length: processes }, () => new Contender(name, "drain", url, count))
  await Promise.all(workers.map((worker) => worker.until(() => worker.lines.length > 0)))
  const from = performance.timeOrigin + performance.now()
  for (const worker of workers) worker.go()
  const done = () => workers.reduce((sum, worker) => sum + (worker.lines.at(-1)?.done ?? 0), 0)
  while (done() < count) await Promise.race(workers.map((worker) => worker.until(() => done() >= count)))
  const last = Math.max(...workers.map((worker) => worker.lines.at(-1)?.at ?? 0))
  for (const worker of workers) worker.kill()
  await Promise.all(workers.map((worker) => worker.exited))
  return (last - from) / 1000
}

const latency = async (name: string, url: string, count: number): Promise<ReadonlyArray<number>> => {
  const listener = new Contender(name, "listen", url, 0)
  await listener.until(() => listener.lines.some((line) => line.ready === true))
  await runOnce(name, "ping", url, count)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  listener.go()
  await Promise.race([listener.exited, new Promise((resolve) => setTimeout(resolve, 3000))])
  listener.kill()
  // The first one warms both processes up.
  return listener.lines.flatMap((line) => line.delay === undefined ? [] : [line.delay]).slice(1).toSorted((a, b) =>
    a - b
  )
}

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const at = (sorted: ReadonlyArray<number>, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
const whole = (value: number): string => Math.round(value).toLocaleString("en")
const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n")

interface Server {
  readonly url: (database: string) => string
  readonly sql: (statement: string, database?: string) => Promise<ReadonlyArray<Record<string, unknown>>>
}

const side = async (server: Server, runs: number): Promise<string> => {
  const rows: Array<ReadonlyArray<string>> = []
  let serial = 0
  const fresh = async (name: string): Promise<string> => {
    const database = `bench_jobs_${process.pid}_${serial++}`
    await server.sql(`create database ${database}`)
    const url = server.url(database)
    await runOnce(name, "setup", url, 0)
    return url
  }
  const figures = contenders.map((): Record<string, Array<number>> => ({ one: [], two: [], bulk: [], single: [] }))
  const databaseOf = (url: string) => new URL(url).pathname.slice(1)
  const delays: Array<ReadonlyArray<number>> = []
  const rest: Array<string> = []
  for (let run = 0; run < runs; run++) {
    for (const [index, { jobs, name }] of contenders.entries()) {
      const url = await fresh(name)
      const into = (key: string, value: number) => figures[index]?.[key]?.push(value)
      into("bulk", (await runOnce(name, "bulk", url, jobs)).perSecond ?? Number.NaN)
      // Without statistics a peer's plans may be bad by accident: everyone gets them.
      await server.sql("vacuum analyze", databaseOf(url))
      into("one", jobs / (await drain(name, url, jobs, 1)))
      await runOnce(name, "bulk", url, jobs)
      await server.sql("vacuum analyze", databaseOf(url))
      into("two", jobs / (await drain(name, url, jobs, 2)))
      into("single", (await runOnce(name, "one", url, Math.min(jobs, 10_000))).perSecond ?? Number.NaN)
      if (run === 0) {
        const quiet = await fresh(name)
        delays[index] = await latency(name, quiet, 200)
        await server.sql(`drop database ${databaseOf(quiet)} with (force)`)
        const [dead] = await server.sql(
          "select coalesce(sum(n_dead_tup), 0)::float8 as n from pg_stat_user_tables",
          databaseOf(url)
        )
        rest[index] = whole(Number(dead?.["n"] ?? 0))
      }
      await server.sql(`drop database ${databaseOf(url)} with (force)`)
      console.error(`${name}: ${JSON.stringify(figures[index])}`)
    }
  }
  const first = figures[0]
  for (const [index, { name }] of contenders.entries()) {
    const cell = (key: string) => {
      const value = median(figures[index]?.[key] ?? [])
      const ratio = median(first?.[key] ?? []) / value
      return index === 0 ? whole(value) : `${whole(value)} (1/${ratio.toFixed(1)})`
    }
    const sorted = delays[index] ?? []
    rows.push([
      name,
      cell("one"),
      cell("two"),
      cell("bulk"),
      cell("single"),
      `${at(sorted, 0.5).toFixed(1)} / ${at(sorted, 0.99).toFixed(1)} ms`,
      rest[index] ?? ""
    ])
  }
  return table([
    "",
    "no-op jobs/s, one process",
    "two processes",
    "enqueued/s, by the thousand",
    "one by one, 16 at a time",
    "pick-up in another process, p50 / p99",
    "dead rows after two drains"
  ], rows)
}

/** What only Sluice has, or what is only about Sluice. */
const own = async (server: Server, runs: number): Promise<string> => {
  const database = `bench_jobs_${process.pid}_own`
  await server.sql(`create database ${database}`)
  const figures: Record<string, Array<number>> = { transactional: [], batch: [], few: [], many: [] }
  const backlog = 1_000_000
  const measure = Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    for (let run = 0; run < runs; run++) {
      figures["transactional"]?.push(yield* Ours.transactional(20_000))
      figures["batch"]?.push(yield* Ours.batch(100_000))
      figures["few"]?.push(yield* Ours.noop(100_000))
      yield* Ours.empty
    }
    // A million waiting: the same 100,000 taken from the front of it.
    yield* Ours.enqueueBulk(backlog)
    yield* sql`vacuum analyze`
    for (let run = 0; run < runs; run++) figures["many"]?.push(yield* Ours.noopOf(100_000))
  })
  await Effect.runPromise(Effect.provide(measure, Ours.layer(server.url(database))))
  await server.sql(`drop database ${database} with (force)`)
  const few = median(figures["few"] ?? [])
  const many = median(figures["many"] ?? [])
  return table(["sluice", "jobs/s"], [
    [
      "transactional handler, one UPDATE in the transaction that settles it",
      whole(median(figures["transactional"] ?? []))
    ],
    ["batch handler, the same effects by the batch", whole(median(figures["batch"] ?? []))],
    ["no-op, 100,000 waiting", whole(few)],
    ["no-op, a million waiting", `${whole(many)} (${((100 * (many - few)) / few).toFixed(0)} %)`]
  ])
}

const withServer = async <A>(use: (server: Server) => Promise<A>): Promise<A> => {
  const given = process.env["DATABASE_URL"]
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  const scope = Scope.makeUnsafe()
  const address = given !== undefined && given !== ""
    ? (database: string) => Object.assign(new URL(given), { pathname: `/${database}` }).toString()
    : await Effect.runPromise(
      Effect.map(Scope.provide(EmbeddedPostgres.make({ directory }), scope), ({ socketPath }) => {
        const host = socketPath.slice(0, socketPath.lastIndexOf("/"))
        return (database: string) => `postgres://sluice@localhost/${database}?host=${host}`
      })
    )
  const sql = (statement: string, database = "postgres") =>
    Effect.runPromise(
      Effect.scoped(Effect.flatMap(
        PgClient.makeClient({ url: Redacted.make(address(database)) }),
        (client) => client.unsafe<Record<string, unknown>>(statement)
      )).pipe(Effect.provide(Reactivity.layer))
    )
  try {
    return await use({ url: address, sql })
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    rmSync(directory, { recursive: true, force: true })
  }
}

export const run = async (options: BenchOptions): Promise<string> => {
  installPeers()
  return await withServer(async (server) => `${await side(server, options.runs)}\n\n${await own(server, options.runs)}`)
}
