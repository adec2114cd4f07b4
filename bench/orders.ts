/**
 * Orders: placed, read and listed over HTTP beside fastify with `postgres` and with `pg`, one statement for one request; and worked off in batches against one by one.
 * All on one durable embedded server. Each contender in a process of its own, one after the other in each round, so that a slow minute of the machine is everyone's.
 * The peers are installed into bench/peers when they are first needed.
 */
import { Effect, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Database from "../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../src/layers/postgres/EmbeddedPostgres.ts"
import * as OrdersApp from "../src/programs/orders/OrdersApp.ts"
import { customerId, seed, sku } from "../src/programs/orders/seed.ts"
import { Orders } from "../src/services/orders/Orders.ts"
import type { BenchOptions } from "./main.ts"

const peers = { fastify: "5.12.8", postgres: "3.4.9", pg: "8.23.1", autocannon: "9.0.0" }
const connections = 64
const kinds = ["GET", "LIST", "POST"] as const
type Kind = (typeof kinds)[number]
const contenders = ["sluice", "fastify + postgres", "fastify + pg"] as const

const installPeers = (): void => {
  const directory = join(import.meta.dirname, "peers")
  const wanted = JSON.stringify({ private: true, dependencies: peers }, null, 2)
  const manifest = join(directory, "package.json")
  if (existsSync(join(directory, "node_modules")) && readFileSync(manifest, "utf8") === wanted) return
  mkdirSync(directory, { recursive: true })
  writeFileSync(manifest, wanted)
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock"], { cwd: directory, stdio: "inherit" })
}

interface Figures {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly failed: number
  /** CPU of the server's process for one request; NaN where the system does not tell. */
  readonly cpuMicros: number
}

/** User and system time of a process in microseconds (Linux). */
const cpuMicros = (pid: number): number => {
  if (!existsSync(`/proc/${pid}/stat`)) return Number.NaN
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

const firstLine = (child: ChildProcess): Promise<string> => {
  const { promise, reject, resolve } = Promise.withResolvers<string>()
  child.stdout?.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))
  child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)))
  return promise
}

const output = (args: ReadonlyArray<string>, env: NodeJS.ProcessEnv): Promise<string> => {
  const { promise, reject, resolve } = Promise.withResolvers<string>()
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], env })
  let text = ""
  child.stdout.on("data", (chunk: Buffer) => text += chunk.toString())
  child.on("exit", (code) => code === 0 ? resolve(text) : reject(new Error(`${args[0]} ended with ${code}`)))
  return promise
}

interface World {
  readonly env: NodeJS.ProcessEnv
  readonly socketDirectory: string
  readonly ids: ReadonlyArray<string>
}

const serverOf = (contender: (typeof contenders)[number], world: World): ChildProcess => {
  const here = (file: string) => join(import.meta.dirname, "orders", file)
  const args = contender === "sluice"
    ? [here("sluice.ts")]
    : [here("fastify.mjs"), contender === "fastify + pg" ? "pg" : "postgres", world.socketDirectory]
  return spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...world.env, NODE_ENV: "production" }
  })
}

let runs = 0

/** One contender under one kind of load, after a second of warming up. */
const measure = async (
  contender: (typeof contenders)[number],
  kind: Kind,
  seconds: number,
  world: World
): Promise<Figures> => {
  const server = serverOf(contender, world)
  const url = await firstLine(server)
  const load = async (duration: number) => {
    runs += 1
    const told = JSON.stringify({
      url,
      kind,
      seconds: duration,
      connections,
      ids: kind === "GET" ? world.ids : [],
      run: `bench-${process.pid}-${runs}`
    })
    return JSON.parse(await output([join(import.meta.dirname, "orders/load.mjs"), told], world.env)) as
      & Omit<Figures, "cpuMicros">
      & { requests: number }
  }
  await load(1)
  const before = cpuMicros(server.pid ?? 0)
  const { requests, ...figures } = await load(seconds)
  const cpu = (cpuMicros(server.pid ?? 0) - before) / requests
  const ended = new Promise((resolve) => server.once("exit", resolve))
  server.kill("SIGTERM")
  await ended
  return { ...figures, cpuMicros: cpu }
}

