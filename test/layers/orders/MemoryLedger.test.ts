import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryLedger from "../../../src/layers/orders/MemoryLedger.ts"
import * as MemoryStore from "../../../src/layers/orders/MemoryStore.ts"
import { Ledger } from "../../../src/services/orders/Ledger.ts"
import { suite } from "../../conformance/Ledger.suite.ts"

const layer = Layer.provide(MemoryLedger.layer, MemoryStore.layer)

suite("memory", layer)

it.effect("a pending transfer expires when its time is over", () =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
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
    yield* TestClock.adjust("29 seconds")
    assert.strictEqual(yield* ledger.expireDue, 0)
    yield* TestClock.adjust("1 second")
    assert.strictEqual((yield* Effect.flip(ledger.resolve(value.id, "post")))._tag, "TransferRefused")
    assert.strictEqual(yield* ledger.expireDue, 1)
    assert.strictEqual((yield* ledger.find("a")).held, 0n)
  }).pipe(Effect.provide(layer)))
