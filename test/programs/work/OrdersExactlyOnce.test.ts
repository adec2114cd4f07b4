/**
 * Exactly once: clients that send the same orders again and again, while workers are killed, stopped and continued,
 * backends are terminated and the server is killed. At the end every accepted order has ended in one way, with two
 * ledger sides when it was paid, and nothing was made or lost.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Random, Ref, Schedule, type Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { fileURLToPath } from "node:url"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { Catalog } from "../../../src/services/orders/Catalog.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import * as Child from "../../support/Child.ts"
import { allEnded } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const orderCount = isLong ? 3000 : 120
const chaosRounds = isLong ? 60 : 6
const customers = ["c1", "c2", "c3", "c4", "c5"]
const stockEach = isLong ? 1200 : 50

const program = fileURLToPath(new URL("../../../src/programs/bin/orderWorker.ts", import.meta.url))

/** A worker process; what `replace` starts after a kill. */
const startWorker = (directory: string) =>
  Effect.gen(function*() {
    const child = yield* Child.start(program, [], {
      env: { SLUICE_DATA_DIR: directory, SLUICE_PICKING: "15ms", DATABASE_URL: undefined }
    })
    yield* Effect.orDie(Queue.take(child.lines))
    return child
  })

/** One order, sent until it is answered, and then some more times: every answer must be the first one. */
const place = Effect.fnUntraced(function*(index: number) {
  const orders = yield* Orders
  const random = yield* Random.nextIntBetween(1, 4)
  const once = orders.accept(`key-${index}`, {
    customerId: customers[index % customers.length]!,
    items: [{ sku: `sku-${index % 3}`, quantity: 1 + index % 2 }]
  }).pipe(Effect.retry({
    schedule: Schedule.spaced("30 millis"),
    while: (error) => (error._tag === "OrdersStoreError" && error.reason !== "Rejected") || error._tag === "KeyInFlight"
  }))
  const first = yield* once
  for (let again = 0; again < random; again++) {
    yield* Effect.sleep(yield* Random.nextIntBetween(1, 40))
    const other = yield* once
    assert.deepStrictEqual(other.value, first.value)
    assert.isTrue(other.isReplayed)
  }
  return first.value.id
})

type Chaos = "kill" | "stop" | "backends" | "server"

const chaos = Effect.fnUntraced(function*(directory: string, workers: Ref.Ref<ReadonlyArray<Child.Child>>) {
  const sql = yield* SqlClient.SqlClient
  const { processes } = yield* EmbeddedPostgres.EmbeddedPostgres
  const done: Array<Chaos> = []
  const actions: Record<Chaos, Effect.Effect<unknown, never, Scope.Scope>> = {
    kill: Effect.gen(function*() {
      const [victim, ...rest] = yield* Ref.get(workers)
      victim?.process.kill("SIGKILL")
      yield* Ref.set(workers, [...rest, yield* startWorker(directory)])
    }),
    stop: Effect.gen(function*() {
      const [frozen, ...rest] = yield* Ref.get(workers)
      frozen?.process.kill("SIGSTOP")
      // Past its lease: the others take its jobs over, and it wakes up as a zombie.
      yield* Effect.sleep("5 seconds")
      frozen?.process.kill("SIGCONT")
      yield* Ref.set(workers, frozen === undefined ? rest : [...rest, frozen])
    }),
    backends: Effect.ignore(
      sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'sluice%' and pid <> pg_backend_pid()`
    ),
    // Where it is being started again, until there is one to kill.
    server: Effect.flatMap(processes, ({ serverPid }) => Effect.sync(() => process.kill(serverPid, "SIGKILL"))).pipe(
      Effect.sandbox,
      Effect.retry(Schedule.spaced("50 millis")),
      Effect.orDie
    )
  }
  const order: ReadonlyArray<Chaos> = ["kill", "backends", "stop", "kill", "server", "backends"]
  for (let round = 0; round < chaosRounds; round++) {
    const action = order[round % order.length]!
    yield* actions[action]
    done.push(action)
    yield* Effect.sleep(yield* Random.nextIntBetween(100, 500))
  }
  return done
})

const checkLedger = Effect.fnUntraced(function*(ids: ReadonlyArray<string>) {
  const sql = yield* SqlClient.SqlClient
  const ended = yield* allEnded(ids)
  assert.strictEqual(new Set(ids).size, orderCount)
  assert.isTrue(ended.every((order) => order.status === "completed" || order.failure === "OutOfStock"))
  const sides = new Map((yield* sql<{ readonly source: string; readonly sides: bigint; readonly sum: string }>`
    select source, count(*) as sides, sum(amount)::text as sum from sluice.ledger_entries where kind = 'payment' group by source`)
    .map((row) => [row.source, row]))
  for (const order of ended) {
    const entry = sides.get(order.id)
    if (order.status === "completed") assert.deepStrictEqual([entry?.sides, entry?.sum], [2n, "0"])
    else assert.isUndefined(entry)
  }
  const ledger = yield* Ledger
  assert.isTrue(isSound(yield* ledger.audit))
  const catalog = yield* Catalog
  for (const index of [0, 1, 2]) {
    const product = yield* catalog.find(`sku-${index}`)
    const sold = ended.filter((order) => order.status === "completed" && order.items[0]?.sku === product.sku)
      .reduce((sum, order) => sum + (order.items[0]?.quantity ?? 0), 0)
    assert.deepStrictEqual([product.onHand + product.sold, product.reserved, product.sold], [stockEach, 0, sold])
  }
})

it.live(
  "orders are paid and shipped exactly once, whatever dies",
  () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const layer = Layer.mergeAll(
        Layer.provideMerge(OrdersApp.layer, Database.layer({ directory })),
        EmbeddedPostgres.layer({ directory })
      )
      yield* Effect.gen(function*() {
        yield* Shop.open(customers, 1_000_000n)
        yield* Shop.stock(
          [0, 1, 2].map((index) => Shop.product(`sku-${index}`, { onHand: stockEach, isShipped: index === 1 }))
        )
        const workers = yield* Ref.make<ReadonlyArray<Child.Child>>(
          yield* Effect.forEach([1, 2, 3], () => startWorker(directory), { concurrency: 3 })
        )
        const trouble = yield* Effect.forkChild(chaos(directory, workers), { startImmediately: true })
        const ids = yield* Effect.forEach(
          Array.from({ length: orderCount }, (_, index) => index),
          (index) => Effect.delay(place(index), (index % 8) * 20),
          { concurrency: 8 }
        )
        const done = yield* Fiber.join(trouble)
        assert.strictEqual(done.length, chaosRounds)
        // The last trouble may still be in the pool's connections.
        yield* Effect.retry(checkLedger(ids), { schedule: Schedule.spaced("200 millis"), times: 50 })
      }).pipe(Effect.provide(layer))
    }),
  isLong ? 900_000 : 180_000
)
