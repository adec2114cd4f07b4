/** Several processes on one database: their pools and micro-batches know nothing of each other, their keys do. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import { eventually } from "../../support/eventually.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** The orders of another process. */
const elsewhere = Effect.map(
  Layer.build(Layer.fresh(Layer.provide(OrdersApp.layer, TestDatabase.secondPool({ poolMax: 4 })))),
  (context) => Context.get(context, Orders)
)

withLayer(app, { excludeTestServices: true })("orders of several processes", (it) => {
  it.effect(
    "the same keys sent to three processes at once make one order each, and all get the same answer",
    () =>
      Effect.gen(function*() {
        yield* Shop.open(["share"], 1_000_000n)
        yield* Shop.stock([Shop.product("share-1")])
        const processes = [yield* Orders, yield* elsewhere, yield* elsewhere]
        const answers = yield* Effect.forEach(
          Array.from({ length: 300 }, (_, index) => index),
          (index) =>
            processes[index % 3]!.accept(`share-${Math.floor(index / 3)}`, {
              customerId: "share",
              items: [{ sku: "share-1", quantity: 1 }]
            }),
          { concurrency: "unbounded" }
        )
        for (let key = 0; key < 100; key++) {
          const of = answers.slice(key * 3, key * 3 + 3)
          assert.strictEqual(new Set(of.map(({ value }) => value.id)).size, 1)
          assert.strictEqual(of.filter(({ isReplayed }) => !isReplayed).length, 1)
        }
        const orders = yield* Orders
        assert.strictEqual((yield* orders.list({ customerId: "share", limit: 200 })).orders.length, 100)
      }),
    30_000
  )

  it.effect("in one process, the same key at once is answered once and in flight for the others", () =>
    Effect.gen(function*() {
      yield* Shop.open(["same"], 1_000_000n)
      yield* Shop.stock([Shop.product("same-1")])
      const orders = yield* Orders
      const request = { customerId: "same", items: [{ sku: "same-1", quantity: 1 }] }
      const tags = yield* Effect.forEach(
        Array.from({ length: 10 }),
        () =>
          Effect.match(orders.accept("same", request), {
            onFailure: (error) => error._tag as string,
            onSuccess: ({ isReplayed }) => isReplayed ? "replayed" : "first"
          }),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(tags.filter((tag) => tag === "first").length, 1)
      assert.isTrue(tags.every((tag) => tag === "first" || tag === "KeyInFlight" || tag === "replayed"), tags.join())
      assert.isTrue((yield* orders.accept("same", request)).isReplayed)
    }))

  it.effect("a caller who leaves while its order is written does not block its key", () =>
    Effect.gen(function*() {
      yield* Shop.open(["leave"], 1_000_000n)
      yield* Shop.stock([Shop.product("leave-1")])
      const orders = yield* Orders
      const request = { customerId: "leave", items: [{ sku: "leave-1", quantity: 1 }] }
      yield* Effect.forEach(
        Array.from({ length: 30 }, (_, index) => index),
        (index) => Effect.timeoutOption(orders.accept(`leave-${index}`, request), index % 4),
        { concurrency: 5 }
      )
      const all = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, index) => index),
        (index) =>
          eventually(
            Effect.catchTag(orders.accept(`leave-${index}`, request), "KeyInFlight", () => Effect.undefined),
            (accepted) => accepted !== undefined
          )
      )
      assert.strictEqual(new Set(all.map((accepted) => accepted?.value.id)).size, 30)
      assert.strictEqual((yield* orders.list({ customerId: "leave", limit: 200 })).orders.length, 30)
    }))

  it.effect("paying an order is the cheap kind of update, and rare statuses are found by index", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const orders = yield* Orders
      const processor = yield* OrderProcessor
      yield* Shop.open(["hot"], 1_000_000n)
      yield* Shop.stock([Shop.product("hot-1", { onHand: 90 })])
      const ids = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, index) => index),
        (index) =>
          Effect.map(
            orders.accept(`hot-${index}`, { customerId: "hot", items: [{ sku: "hot-1", quantity: 1 }] }),
            ({ value }) => value.id
          ),
        { concurrency: "unbounded" }
      )
      const where = yield* sql<
        { readonly ctid: string }
      >`select split_part(ctid::text, ',', 1) as ctid from sluice.orders where customer_id = 'hot' order by id`
      yield* processor.settle(ids.slice(0, 50))
      const after = yield* sql<
        { readonly ctid: string }
      >`select split_part(ctid::text, ',', 1) as ctid from sluice.orders where customer_id = 'hot' order by id`
      // Most new versions stay on the page of the old one, so that no index has to hear of them.
      assert.isAbove(after.filter((row, index) => row.ctid === where[index]?.ctid).length, 80)
      yield* processor.settle(ids.slice(50))
      assert.strictEqual((yield* orders.list({ status: "failed", customerId: "hot", limit: 200 })).orders.length, 10)
      const plan = yield* sql.withTransaction(Effect.gen(function*() {
        // A table of a few pages is read whole; what is asked is whether the index can serve at all.
        yield* sql`set local enable_seqscan = off`
        yield* sql`set local enable_sort = off`
        return yield* sql.unsafe<Record<string, string>>(
          "explain select id from sluice.orders where status = 'failed' and failure is not null order by id desc limit 50"
        )
      }))
      assert.include(plan.map((row) => Object.values(row).join()).join("\n"), "orders_failed")
    }))
})
