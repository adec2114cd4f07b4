/** Exactly-once orders per second of one process with one hot merchant: accepted before, worked off as fast as it can. Prints JSON. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as Database from "../../src/layers/postgres/Database.ts"
import * as OrdersApp from "../../src/programs/orders/App.ts"
import { customerId, sku } from "../../src/programs/orders/Seed.ts"
import * as Main from "../../src/programs/process/Main.ts"
import * as OrderWorker from "../../src/programs/work/OrderWorker.ts"
import { JobWorker } from "../../src/services/jobs/JobWorker.ts"
import { isSound, Ledger } from "../../src/services/orders/Ledger.ts"
import { Orders } from "../../src/services/orders/Orders.ts"

const [run = "run", count = "1000", batch = "500"] = process.argv.slice(2)
const total = Number(count)

const program = Effect.gen(function*() {
  const orders = yield* Orders
  const ledger = yield* Ledger
  const sql = yield* SqlClient.SqlClient
  yield* Effect.forEach(
    Array.from({ length: total }, (_, index) => index),
    // Products that are not shipped: the order is complete when it is paid.
    (index) =>
      orders.accept(`${run}-${index}`, {
        customerId: customerId(1 + index % 1000),
        items: [{ sku: sku(1 + 4 * (index % 25)), quantity: 1 }]
      }),
    { concurrency: 500, discard: true }
  )
  yield* sql`vacuum analyze sluice.orders`
  const cpuBefore = process.cpuUsage()
  const startedAt = performance.now()
  yield* Effect.gen(function*() {
    const worker = yield* JobWorker
    yield* worker.idle
  }).pipe(
    Effect.provide(OrderWorker.layer({ maxSettle: Number(batch), transactions: 3, maxClaim: 2000, poll: "50 millis" }))
  )
  const seconds = (performance.now() - startedAt) / 1000
  const { system, user } = process.cpuUsage(cpuBefore)
  const counts = yield* orders.count
  const open = counts.find(({ status }) => status === "accepted")?.orders ?? 0
  yield* Console.log(JSON.stringify({
    perSecond: (total - open) / seconds,
    cpuMicros: (user + system) / total,
    open,
    isSound: isSound(yield* ledger.audit)
  }))
})

Main.run(
  program.pipe(
    Effect.provide(Layer.merge(Layer.provideMerge(OrdersApp.layer, Database.layerConfig()), NodeServices.layer))
  )
)
