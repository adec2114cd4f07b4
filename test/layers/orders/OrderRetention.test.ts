/** What is taken away of orders when their time is over, and what stays: money and stock. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber } from "effect"
import * as OrderRetention from "../../../src/layers/orders/OrderRetention.ts"
import { Ledger } from "../../../src/services/orders/Ledger.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"

const month = Duration.days(30)

/** Orders of a customer, so many, accepted and ended so many days ago; without an end when they have none. */
const placed = (
  sql: PgClient.PgClient,
  customer: string,
  count: number,
  { ended, accepted }: { readonly accepted: number; readonly ended: number | null }
) =>
  sql`insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment, accepted_at, ended_at)
    select (rpad(lpad(to_hex((extract(epoch from now() - ${accepted} * interval '1 day') * 1000)::bigint), 12, '0'), 12, '0')
        || '7000' || lpad(to_hex(n), 4, '0') || substr(md5(${customer}), 1, 12))::uuid,
      ${customer} || n, ${customer}, 'completed', '[]', 1, 'EUR', 'account', now() - ${accepted} * interval '1 day',
      now() - ${ended}::int4 * interval '1 day'
    from generate_series(1, ${count}::int4) n`

const left = (sql: PgClient.PgClient) =>
  Effect.map(
    sql<{ readonly customer_id: string; readonly count: number }>`
      select customer_id, count(*)::int4 as count from sluice.orders group by 1 order by 1`,
    (rows) => Object.fromEntries(rows.map(({ count, customer_id }) => [customer_id, count]))
  )

withLayer(app, { excludeTestServices: true })("retention of orders", (it) => {
  it.effect("takes away those that ended too long ago, in batches, and nothing else", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* Shop.open(["alice"], 10_000n)
      yield* Shop.stock([Shop.product("atlas")])
      const { value } = yield* (yield* Orders).accept("kept", {
        customerId: "alice",
        items: [{ sku: "atlas", quantity: 1 }]
      })
      yield* placed(sql, "old", 700, { accepted: 40, ended: 31 })
      yield* placed(sql, "late", 10, { accepted: 40, ended: 29 })
      yield* placed(sql, "open", 600, { accepted: 400, ended: null })
      yield* placed(sql, "young", 10, { accepted: 2, ended: 1 })
      const entries = sql`select * from sluice.ledger_entries order by id`
      const [before, audit] = [yield* entries, yield* (yield* Ledger).audit]
      assert.strictEqual(yield* OrderRetention.round(sql, month), 700)
      assert.deepStrictEqual(yield* left(sql), { alice: 1, late: 10, open: 600, young: 10 })
      assert.strictEqual((yield* (yield* Orders).find(value.id)).id, value.id)
      assert.deepStrictEqual([yield* entries, yield* (yield* Ledger).audit], [before, audit])
      assert.strictEqual(yield* OrderRetention.round(sql, month), 0)
    }), 60_000)

  it.effect(
    "leaves to others what they have locked, and the round to the process that is at it",
    () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* placed(sql, "held", 3, { accepted: 40, ended: 31 })
        const [held, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const holding = (lock: Effect.Effect<unknown, unknown>) =>
          sql.withTransaction(
            Effect.andThen(lock, Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(go)))
          )
        const row = yield* Effect.forkChild(holding(sql`select 1 from sluice.orders where key = 'held2' for update`))
        yield* Deferred.await(held)
        assert.strictEqual(yield* OrderRetention.round(sql, month), 2)
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(row)
        const busy = yield* Deferred.make<void>()
        const other = yield* Effect.forkChild(
          sql.withTransaction(
            sql`select pg_advisory_xact_lock(7212, 0)`.pipe(
              Effect.andThen(Deferred.succeed(busy, undefined)),
              Effect.andThen(Effect.never)
            )
          )
        )
        yield* Deferred.await(busy)
        assert.strictEqual(yield* OrderRetention.round(sql, month), 0)
        yield* Fiber.interrupt(other)
        assert.strictEqual(yield* OrderRetention.round(sql, month), 1)
      }),
    60_000
  )
})
