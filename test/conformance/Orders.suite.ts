/** What orders do, whatever they are kept in. The jobs that they enqueue are written down and worked off by hand here. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Fiber, type Layer, Schema, Stream } from "effect"
import { Catalog } from "../../src/services/orders/Catalog.ts"
import { isSound, Ledger } from "../../src/services/orders/Ledger.ts"
import type { OrderRequest } from "../../src/services/orders/Order.ts"
import { OrderProcessor } from "../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../src/services/orders/Orders.ts"
import { maxStock, Product } from "../../src/services/orders/Product.ts"
import { EnqueuedJobs } from "../support/EnqueuedJobs.ts"
import * as Shop from "../support/Shop.ts"

const of = (customerId: string, sku: string, quantity = 1, more: Partial<OrderRequest> = {}): OrderRequest => ({
  customerId,
  items: [{ sku, quantity }],
  ...more
})

const sound = Effect.flatMap(
  Ledger,
  (ledger) =>
    Effect.map(
      ledger.audit,
      (lines) => assert.isTrue(isSound(lines), lines.map((line) => Object.values(line).join(" ")).join("; "))
    )
)

const balance = (id: string) =>
  Effect.flatMap(Ledger, (ledger) => Effect.map(ledger.find(id), (account) => account.balance))

const stockOf = (sku: string) =>
  Effect.flatMap(
    Catalog,
    (catalog) => Effect.map(catalog.find(sku), (product) => [product.onHand, product.reserved, product.sold])
  )

const isProduct = Schema.is(Product)

const jobsOf = (orderId: string) => Effect.flatMap(EnqueuedJobs, (jobs) => jobs.kindsFor(orderId))

export const suite = <E>(
  name: string,
  layer: Layer.Layer<Ledger | Catalog | Orders | OrderProcessor | EnqueuedJobs, E>
) =>
  withLayer(layer, { excludeTestServices: true })(`Orders: ${name}`, (it) => {
    it.effect("accepts an order once for each key, with the job that pays it", () =>
      Effect.gen(function*() {
        yield* Shop.open(["once"], 1000n)
        yield* Shop.stock([Shop.product("once-1")])
        const orders = yield* Orders
        const first = yield* orders.accept("once", of("once", "once-1", 2, { note: "für Ännchen ☃" }), "req-1")
        const second = yield* orders.accept("once", of("once", "once-1", 2, { note: "für Ännchen ☃" }))
        assert.isFalse(first.isReplayed)
        assert.isTrue(second.isReplayed)
        assert.deepStrictEqual(second.value, first.value)
        assert.strictEqual(first.value.status, "accepted")
        assert.strictEqual(first.value.total, 500n)
        assert.deepStrictEqual(yield* orders.find(first.value.id), first.value)
        assert.deepStrictEqual(yield* jobsOf(first.value.id), ["orders.settle"])
        const error = yield* Effect.flip(orders.accept("once", of("once", "once-1", 3)))
        assert.strictEqual(error._tag, "KeyReused")
      }))

    it.effect("an order is priced as the catalog is when it is accepted, also for those that come together", () =>
      Effect.gen(function*() {
        yield* Shop.open(["prices"], 1000n)
        yield* Shop.stock([Shop.product("prices-1"), Shop.product("prices-2")])
        const orders = yield* Orders
        const accept = (key: string, sku: string) =>
          Effect.map(orders.accept(key, of("prices", sku)), ({ value }) => value.total)
        assert.strictEqual(yield* accept("prices-a", "prices-1"), 250n)
        yield* Shop.stock([{ ...Shop.product("prices-1"), price: 300n }])
        const totals = yield* Effect.all([
          accept("prices-b", "prices-1"),
          accept("prices-c", "prices-2"),
          accept("prices-d", "prices-1")
        ], { concurrency: "unbounded" })
        assert.deepStrictEqual(totals, [300n, 250n, 300n])
        const refused = yield* Effect.flip(orders.accept("prices-e", of("prices", "prices-3")))
        assert.strictEqual(refused._tag, "OrderRefused")
        yield* Shop.stock([Shop.product("prices-3")])
        assert.strictEqual(yield* accept("prices-e", "prices-3"), 250n)
        assert.deepStrictEqual(yield* jobsOf((yield* orders.accept("prices-d", of("prices", "prices-1"))).value.id), [
          "orders.settle"
        ])
      }))

    it.effect("a replay is the first answer, whatever has become of the order", () =>
      Effect.gen(function*() {
        yield* Shop.open(["replay"], 1000n)
        yield* Shop.stock([Shop.product("replay-1")])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const first = yield* orders.accept("replay", of("replay", "replay-1"))
        const settled = yield* processor.settle([first.value.id])
        assert.strictEqual(settled[0]?.status, "completed")
        const again = yield* orders.accept("replay", of("replay", "replay-1"))
        assert.deepStrictEqual(again.value, first.value)
      }))

    it.effect("refuses what no later step could pay, and leaves the key free", () =>
      Effect.gen(function*() {
        yield* Shop.open(["refuse"], 1000n)
        const ledger = yield* Ledger
        yield* ledger.open([{ id: "refuse.usd", currency: "USD", allowNegative: false }])
        yield* Shop.stock([
          Shop.product("refuse-1"),
          Shop.product("refuse-own", { seller: "refuse" }),
          Shop.product("refuse-dear", { price: 999_999_999_999_999n })
        ])
        const orders = yield* Orders
        const refusals = [
          [of("nobody", "refuse-1"), "UnknownCustomer"],
          [of("refuse", "no-such-sku"), "UnknownSku"],
          [of("refuse.usd", "refuse-1"), "CurrencyMismatch"],
          [of("refuse", "refuse-own"), "BuyerIsSeller"],
          [of("refuse", "refuse-dear", 2), "TotalOutOfRange"]
        ] as const
        for (const [request, reason] of refusals) {
          const error = yield* Effect.flip(orders.accept("refuse", request))
          assert.strictEqual(error._tag === "OrderRefused" ? error.reason : error._tag, reason)
        }
        const taken = yield* orders.accept("refuse", of("refuse", "refuse-1"))
        assert.isFalse(taken.isReplayed)
      }))

    it.effect("a bad order in a crowd is refused alone", () =>
      Effect.gen(function*() {
        yield* Shop.open(["crowd"], 100_000n)
        yield* Shop.stock([Shop.product("crowd-1")])
        const orders = yield* Orders
        const tags = yield* Effect.forEach(
          Array.from({ length: 60 }, (_, index) => index),
          (index) =>
            Effect.match(orders.accept(`crowd-${index}`, of("crowd", index % 7 === 3 ? "nothing" : "crowd-1")), {
              onFailure: (error) => error._tag as string,
              onSuccess: (receipt) => receipt.value.status as string
            }),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(tags, tags.map((_, index) => index % 7 === 3 ? "OrderRefused" : "accepted"))
      }))

    it.effect("pays, moves stock and completes in one step when nothing is shipped", () =>
      Effect.gen(function*() {
        yield* Shop.open(["digital"], 1000n)
        yield* Shop.stock([Shop.product("digital-1", { onHand: 5 })])
        const before = yield* balance("merchant")
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("digital", of("digital", "digital-1", 2))
        const [order] = yield* processor.settle([value.id])
        assert.strictEqual(order?.status, "completed")
        assert.strictEqual(order?.version, 2)
        assert.strictEqual(yield* balance("digital"), 500n)
        assert.strictEqual((yield* balance("merchant")) - before, 500n)
        assert.deepStrictEqual(yield* stockOf("digital-1"), [3, 0, 2])
        // Again: nothing changes.
        yield* processor.settle([value.id, value.id])
        assert.deepStrictEqual(yield* stockOf("digital-1"), [3, 0, 2])
        const ledger = yield* Ledger
        const entries = (yield* ledger.entries("digital")).filter((entry) => entry.source === value.id)
        assert.deepStrictEqual(entries.map((entry) => [entry.kind, entry.amount]), [["payment", -500n]])
        yield* sound
      }))

    it.effect("reserves what has to be shipped, enqueues the shipping, and completes", () =>
      Effect.gen(function*() {
        yield* Shop.open(["parcel"], 1000n)
        yield* Shop.stock([Shop.product("parcel-1", { onHand: 5, isShipped: true })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("parcel", of("parcel", "parcel-1", 2))
        assert.strictEqual((yield* processor.settle([value.id]))[0]?.status, "paid")
        assert.deepStrictEqual(yield* stockOf("parcel-1"), [3, 2, 0])
        assert.deepStrictEqual(yield* jobsOf(value.id), ["orders.settle", "orders.ship"])
        assert.strictEqual((yield* processor.ship([value.id]))[0]?.status, "completed")
        assert.strictEqual((yield* processor.ship([value.id]))[0]?.version, 3)
        assert.deepStrictEqual(yield* stockOf("parcel-1"), [3, 0, 2])
        yield* sound
      }))

    it.effect("in a batch, the orders that cannot be paid fail alone and in order", () =>
      Effect.gen(function*() {
        yield* Shop.open(["batch"], 1000n)
        yield* Shop.stock([Shop.product("batch-1", { onHand: 3 }), Shop.product("batch-2", { price: 600n })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const requests = [
          of("batch", "batch-1", 2),
          of("batch", "batch-1", 2),
          of("batch", "batch-2"),
          of("batch", "batch-1", 1),
          of("batch", "batch-1", 1)
        ]
        const ids = yield* Effect.forEach(
          requests,
          (request, index) => Effect.map(orders.accept(`batch-${index}`, request), ({ value }) => value.id)
        )
        const after = new Map((yield* processor.settle(ids)).map((order) => [order.id, order]))
        const ends = ids.map((id) => after.get(id)?.failure ?? after.get(id)?.status)
        // Ids made in one millisecond may stand in any order: only what must hold for all of them is asked.
        const completed = ends.filter((end) => end === "completed").length
        assert.isTrue(completed >= 1 && completed < 5, ends.join())
        assert.isTrue(
          ends.every((end) => ["completed", "OutOfStock", "InsufficientFunds"].includes(String(end))),
          ends.join()
        )
        const [onHand, reserved, sold] = yield* stockOf("batch-1")
        assert.strictEqual(onHand! + sold!, 3)
        assert.strictEqual(reserved, 0)
        assert.isTrue((yield* balance("batch")) >= 0n)
        yield* sound
      }))

    it.effect("a failed order says why, and nothing of it stays", () =>
      Effect.gen(function*() {
        yield* Shop.open(["poor"], 100n)
        yield* Shop.stock([Shop.product("poor-1"), Shop.product("poor-2", { price: 1n, onHand: 1 })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const dear = yield* orders.accept("poor-1", of("poor", "poor-1"))
        const many = yield* orders.accept("poor-2", of("poor", "poor-2", 2))
        const settled = yield* processor.settle([dear.value.id, many.value.id])
        assert.deepStrictEqual(
          settled.map((order) => `${order.status} ${order.failure}`).sort(),
          ["failed InsufficientFunds", "failed OutOfStock"]
        )
        assert.strictEqual(yield* balance("poor"), 100n)
        assert.deepStrictEqual(yield* stockOf("poor-2"), [1, 0, 0])
      }))

    it.effect("cancelling gives back money and stock, once, and only while it can", () =>
      Effect.gen(function*() {
        yield* Shop.open(["cancel"], 1000n)
        yield* Shop.stock([Shop.product("cancel-1", { onHand: 4, isShipped: true })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const early = yield* orders.accept("cancel-1", of("cancel", "cancel-1"))
        assert.strictEqual((yield* orders.cancel(early.value.id)).status, "cancelled")
        // The job that comes late finds nothing to do.
        assert.strictEqual((yield* processor.settle([early.value.id]))[0]?.status, "cancelled")
        const late = yield* orders.accept("cancel-2", of("cancel", "cancel-1", 2))
        yield* processor.settle([late.value.id])
        assert.strictEqual(yield* balance("cancel"), 500n)
        const stale = yield* Effect.flip(orders.cancel(late.value.id, { ifVersion: 1 }))
        assert.strictEqual(stale._tag, "OrderVersionMismatch")
        assert.strictEqual((yield* orders.cancel(late.value.id, { ifVersion: 2 })).version, 3)
        assert.strictEqual(yield* balance("cancel"), 1000n)
        assert.deepStrictEqual(yield* stockOf("cancel-1"), [4, 0, 0])
        const again = yield* Effect.flip(orders.cancel(late.value.id))
        assert.strictEqual(again._tag, "OrderStateConflict")
        assert.strictEqual((yield* processor.ship([late.value.id]))[0]?.status, "cancelled")
        const unknown = yield* Effect.flip(orders.cancel("00000000-0000-7000-8000-000000000000"))
        assert.strictEqual(unknown._tag, "OrderNotFound")
        yield* sound
      }))

    it.effect("an order is cancelled or shipped, never both", () =>
      Effect.gen(function*() {
        yield* Shop.open(["either"], 100_000n)
        yield* Shop.stock([Shop.product("either-1", { isShipped: true })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const ids = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, index) => index),
          (index) => Effect.map(orders.accept(`either-${index}`, of("either", "either-1")), ({ value }) => value.id),
          { concurrency: "unbounded" }
        )
        yield* processor.settle(ids)
        yield* Effect.all([
          Effect.forEach(ids, (id) => Effect.ignore(orders.cancel(id)), { concurrency: 5 }),
          Effect.forEach(ids, (id) => processor.ship([id]), { concurrency: 5 })
        ], { concurrency: 2 })
        const ends = yield* Effect.forEach(ids, (id) => Effect.map(orders.find(id), (order) => order.status))
        const cancelled = ends.filter((status) => status === "cancelled").length
        assert.strictEqual(ends.filter((status) => status === "completed").length, 20 - cancelled)
        assert.strictEqual(yield* balance("either"), 100_000n - BigInt(20 - cancelled) * 250n)
        assert.deepStrictEqual(yield* stockOf("either-1"), [1000 - (20 - cancelled), 0, 20 - cancelled])
        yield* sound
      }))

    it.effect("what is reserved keeps its room: nothing that comes back is too much", () =>
      Effect.gen(function*() {
        yield* Shop.open(["filler"], 1_000_000n)
        yield* Shop.stock([Shop.product("full", { isShipped: true, price: 1n, onHand: maxStock - 1 })])
        const catalog = yield* Catalog
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("full-1", {
          customerId: "filler",
          items: [{ sku: "full", quantity: 10_000 }]
        })
        yield* processor.settle([value.id])
        assert.strictEqual((yield* Effect.flip(catalog.adjust("full-2", "full", 2)))._tag, "StockRefused")
        assert.strictEqual((yield* catalog.adjust("full-2", "full", 1)).value.onHand, maxStock - 10_000)
        assert.strictEqual((yield* catalog.restock("full", maxStock)).onHand, maxStock - 10_000)
        yield* orders.cancel(value.id)
        assert.deepInclude(yield* catalog.find("full"), { onHand: maxStock, reserved: 0 })
        for (const product of yield* catalog.list()) assert.isTrue(isProduct(product), JSON.stringify(product.sku))
      }))

    it.effect("a card pays in a currency that nobody has prepared, and the clearing account owes it", () =>
      Effect.gen(function*() {
        const ledger = yield* Ledger
        yield* ledger.open(
          ["kim", "nok-shop"].map((id) => ({ id, currency: "NOK", allowNegative: false }))
        )
        yield* Shop.stock([Shop.product("fjord", { currency: "NOK", seller: "nok-shop", onHand: 3 })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("fjord-1", of("kim", "fjord", 2, { payment: "card" }))
        yield* processor.beginCharge(value.id)
        assert.strictEqual((yield* processor.endCharge(value.id, "charged")).status, "completed")
        assert.deepStrictEqual(
          [yield* balance("card-clearing.NOK"), yield* balance("kim"), yield* balance("nok-shop")],
          [-500n, 0n, 500n]
        )
        yield* sound
      }))

    it.effect("a clearing account neither buys nor sells", () =>
      Effect.gen(function*() {
        const ledger = yield* Ledger
        yield* Shop.open([], 0n)
        yield* ledger.open([{ id: "card-clearing.EUR", currency: "EUR", allowNegative: true }])
        yield* Shop.stock([Shop.product("house-1")])
        const orders = yield* Orders
        const refused = yield* Effect.flip(orders.accept("house", of("card-clearing.EUR", "house-1", 1)))
        assert.deepInclude(refused, { _tag: "OrderRefused", reason: "UnknownCustomer" })
        const sold = yield* Effect.flip(
          Shop.stock([Shop.product("house-2", { seller: "card-clearing.EUR" })])
        )
        assert.strictEqual(sold._tag, "AccountNotFound")
      }))

    it.effect("a card is charged by a pending transfer that is posted or voided once", () =>
      Effect.gen(function*() {
        yield* Shop.open(["card"], 0n)
        yield* Shop.stock([Shop.product("card-1", { onHand: 9 })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const good = yield* orders.accept("card-1", of("card", "card-1", 2, { payment: "card" }))
        assert.deepStrictEqual(yield* jobsOf(good.value.id), ["orders.charge"])
        assert.strictEqual((yield* processor.beginCharge(good.value.id)).status, "charging")
        assert.strictEqual((yield* processor.beginCharge(good.value.id)).version, 2)
        assert.deepStrictEqual(yield* stockOf("card-1"), [7, 2, 0])
        const held = yield* Effect.flip(orders.cancel(good.value.id))
        assert.strictEqual(held._tag, "OrderStateConflict")
        const [first, second] = yield* Effect.all([
          processor.endCharge(good.value.id, "charged"),
          processor.endCharge(good.value.id, "charged")
        ], { concurrency: 2 })
        assert.strictEqual(first.status, "completed")
        assert.strictEqual(second.status, "completed")
        assert.deepStrictEqual(yield* stockOf("card-1"), [7, 0, 2])
        assert.strictEqual(yield* balance("card"), 0n)
        assert.strictEqual(yield* balance("card-clearing.EUR"), -500n)

        const bad = yield* orders.accept("card-2", of("card", "card-1", 1, { payment: "card" }))
        yield* processor.beginCharge(bad.value.id)
        const declined = yield* processor.endCharge(bad.value.id, "declined")
        assert.deepStrictEqual([declined.status, declined.failure], ["failed", "PaymentDeclined"])
        // The provider changes its mind: too late.
        assert.strictEqual((yield* processor.endCharge(bad.value.id, "charged")).status, "failed")
        assert.deepStrictEqual(yield* stockOf("card-1"), [7, 0, 2])
        yield* sound
      }))

    it.effect("lists by customer and status, latest first, page by page", () =>
      Effect.gen(function*() {
        yield* Shop.open(["list", "list2"], 10_000n)
        yield* Shop.stock([Shop.product("list-1")])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const ids: Array<string> = []
        for (let index = 0; index < 7; index++) {
          const { value } = yield* orders.accept(`list-${index}`, of(index === 3 ? "list2" : "list", "list-1"))
          ids.push(value.id)
        }
        const mine = ids.filter((_, index) => index !== 3).sort().reverse()
        const first = yield* orders.list({ customerId: "list", limit: 4 })
        const second = yield* orders.list({ customerId: "list", limit: 4, before: first.next })
        assert.deepStrictEqual([...first.orders, ...second.orders].map((order) => order.id), mine)
        assert.deepStrictEqual([first.next, second.next], [first.orders[3]?.id, undefined])
        yield* processor.settle([ids[0]!, ids[3]!])
        const done = yield* orders.list({ status: "completed", customerId: "list" })
        assert.deepStrictEqual(done.orders.map((order) => order.id), [ids[0]])
        assert.strictEqual((yield* orders.list({ status: "completed", customerId: "list2" })).orders.length, 1)
        const counts = new Map((yield* orders.count).map((count) => [count.status, count.orders]))
        assert.isTrue((counts.get("completed") ?? 0) >= 2)
      }))

    it.effect("follows an order to its end, from any version", () =>
      Effect.gen(function*() {
        yield* Shop.open(["follow"], 1000n)
        yield* Shop.stock([Shop.product("follow-1", { isShipped: true })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("follow", of("follow", "follow-1"))
        const following = yield* Effect.forkChild(Stream.runCollect(orders.events(value.id)), {
          startImmediately: true
        })
        yield* processor.settle([value.id])
        yield* processor.ship([value.id])
        const events = yield* Fiber.join(following)
        assert.deepStrictEqual(
          events.map((event) => `${event.version} ${event.status}`),
          ["1 accepted", "2 paid", "3 completed"]
        )
        const late = yield* Stream.runCollect(orders.events(value.id, 2))
        assert.deepStrictEqual(late.map((event) => event.version), [3])
        assert.deepStrictEqual(yield* Stream.runCollect(orders.events(value.id, 3)), [])
        const unknown = yield* Effect.flip(Stream.runCollect(orders.events("00000000-0000-7000-8000-000000000000")))
        assert.strictEqual(unknown._tag, "OrderNotFound")
      }))

    it.effect("later changes of the catalog do not reach an order", () =>
      Effect.gen(function*() {
        yield* Shop.open(["frozen", "other-seller"], 1000n)
        yield* Shop.stock([Shop.product("frozen-1", { isShipped: true })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("frozen", of("frozen", "frozen-1", 2))
        yield* processor.settle([value.id])
        yield* Shop.stock([Shop.product("frozen-1", { price: 999n, seller: "other-seller" })])
        const merchant = yield* balance("merchant")
        yield* orders.cancel(value.id)
        assert.strictEqual(yield* balance("frozen"), 1000n)
        assert.strictEqual(merchant - (yield* balance("merchant")), 500n)
        assert.strictEqual(yield* balance("other-seller"), 1000n)
        yield* sound
      }))
  })
