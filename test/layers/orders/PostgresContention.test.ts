/** What concurrency breaks first: Jepsen's bank, write skew, and deadlocks. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Random, Ref } from "effect"
import * as StoreFailure from "../../../src/layers/orders/StoreFailure.ts"
import { Catalog } from "../../../src/services/orders/Catalog.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import { OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"
import { CurrentDeadline } from "../../../src/services/tasks/CurrentDeadline.ts"
import { eventually } from "../../support/eventually.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

withLayer(app, { excludeTestServices: true })("contention", (it) => {
  it.effect(
    "the bank: transfers among eight accounts, and every read sums to what was there",
    () =>
      Effect.gen(function*() {
        const ledger = yield* Ledger
        const sql = yield* PgClient.PgClient
        const accounts = Array.from({ length: 8 }, (_, index) => `bank-${index}`)
        yield* Shop.open(accounts, 0n)
        yield* ledger.transfer("bank-fund", { from: "cash", to: "bank-0", amount: 100n, currency: "EUR" })
        const isOver = yield* Ref.make(false)
        const reads = yield* Ref.make(0)
        const reader = Effect.gen(function*() {
          while (!(yield* Ref.get(isOver))) {
            const rows = yield* sql<
              { readonly balance: bigint }
            >`select balance from sluice.accounts where id like 'bank-%'`
            assert.strictEqual(rows.length, 8)
            assert.isTrue(rows.every((row) => row.balance >= 0n))
            assert.strictEqual(rows.reduce((sum, row) => sum + row.balance, 0n), 100n)
            yield* Ref.update(reads, (count) => count + 1)
          }
        })
        const readers = yield* Effect.forkChild(Effect.all([reader, reader], { concurrency: 2 }), {
          startImmediately: true
        })
        yield* Effect.forEach(Array.from({ length: isLong ? 20_000 : 400 }, (_, index) => index), (index) =>
          Effect.gen(function*() {
            const from = yield* Random.nextIntBetween(0, 7)
            const to = yield* Random.nextIntBetween(0, 7)
            const amount = BigInt(yield* Random.nextIntBetween(1, 5))
            yield* Effect.catchTag(
              ledger.transfer(`bank-${index}`, { from: accounts[from]!, to: accounts[to]!, amount, currency: "EUR" }),
              "TransferRefused",
              () =>
                Effect.void
            )
          }), { concurrency: 12, discard: true })
        yield* Ref.set(isOver, true)
        yield* Fiber.join(readers)
        assert.isAbove(yield* Ref.get(reads), 10)
        assert.isTrue(isSound(yield* ledger.audit))
      }),
    120_000
  )

  it.effect(
    "write skew: many spend the last money and the last piece at once, one gets it",
    () =>
      Effect.gen(function*() {
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const ledger = yield* Ledger
        const catalog = yield* Catalog
        for (let round = 0; round < (isLong ? 100 : 5); round++) {
          const customer = `skew-${round}`
          yield* Shop.open([customer], 250n)
          yield* Shop.stock([
            Shop.product(`skew-a${round}`, { onHand: 1 }),
            Shop.product(`skew-b${round}`, { onHand: 1 })
          ])
          const ids = yield* Effect.forEach(Array.from({ length: 8 }, (_, index) => index), (index) =>
            Effect.map(
              orders.accept(`skew-${round}-${index}`, {
                customerId: customer,
                items: [{ sku: `skew-${index % 2 === 0 ? "a" : "b"}${round}`, quantity: 1 }]
              }),
              ({ value }) => value.id
            ))
          // Each in a transaction of its own, all at once, beside transfers of the same money.
          yield* Effect.all([
            Effect.forEach(ids, (id) => processor.settle([id]), { concurrency: "unbounded" }),
            Effect.ignore(
              ledger.transfer(`skew-t${round}`, { from: customer, to: "merchant", amount: 250n, currency: "EUR" })
            )
          ], { concurrency: 2 })
          assert.strictEqual((yield* ledger.find(customer)).balance, 0n)
          const sold = (yield* catalog.find(`skew-a${round}`)).sold + (yield* catalog.find(`skew-b${round}`)).sold
          assert.isAtMost(sold, 1)
        }
        assert.isTrue(isSound(yield* ledger.audit))
      }),
    120_000
  )

  it.effect(
    "a storm of overlapping batches, cancellations and transfers meets no deadlock",
    () =>
      Effect.gen(function*() {
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const ledger = yield* Ledger
        const sql = yield* PgClient.PgClient
        const customers = Array.from({ length: 6 }, (_, index) => `storm-${index}`)
        yield* Shop.open(customers, 1_000_000n)
        // Customers are each other's sellers: every order locks accounts that others lock the other way round.
        yield* Shop.stock(
          customers.map((seller, index) => Shop.product(`storm-${index}`, { seller, isShipped: index % 2 === 0 }))
        )
        const before = yield* sql<
          { readonly deadlocks: bigint }
        >`select deadlocks from pg_stat_database where datname = current_database()`
        const ids = yield* Effect.forEach(Array.from({ length: isLong ? 2000 : 200 }, (_, index) => index), (index) =>
          Effect.map(
            orders.accept(`storm-${index}`, {
              customerId: customers[index % 6]!,
              items: [1, 2, 3].map((step) => ({ sku: `storm-${(index + step) % 6}`, quantity: 1 }))
            }),
            ({ value }) =>
              value.id
          ), { concurrency: 50 })
        const shuffled = yield* Random.shuffle([...ids, ...ids])
        const batches = Array.from({ length: Math.ceil(shuffled.length / 9) }, (_, index) =>
          shuffled.slice(index * 9, index * 9 + 9))
        yield* Effect.all([
          Effect.forEach(batches, (batch) =>
            processor.settle(batch), { concurrency: 8, discard: true }),
          Effect.forEach(batches, (batch) =>
            processor.ship(batch), { concurrency: 4, discard: true }),
          Effect.forEach(
            ids.filter((_, index) =>
              index % 5 === 0
            ),
            (id) =>
              Effect.catchTags(orders.cancel(id), {
                OrderStateConflict: () => Effect.void,
                TransferRefused: () => Effect.void
              }),
            { concurrency: 4, discard: true }
          ),
          Effect.forEach(ids.slice(0, 100), (_, index) =>
            ledger.transfer(`storm-t${index}`, {
              from: customers[index % 6]!,
              to: customers[(index + 3) % 6]!,
              amount: 1n,
              currency: "EUR"
            }), { concurrency: 4, discard: true })
        ], { concurrency: "unbounded", discard: true })
        // The server's statistics come up to a second late.
        yield* Effect.sleep("1200 millis")
        const after = yield* sql<
          { readonly deadlocks: bigint }
        >`select deadlocks from pg_stat_database where datname = current_database()`
        assert.strictEqual(after[0]?.deadlocks, before[0]?.deadlocks)
        assert.isTrue(isSound(yield* ledger.audit))
      }),
    120_000
  )

  it.effect("a real deadlock is run again and ends well", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* Shop.open(["dead-a", "dead-b"], 0n)
      const attempts = yield* Ref.make(0)
      const both = yield* Ref.make(0)
      const crossing = (first: string, second: string) =>
        StoreFailure.transact(sql, "test")(Effect.gen(function*() {
          yield* Ref.update(attempts, (count) => count + 1)
          yield* sql`update sluice.accounts set version = version + 1 where id = ${first}`
          yield* Ref.update(both, (count) => count + 1)
          // Only when both hold their first lock do they ask for the other's.
          yield* eventually(Ref.get(both), (count) => count >= 2)
          yield* sql`update sluice.accounts set version = version + 1 where id = ${second}`
        }))
      yield* Effect.all([crossing("dead-a", "dead-b"), crossing("dead-b", "dead-a")], { concurrency: 2 })
      assert.isAbove(yield* Ref.get(attempts), 2)
      const rows = yield* sql<
        { readonly version: bigint }
      >`select version from sluice.accounts where id in ('dead-a', 'dead-b')`
      assert.deepStrictEqual(rows.map((row) => row.version), [3n, 3n])
    }))

  it.effect("money and stock that go while a batch is being paid: it is run again and refuses with the books locked", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const orders = yield* Orders
      const processor = yield* OrderProcessor
      const ledger = yield* Ledger
      const catalog = yield* Catalog
      yield* Shop.open(["gone-a", "gone-b", "gone-c"], 250n)
      yield* Shop.stock([Shop.product("gone-few", { onHand: 1 }), Shop.product("gone-many")])
      const ids = yield* Effect.forEach(["gone-a", "gone-b", "gone-c"], (customerId) =>
        Effect.map(
          orders.accept(`order-${customerId}`, {
            customerId,
            items: [{ sku: customerId === "gone-b" ? "gone-few" : "gone-many", quantity: 1 }]
          }),
          ({ value }) => value.id
        ))
      const isWaiting = Effect.map(sql`select 1 from pg_locks where not granted`, (rows) => rows.length > 0)
      const isTaken = yield* Deferred.make<void>()
      const settling = yield* Effect.forkChild(Effect.andThen(Deferred.await(isTaken), processor.settle(ids)))
      yield* Effect.gen(function*() {
        yield* sql`update sluice.products set on_hand = 0, sold = sold + 1 where sku = 'gone-few'`
        yield* ledger.transfer("gone", { from: "gone-a", to: "merchant", amount: 250n, currency: "EUR" })
        yield* Deferred.succeed(isTaken, undefined)
        // The batch has seen the money and the last piece, and waits for our locks.
        yield* eventually(isWaiting, (waits) => waits)
      }).pipe(sql.withTransaction)
      const settled = yield* Fiber.join(settling)
      assert.deepStrictEqual(
        settled.map((order) => [order.customerId, order.status, order.failure]),
        [["gone-a", "failed", "InsufficientFunds"], ["gone-b", "failed", "OutOfStock"], ["gone-c", "completed", null]]
      )
      assert.strictEqual((yield* catalog.find("gone-few")).onHand, 0)
      assert.isTrue(isSound(yield* ledger.audit))
    }))

  it.effect("a serialization failure that never ends is told as a conflict, after a bounded number of tries", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const tries = yield* Ref.make(0)
      const error = yield* Effect.flip(
        StoreFailure.transact(sql, "test")(
          Effect.andThen(
            Ref.update(tries, (count) => count + 1),
            sql`do $$ begin raise exception 'could not serialize' using errcode = '40001'; end $$`
          )
        )
      )
      assert.instanceOf(error, OrdersStoreError)
      assert.strictEqual(error.reason, "Conflict")
      assert.strictEqual(yield* Ref.get(tries), 7)
    }))

  it.effect("a caller's deadline is the statement's: the server itself gives up, and holds nothing", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const ledger = yield* Ledger
      yield* Shop.open(["late-a", "late-b"], 1000n)
      const isLocked = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* sql`select 1 from sluice.accounts where id = 'late-a' for update`
        yield* Deferred.succeed(isLocked, undefined)
        yield* Deferred.await(release)
      })))
      yield* Deferred.await(isLocked)
      // A deadline that only the database hears of: nobody interrupts the fiber.
      const deadline = { parent: undefined, depth: 0, atMillis: (yield* Clock.currentTimeMillis) + 300 }
      const transfer = { from: "late-a", to: "late-b", amount: 1n, currency: "EUR" }
      const error = yield* Effect.flip(ledger.transfer("late-1", transfer)).pipe(
        Effect.provideService(CurrentDeadline, deadline)
      )
      assert.deepStrictEqual([error._tag, error._tag === "OrdersStoreError" && error.reason], [
        "OrdersStoreError",
        "TimedOut"
      ])
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(holder)
      assert.isFalse((yield* ledger.transfer("late-1", transfer)).isReplayed)
    }))
})