const prepare = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const orders = yield* Orders
  yield* seed({ customers: 1000, products: 100, funds: 100_000_000n, stock: 1_000_000_000 })
  yield* sql`create table bench_jobs (id bigint generated always as identity primary key, payload jsonb not null, created_at timestamptz not null default now())`
  const receipts = yield* Effect.forEach(
    Array.from({ length: 10_000 }, (_, index) => index),
    (index) =>
      orders.accept(`prepared-${index}`, {
        customerId: customerId(1 + index % 1000),
        items: [{ sku: sku(1 + index % 100), quantity: 1 }]
      }),
    { concurrency: 200 }
  )
  yield* sql`vacuum analyze`
  return receipts.slice(0, 1000).map(({ value }) => value.id)
})

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const whole = (value: number): string => Number.isNaN(value) ? "" : Math.round(value).toLocaleString("en-US")
const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const httpTable = async ({ runs, seconds }: BenchOptions, world: World): Promise<string> => {
  const all = new Map<string, Array<Figures>>()
  for (let round = 1; round <= runs; round++) {
    for (const kind of kinds) {
      for (const contender of contenders) {
        const figures = await measure(contender, kind, seconds, world)
        all.set(`${kind} ${contender}`, [...all.get(`${kind} ${contender}`) ?? [], figures])
        console.error(
          `${round}/${runs} ${kind} ${contender}: ${whole(figures.perSecond)}/s, p99 ${figures.p99} ms, ${
            whole(figures.cpuMicros)
          } us of CPU, ${figures.failed} failed`
        )
      }
    }
  }
  const of = (key: string, figure: (figures: Figures) => number) => median((all.get(key) ?? []).map(figure))
  const lines = kinds.flatMap((kind) => {
    const best = Math.max(...contenders.slice(1).map((name) => of(`${kind} ${name}`, (figures) => figures.perSecond)))
    return contenders.map((name) => {
      const key = `${kind} ${name}`
      const perSecond = of(key, (figures) => figures.perSecond)
      return row([
        kind,
        name === "sluice" ? "**Sluice**" : name,
        whole(perSecond),
        (perSecond / best).toFixed(2),
        String(of(key, (figures) => figures.p50)),
        String(of(key, (figures) => figures.p99)),
        whole(of(key, (figures) => figures.cpuMicros)),
        whole(of(key, (figures) => figures.failed))
      ])
    })
  })
  return [
    `${connections} connections, no pipelining, one server process, load (autocannon) and database on the same machine. POST writes order, idempotency key and job durably before it answers.`,
    "",
    row(["request", "server", "requests/s", "of the best peer", "p50 ms", "p99 ms", "CPU us/request", "failed"]),
    row(["---", "---", "--:", "--:", "--:", "--:", "--:", "--:"]),
    ...lines
  ].join("\n")
}

interface Processed {
  readonly perSecond: number
  readonly cpuMicros: number
  readonly open: number
  readonly isSound: boolean
}

const processTable = async ({ runs, seconds }: BenchOptions, world: World): Promise<string> => {
  const sizes = [500, 100, 1] as const
  const lines: Array<string> = []
  for (const size of sizes) {
    const figures: Array<Processed> = []
    for (let round = 1; round <= runs; round++) {
      const count = size === 1 ? 400 * seconds : 4000 * seconds
      const args = [
        join(import.meta.dirname, "orders/process.ts"),
        `process-${size}-${round}-${process.pid}`,
        String(count),
        String(size)
      ]
      const figure = JSON.parse(await output(args, world.env)) as Processed
      if (figure.open !== 0 || !figure.isSound) {
        throw new Error(`orders are left or the books do not balance: ${JSON.stringify(figure)}`)
      }
      figures.push(figure)
      console.error(
        `${round}/${runs} batches of ${size}: ${whole(figure.perSecond)} orders/s, ${whole(figure.cpuMicros)} us of CPU`
      )
    }
    lines.push(
      row([
        size === 1 ? "one by one" : `up to ${size}`,
        whole(median(figures.map((each) => each.perSecond))),
        whole(median(figures.map((each) => each.cpuMicros)))
      ])
    )
  }
  return [
    "Exactly-once orders with one hot merchant, worked off by one process: claim, fenced settle, state, two ledger entries, balances and stock. The books balanced after every run.",
    "",
    row(["orders in one transaction", "orders/s", "CPU us/order of the worker"]),
    row(["---", "--:", "--:"]),
    ...lines
  ].join("\n")
}

/** A durable database of its own for each table: what one leaves is not part of the other's figures. */
const onDatabase = async (table: (world: World) => Promise<string>): Promise<string> => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  chmodSync(directory, 0o755)
  const layer = Layer.mergeAll(
    Layer.provideMerge(OrdersApp.layer, Database.layer({ directory, poolMax: 4 })),
    EmbeddedPostgres.layer({ directory })
  )
  const bench = Effect.gen(function*() {
    const { socketPath } = yield* EmbeddedPostgres.EmbeddedPostgres
    const ids = yield* prepare
    const env = { ...process.env, SLUICE_DATA_DIR: directory, DATABASE_URL: "" }
    return yield* Effect.promise(() => table({ env, ids, socketDirectory: dirname(socketPath) }))
  })
  try {
    return await Effect.runPromise(Effect.provide(bench, layer))
  } finally {
    await sleep(500)
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The tables of orders. */
export const run = async (options: BenchOptions): Promise<string> => {
  installPeers()
  const http = await onDatabase((world) => httpTable(options, world))
  const processing = await onDatabase((world) => processTable(options, world))
  return `${http}\n\n${processing}`
}
