/** The rules of settlement by themselves: whatever the batch, money and stock are conserved, and nobody gets what is not there. */
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Order from "../../../src/services/orders/Order.ts"
import * as Settlement from "../../../src/services/orders/Settlement.ts"

const now = new Date("2026-01-02T03:04:05Z")
const accounts = ["a", "b", "c", "shop"]
const skus = ["x", "y", "z"]

const Batch = Schema.Struct({
  balances: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 500 }))).check(
    Schema.isMinLength(4),
    Schema.isMaxLength(4)
  ),
  stock: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))).check(
    Schema.isMinLength(3),
    Schema.isMaxLength(3)
  ),
  orders: Schema.Array(Schema.Struct({
    customer: Schema.Literals(["a", "b", "c", "nobody"]),
    status: Schema.Literals(["accepted", "accepted", "accepted", "paid", "cancelled"]),
    items: Schema.Array(Schema.Struct({
      sku: Schema.Literals(["x", "y", "z", "unknown"]),
      quantity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
      price: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 90 })),
      seller: Schema.Literals(["shop", "a", "b"]),
      isShipped: Schema.Boolean
    })).check(Schema.isMinLength(1), Schema.isMaxLength(3))
  })).check(Schema.isMaxLength(20))
})

const orderOf = (input: typeof Batch.Type["orders"][number], index: number): Order.Order => {
  const unique = [...new Map(input.items.map((item) => [item.sku, item])).values()]
  const items = unique.map(({ isShipped, price, quantity, seller, sku }) => ({
    sku,
    quantity,
    seller,
    isShipped,
    unitPrice: BigInt(price)
  }))
  return {
    id: `00000000-0000-7000-8000-${String(index).padStart(12, "0")}`,
    customerId: input.customer,
    status: input.status,
    items,
    total: items.reduce((sum, item) => sum + item.unitPrice * BigInt(item.quantity), 0n),
    currency: "EUR",
    payment: "account",
    note: null,
    failure: null,
    version: 1,
    acceptedAt: now,
    chargingAt: null,
    paidAt: null,
    endedAt: null
  }
}

it.effect.prop(
  "any batch conserves money and stock, overdraws nobody and sells nothing twice",
  { batch: Batch },
  ({ batch }) =>
    Effect.sync(() => {
      const orders = batch.orders.map(orderOf)
      const balances = new Map(accounts.map((id, index) => [id, BigInt(batch.balances[index] ?? 0)]))
      const onHand = new Map(skus.map((sku, index) => [sku, batch.stock[index] ?? 0]))
      const plan = Settlement.settle(orders, {
        account: (id) => {
          const balance = balances.get(id)
          return balance === undefined ? undefined : { id, currency: "EUR", balance, held: 0n, allowNegative: false }
        },
        product: (sku) => {
          const units = onHand.get(sku)
          return units === undefined ? undefined : { sku, onHand: units }
        }
      }, now)
      assert.strictEqual(plan.entries.reduce((sum, entry) => sum + entry.amount, 0n), 0n)
      for (const [id, delta] of plan.accounts) {
        assert.isTrue((balances.get(id) ?? 0n) + delta.balance >= 0n)
        assert.strictEqual(delta.held, 0n)
        const entries = plan.entries.filter((entry) => entry.account === id)
        assert.strictEqual(entries.reduce((sum, entry) => sum + entry.amount, 0n), delta.balance)
      }
      for (const [sku, delta] of plan.stock) {
        assert.isTrue((onHand.get(sku) ?? 0) + delta.onHand >= 0)
        assert.strictEqual(delta.onHand + delta.reserved + delta.sold, 0)
      }
      // Every open order is decided once, and no other is touched.
      assert.deepStrictEqual(
        plan.orders.map((order) => order.id),
        orders.filter((order) => order.status === "accepted").map((order) => order.id)
      )
      for (const order of plan.orders) {
        const mine = plan.entries.filter((entry) => entry.source === order.id)
        assert.strictEqual(mine.reduce((sum, entry) => sum + entry.amount, 0n), 0n)
        assert.strictEqual(mine.length > 0, order.status !== "failed")
        assert.strictEqual(plan.toShip.includes(order.id), order.status === "paid")
      }
    }),
  { arbitrary: { runs: 300 } }
)

it("the state machine is the one that is drawn in docs/orders.md", () => {
  const actions: ReadonlyArray<Order.OrderAction> = ["charge", "pay", "settle", "complete", "fail", "cancel"]
  const arrows = Order.OrderStatus.literals.flatMap((status) =>
    actions.flatMap((action) => {
      const next = Order.next(status, action)
      return next === undefined ? [] : [`${status} -${action}-> ${next}`]
    })
  )
  assert.deepStrictEqual(arrows, [
    "accepted -charge-> charging",
    "accepted -pay-> paid",
    "accepted -settle-> completed",
    "accepted -fail-> failed",
    "accepted -cancel-> cancelled",
    "charging -pay-> paid",
    "charging -settle-> completed",
    "charging -fail-> failed",
    "paid -complete-> completed",
    "paid -cancel-> cancelled"
  ])
  assert.deepStrictEqual(Order.OrderStatus.literals.filter(Order.isTerminal), ["completed", "failed", "cancelled"])
})

it("an order's times tell its events, one for each version", () => {
  const walk = (actions: ReadonlyArray<Order.OrderAction>) => {
    let order = orderOf({
      customer: "a",
      status: "accepted",
      items: [{ sku: "x", quantity: 1, price: 1, seller: "shop", isShipped: true }]
    }, 1)
    for (const [index, action] of actions.entries()) {
      order = Order.apply(order, action, new Date(now.getTime() + index), action === "fail" ? "OutOfStock" : null) ??
        order
    }
    const events = Order.eventsAfter(order, 0)
    assert.strictEqual(events.length, order.version)
    assert.deepStrictEqual(Order.eventsAfter(order, 1), events.slice(1))
    return events.map((event) => `${event.version} ${event.status}${event.failure === null ? "" : ` ${event.failure}`}`)
  }
  assert.deepStrictEqual(walk([]), ["1 accepted"])
  assert.deepStrictEqual(walk(["settle"]), ["1 accepted", "2 completed"])
  assert.deepStrictEqual(walk(["pay"]), ["1 accepted", "2 paid"])
  assert.deepStrictEqual(walk(["pay", "complete"]), ["1 accepted", "2 paid", "3 completed"])
  assert.deepStrictEqual(walk(["pay", "cancel"]), ["1 accepted", "2 paid", "3 cancelled"])
  assert.deepStrictEqual(walk(["fail"]), ["1 accepted", "2 failed OutOfStock"])
  assert.deepStrictEqual(walk(["charge", "settle"]), ["1 accepted", "2 charging", "3 completed"])
  assert.deepStrictEqual(walk(["charge", "pay", "complete"]), ["1 accepted", "2 charging", "3 paid", "4 completed"])
})
