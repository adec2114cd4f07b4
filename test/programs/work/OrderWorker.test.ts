/** Workers of orders in the same process: payments by card that go wrong in every way, and orders that are worked off. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as PostgresCatalog from "../../../src/layers/orders/PostgresCatalog.ts"
import * as PostgresLedger from "../../../src/layers/orders/PostgresLedger.ts"
import * as PostgresOrderProcessor from "../../../src/layers/orders/PostgresOrderProcessor.ts"
import * as PostgresOrders from "../../../src/layers/orders/PostgresOrders.ts"
import * as TestPaymentProvider from "../../../src/layers/orders/TestPaymentProvider.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import type { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import type { JobStore } from "../../../src/services/jobs/JobStore.ts"
import { Catalog } from "../../../src/services/orders/Catalog.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import type { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { allEnded } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

type App = Orders | Ledger | Catalog | OrderProcessor | JobQueue | JobStore

const worker = OrderWorker.layer({ providerTimeout: "100 millis", poll: "20 millis", concurrency: 5 })

const suite = <E>(name: string, app: Layer.Layer<App, E>) =>
  withLayer(
    worker.pipe(Layer.provideMerge(TestPaymentProvider.layerTest), Layer.provideMerge(app)),
    { excludeTestServices: true }
  )(`OrderWorker: ${name}`, (it) => {
    it.effect("a hundred orders, good and bad, all end, and the books balance", () =>
      Effect.gen(function*() {
        yield* Shop.open(["rich", "poor"], 100_000n)
        yield* Shop.stock([
          Shop.product("w1"),
          Shop.product("w2", { isShipped: true }),
          Shop.product("w3", { onHand: 5 })
        ])
        const orders = yield* Orders
        const ids = yield* Effect.forEach(
          Array.from({ length: 100 }, (_, index) => index),
          (index) =>
            Effect.map(
              orders.accept(`w-${index}`, {
                customerId: "rich",
                items: [{ sku: ["w1", "w2", "w3"][index % 3]!, quantity: 1 }]
              }),
              ({ value }) => value.id
            ),
          { concurrency: 20 }
        )
        const ended = yield* allEnded(ids)
        const counts = Map.groupBy(ended, (order) => order.failure ?? order.status)
        assert.strictEqual(counts.get("OutOfStock")?.length, 33 - 5)
        assert.strictEqual(counts.get("completed")?.length, 100 - 28)
        const ledger = yield* Ledger
        assert.isTrue(isSound(yield* ledger.audit))
        assert.strictEqual((yield* ledger.find("rich")).balance, 100_000n - 72n * 250n)
      }), 180_000)

    it.effect("whatever the payment provider does, a card is charged once or not at all", () =>
      Effect.gen(function*() {
        yield* Shop.stock([Shop.product("card-w", { onHand: 100 })])
        const orders = yield* Orders
        const payments = yield* TestPaymentProvider.PaymentScript
        const scripts: ReadonlyArray<ReadonlyArray<TestPaymentProvider.Behaviour>> = [
          [],
          ["decline"],
          ["fail", "fail", "charge"],
          ["hang", "charge"],
          ["dieAfterCharging"],
          ["hangAfterCharging"],
          ["fail", "hang", "dieAfterCharging"],
          ["fail", "decline"]
        ]
        const ids = yield* Effect.forEach(scripts, (script, index) =>
          Effect.gen(function*() {
            yield* Shop.open([`carl-${index}`], 0n)
            yield* payments.script(`carl-${index}`, script)
            const { value } = yield* orders.accept(`card-w-${index}`, {
              customerId: `carl-${index}`,
              items: [{ sku: "card-w", quantity: index + 1 }],
              payment: "card"
            })
            return value.id
          }))
        const ended = yield* allEnded(ids)
        const charges = yield* payments.charges
        for (const [index, order] of ended.entries()) {
          const isDeclined = scripts[index]!.includes("decline")
          assert.strictEqual(order.status, isDeclined ? "failed" : "completed", JSON.stringify(scripts[index]))
          assert.strictEqual(charges.get(order.id), isDeclined ? undefined : order.total)
          if (isDeclined) assert.strictEqual(order.failure, "PaymentDeclined")
        }
        const ledger = yield* Ledger
        const charged = [...charges.values()].reduce((sum, amount) => sum + amount, 0n)
        // The ledger says that the provider owes us exactly what it has charged.
        const clearing = yield* ledger.find("card-clearing.EUR")
        assert.deepStrictEqual([clearing.balance, clearing.held], [-charged, 0n])
        const catalog = yield* Catalog
        const product = yield* catalog.find("card-w")
        assert.strictEqual(product.reserved, 0)
        assert.strictEqual(product.onHand + product.sold, 100)
        assert.isTrue(isSound(yield* ledger.audit))
      }), 180_000)
  })

suite("memory", Harness.memory)
suite(
  "Postgres",
  Layer.mergeAll(PostgresLedger.layer, PostgresCatalog.layer, PostgresOrders.layer, PostgresOrderProcessor.layer).pipe(
    Layer.provideMerge(PostgresJobQueue.layer),
    Layer.provideMerge(TestDatabase.layer)
  )
)
