import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as PostgresLedger from "../../../src/layers/orders/PostgresLedger.ts"
import { Ledger } from "../../../src/services/orders/Ledger.ts"
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
})
