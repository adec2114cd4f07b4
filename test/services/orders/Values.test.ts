/** Money, keys and cursors at their edges. */
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Cursor from "../../../src/services/http/Cursor.ts"
import * as IdempotencyKey from "../../../src/services/orders/IdempotencyKey.ts"
import * as Money from "../../../src/services/orders/Money.ts"
import * as Uuid from "../../../src/services/postgres/Uuid.ts"

it("amounts are decimal strings of whole minor units, and nothing else", () => {
  const decode = Schema.decodeUnknownSync(Money.PositiveAmount)
  const isRefused = (input: unknown) => assert.throws(() => decode(input), undefined, undefined, String(input))
  assert.strictEqual(decode("1"), 1n)
  assert.strictEqual(decode("999999999999999"), Money.maxAmount)
  for (
    const input of ["0", "-1", "01", "1.5", "1e3", "", " 1", "1 ", "+1", "1000000000000000", "９", 5, 5n, null, "0x10"]
  ) isRefused(input)
  const signed = Schema.decodeUnknownSync(Money.Amount)
  assert.strictEqual(signed("-9000000000000000000"), -Money.maxBalance)
  assert.throws(() => signed("9000000000000000001"))
  assert.throws(() => signed("-0"))
})

it("money reads as people write it", () => {
  assert.deepStrictEqual(
    [[1250n, "EUR"], [-5n, "EUR"], [0n, "USD"], [1250n, "JPY"]].map(([amount, currency]) =>
      Money.format({ amount: amount as bigint, currency: currency as string })
    ),
    ["12.50 EUR", "-0.05 EUR", "0.00 USD", "1250 JPY"]
  )
})

it("an idempotency key is taken quoted, as the draft writes it, and bare, as most send it", () => {
  const from = IdempotencyKey.fromHeader
  assert.deepStrictEqual([from("\"abc-1\""), from("abc-1"), from(" abc "), from("x".repeat(255))], [
    "abc-1",
    "abc-1",
    "abc",
    "x".repeat(255)
  ])
  for (const bad of [undefined, "", "\"\"", "a b", "a\"b", "a\\b", "ä", "x".repeat(256), "\"unfinished"]) {
    assert.isUndefined(from(bad), bad)
  }
})

it.effect.prop(
  "a cursor leads back to its id, and nothing else is one",
  { id: Schema.String, text: Schema.String },
  ({ id, text }) =>
    Effect.sync(() => {
      const wellFormed = id.toWellFormed()
      assert.strictEqual(Cursor.decode(Cursor.encode(wellFormed), () => true), wellFormed)
      assert.isUndefined(Cursor.decode(Cursor.encode(wellFormed), () => false))
      const decoded = Cursor.decode(text, () => true)
      if (decoded !== undefined) assert.strictEqual(Cursor.decode(Cursor.encode(decoded), () => true), decoded)
    })
)

it.effect("ids are UUIDs of version 7 that differ", () =>
  Effect.gen(function*() {
    const ids = yield* Effect.forEach(Array.from({ length: 2000 }), () => Uuid.next)
    assert.strictEqual(new Set(ids).size, 2000)
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  }))
