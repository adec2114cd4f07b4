import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as PostgresLedger from "../../../src/layers/orders/PostgresLedger.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import * as SqlFailure from "../../../src/services/postgres/SqlFailure.ts"
import { suite } from "../../conformance/Ledger.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const layer = Layer.provideMerge(PostgresLedger.layer, TestDatabase.layer)

suite("Postgres", layer)

withLayer(layer)("PostgresLedger", (it) => {
  it.effect("entries can be neither changed nor removed, not even by hand", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (
        const statement of [
          "update sluice.ledger_entries set amount = 1",
          "delete from sluice.ledger_entries",
          "truncate sluice.ledger_entries"
        ]
      ) {
        const error = yield* Effect.flip(sql.unsafe(statement))
        assert.include(String(error.reason.cause), "append-only")
      }
    }))

  it.effect("a pending transfer whose time is over can only expire", () =>
    Effect.gen(function*() {
      const ledger = yield* Ledger
      const sql = yield* SqlClient.SqlClient
      yield* ledger.open([
        { id: "a", currency: "EUR", allowNegative: true },
        { id: "b", currency: "EUR", allowNegative: false }
      ])
      const { value } = yield* ledger.transfer("k", {
        from: "a",
        to: "b",
        amount: 5n,
        currency: "EUR",
        pendingSeconds: 30
      })
      assert.strictEqual(yield* ledger.expireDue, 0)
      yield* sql`update sluice.transfers set expires_at = now() - interval '1 second' where id = ${value.id}::uuid`
      const error = yield* Effect.flip(ledger.resolve(value.id, "post"))
      assert.strictEqual(error._tag === "TransferRefused" && error.reason, "Expired")
      assert.strictEqual(yield* ledger.expireDue, 1)
      assert.strictEqual(yield* ledger.expireDue, 0)
      assert.strictEqual((yield* ledger.find("a")).held, 0n)
    }))

  it.effect("money and stock are not moved where there is no row for them", () =>
    Effect.gen(function*() {
      const ledger = yield* Ledger
      const sql = yield* SqlClient.SqlClient
      yield* ledger.open([{ id: "there", currency: "EUR", allowNegative: true }])
      for (
        const books of [
          "array['nowhere', 'there'], array[1, -1]::bigint[], array[0, 0]::bigint[], '{}', '{}', '{}', '{}'",
          "'{}', '{}', '{}', array['nothing'], array[-1], array[1], array[0]"
        ]
      ) {
        const error = yield* Effect.flip(sql.unsafe(`select sluice.write_books(${books})`))
        assert.strictEqual(SqlFailure.codeOf(error), "P0002")
        assert.strictEqual(SqlFailure.reasonOf(error), "Rejected")
      }
      assert.strictEqual((yield* ledger.find("there")).balance, 0n)
    }))

  it.effect("the audit names entries and pending transfers of accounts that are not there", () =>
    Effect.gen(function*() {
      const ledger = yield* Ledger
      const sql = yield* SqlClient.SqlClient
      assert.isTrue(isSound(yield* ledger.audit))
      yield* sql`insert into sluice.ledger_entries (account, source, kind, amount) values
        ('ghost', '00000000-0000-7000-8000-000000000001', 'payment', 2500),
        ('phantom', '00000000-0000-7000-8000-000000000001', 'payment', -2500)`
      yield* sql`insert into sluice.transfers (id, key, from_account, to_account, amount, currency, state) values
        ('00000000-0000-7000-8000-000000000002', 'ghostly', 'spectre', 'ghost', 7, 'EUR', 'pending')`
      const lines = yield* ledger.audit
      assert.isFalse(isSound(lines))
      assert.deepStrictEqual(lines.find(({ currency }) => currency === "none"), {
        currency: "none",
        accounts: 0,
        entriesSum: 0n,
        balancesSum: 0n,
        unbalancedAccounts: 2,
        unheldAccounts: 1,
        overdrawnAccounts: 0,
        unknownAccounts: ["ghost", "phantom", "spectre"]
      })
    }))
})
