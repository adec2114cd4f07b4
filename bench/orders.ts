/**
 * Orders: placed, read and listed over HTTP beside peers that do one statement for one request, and beside services
 * that have one request at a time (`orders/http.ts`); and worked off in batches against one by one. All on one durable
 * embedded server. The peers in Node are installed into bench/peers when they are first needed; wrk and those in Python
 * come from the system, or their rows are empty.
 */
import { Effect, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Database from "../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../src/layers/postgres/EmbeddedPostgres.ts"
import * as OrdersApp from "../src/programs/orders/App.ts"
import { customerId, seed, sku } from "../src/programs/orders/Seed.ts"
import { Orders } from "../src/services/orders/Orders.ts"
import type { BenchOptions } from "./main.ts"
import { find } from "./orders/contenders.ts"
import { httpTables } from "./orders/http.ts"
import { median, output, row, stopAll, whole, type World } from "./orders/measures.ts"

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
      // About two seconds at full speed: in less, the first claim and a cold process are a good part of the figure.
      const count = size === 1 ? 400 * seconds : 8000 * seconds
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
    const { processes, socketPath } = yield* EmbeddedPostgres.EmbeddedPostgres
    const { serverPid } = yield* processes
    const ids = yield* prepare
    const env = { ...process.env, SLUICE_DATA_DIR: directory, DATABASE_URL: undefined }
    return yield* Effect.promise(() => table({ env, ids, serverPid, socketDirectory: dirname(socketPath) }))
  })
  const stop = new AbortController()
  const onSignal = () => {
    stop.abort()
    stopAll()
  }
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal)
  try {
    return await Effect.runPromise(Effect.provide(bench, layer), { signal: stop.signal })
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal)
    await sleep(500)
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The tables of orders. */
export const run = async (options: BenchOptions): Promise<string> => {
  const found = find()
  const http = await onDatabase((world) => httpTables(options, found, world))
  const processing = await onDatabase((world) => processTable(options, world))
  return `${http}\n\n${processing}`
}
