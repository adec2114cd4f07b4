/** Lists of orders in Postgres: ordered by one clock, and bounded however many orders there are. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it, layer as withLayer } from "@effect/vitest"
import { Clock, Context, Effect, Layer } from "effect"
import { StoreClock } from "../../../src/layers/orders/StoreClock.ts"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { type OrderPage, Orders } from "../../../src/services/orders/Orders.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** The orders of a server whose clock goes ahead by so much, or behind. */
const skewed = (millis: number) =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const context = yield* Layer.build(
      Layer.fresh(Layer.provide(OrdersApp.layer, TestDatabase.secondPool({ poolMax: 2 })))
    ).pipe(
      Effect.provideService(Clock.Clock, shifted(clock, millis))
    )
    return Context.get(context, Orders)
  })

const shifted = (clock: Clock.Clock, millis: number): Clock.Clock => ({
  ...clock,
  currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + millis,
  currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + millis),
  currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
  currentTimeNanos: clock.currentTimeNanos,
  sleep: (duration) => clock.sleep(duration)
})

const hours = 3_600_000

withLayer(app, { excludeTestServices: true })("lists of orders", (it) => {
  it.effect("the latest come first, though the servers' clocks are hours apart", () =>
    Effect.gen(function*() {
      yield* Shop.open(["skew"], 10_000n)
      yield* Shop.stock([Shop.product("skew-1")])
      const servers = [yield* skewed(3 * hours), yield* Orders, yield* skewed(-2 * hours)]
      const placed: Array<string> = []
      for (let index = 0; index < 9; index++) {
        const { value } = yield* servers[index % 3]!.accept(`skew-${index}`, {
          customerId: "skew",
          items: [{ sku: "skew-1", quantity: 1 }]
        })
        placed.push(value.id)
        // Ids tell milliseconds apart, and how long an answer took is all that is not known of the store's clock.
        yield* Effect.sleep("30 millis")
      }
      const { orders } = yield* (yield* Orders).list({ customerId: "skew" })
      assert.deepStrictEqual(orders.map(({ id }) => id), placed.toReversed())
    }), 30_000)

  it.effect("a status that is rare is looked for in steps, and found", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment)
        select format('00000000-0000-7000-8000-%s', lpad(n::text, 12, '0'))::uuid, 'rare-' || n, 'rare-' || n % 2,
          case when n in (7, 20008) then 'accepted' else 'completed' end, '[]', 1, 'EUR', 'account'
        from generate_series(1, 25000) n`
      const orders = yield* Orders
      const walk = Effect.fnUntraced(function*(customerId: string | undefined) {
        const found: Array<number> = []
        const pages: Array<OrderPage> = []
        // The lists of the other test are before these.
        let before: string | undefined = "00000000-0000-7000-8000-000000025001"
        do {
          const page: OrderPage = yield* orders.list({ status: "accepted", before, customerId })
          found.push(...page.orders.map(({ id }) => Number(id.slice(-12))))
          pages.push(page)
          before = page.next
        } while (before !== undefined)
        return { found, pages: pages.map((page) => [page.orders.length, Number(page.next?.slice(-12) ?? 0)]) }
      })
      assert.deepStrictEqual(yield* walk(undefined), {
        found: [20_008, 7],
        pages: [[1, 15_001], [0, 5001], [1, 0]]
      })
      assert.deepStrictEqual(yield* walk("rare-1"), { found: [7], pages: [[0, 5001], [1, 0]] })
      const full = yield* orders.list({ status: "completed", before: "00000000-0000-7000-8000-000000025001", limit: 3 })
      assert.deepStrictEqual(full.orders.map(({ id }) => Number(id.slice(-12))), [25_000, 24_999, 24_998])
      assert.strictEqual(full.next, full.orders[2]?.id)
    }), 60_000)
})

it("what is known of the store's clock moves just as far as each answer demands", () => {
  const clock = new StoreClock()
  assert.strictEqual(clock.at(1000), 1000)
  assert.isFalse(clock.isKnown)
  // 5000 there was somewhen between 1000 and 1100 here.
  clock.hear(new Date(5000), 1000, 1100)
  assert.isTrue(clock.isKnown)
  assert.strictEqual(clock.at(1000), 4900)
  // An answer that took long says nothing new; one that was quick says more.
  clock.hear(new Date(6000), 1500, 3000)
  assert.strictEqual(clock.at(1000), 4900)
  clock.hear(new Date(7000), 3020, 3021)
  assert.strictEqual(clock.at(3000), 6979)
  // A clock that was put back is followed at once.
  clock.hear(new Date(7000), 9000, 9010)
  assert.strictEqual(clock.at(9000), 7000)
})
