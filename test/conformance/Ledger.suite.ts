/** What every ledger does, whatever it is kept in. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, type Layer, Schema } from "effect"
import { available } from "../../src/services/orders/Account.ts"
import { isSound, Ledger } from "../../src/services/orders/Ledger.ts"
import type { RefusalReason } from "../../src/services/orders/OrdersError.ts"

const opened = Effect.fnUntraced(function*(prefix: string, names: ReadonlyArray<string>, funds: bigint) {
  const ledger = yield* Ledger
  const ids = names.map((name) => `${prefix}.${name}`)
  yield* ledger.open([
    { id: `${prefix}.cash`, currency: "EUR", allowNegative: true },
    ...ids.map((id) => ({ id, currency: "EUR", allowNegative: false }))
  ])
  for (const id of ids) {
    if (funds > 0n) {
      yield* ledger.transfer(`${prefix}-fund-${id}`, { from: `${prefix}.cash`, to: id, amount: funds, currency: "EUR" })
    }
  }
  return ids
})

const balances = (ids: ReadonlyArray<string>) =>
  Effect.flatMap(
    Ledger,
    (ledger) => Effect.forEach(ids, (id) => Effect.map(ledger.find(id), (account) => account.balance))
  )

const audited = Effect.flatMap(
  Ledger,
  (ledger) =>
    Effect.map(ledger.audit, (lines) =>
      assert.isTrue(
        isSound(lines),
        JSON.stringify(lines, (_, value) => typeof value === "bigint" ? `${value}` : value)
      ))
)

const pair = (prefix: string, a: string, b: string, amount: bigint) => ({
  from: `${prefix}.${a}`,
  to: `${prefix}.${b}`,
  amount,
  currency: "EUR"
})

const Party = Schema.Literals(["0", "1", "2", "3", "4"])

const Moves = Schema.Array(Schema.Struct({
  from: Party,
  to: Party,
  amount: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 150 })),
  way: Schema.Literals(["now", "post", "void", "leave"])
})).check(Schema.isMinLength(1), Schema.isMaxLength(25))

/** Each run of the property has accounts of its own, shrinking included. */
let runs = 0

export const suite = <E>(name: string, layer: Layer.Layer<Ledger, E>) =>
  withLayer(layer)(`Ledger: ${name}`, (it) => {
    it.effect("moves money once for each key, and answers a repeated key the same", () =>
      Effect.gen(function*() {
        const ids = yield* opened("once", ["a", "b"], 1000n)
        const ledger = yield* Ledger
        const request = pair("once", "a", "b", 300n)
        const first = yield* ledger.transfer("once-1", request)
        const second = yield* ledger.transfer("once-1", request)
        assert.isFalse(first.isReplayed)
        assert.isTrue(second.isReplayed)
        assert.deepStrictEqual(second.value, first.value)
        assert.strictEqual(first.value.state, "posted")
        assert.deepStrictEqual(yield* balances(ids), [700n, 1300n])
        yield* audited
      }))

    it.effect("refuses a key that was used for something else", () =>
      Effect.gen(function*() {
        yield* opened("reuse", ["a", "b"], 1000n)
        const ledger = yield* Ledger
        yield* ledger.transfer("reuse-1", pair("reuse", "a", "b", 300n))
        const error = yield* Effect.flip(ledger.transfer("reuse-1", pair("reuse", "a", "b", 301n)))
        assert.strictEqual(error._tag, "KeyReused")
        const backwards = yield* Effect.flip(ledger.transfer("reuse-1", pair("reuse", "b", "a", 300n)))
        assert.strictEqual(backwards._tag, "KeyReused")
      }))

    it.effect("the same key sent many times at once moves money once", () =>
      Effect.gen(function*() {
        const ids = yield* opened("storm", ["a", "b"], 1000n)
        const ledger = yield* Ledger
        const receipts = yield* Effect.forEach(
          Array.from({ length: 20 }),
          () => ledger.transfer("storm-1", pair("storm", "a", "b", 700n)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(receipts.filter((receipt) => !receipt.isReplayed).length, 1)
        assert.strictEqual(new Set(receipts.map((receipt) => receipt.value.id)).size, 1)
        assert.deepStrictEqual(yield* balances(ids), [300n, 1700n])
      }))

    it.effect("refuses what the rules forbid, and writes nothing", () =>
      Effect.gen(function*() {
        const ids = yield* opened("rules", ["a", "b"], 1000n)
        const ledger = yield* Ledger
        yield* ledger.open([{ id: "rules.usd", currency: "USD", allowNegative: false }])
        const refusals: ReadonlyArray<readonly [string, string, bigint, string, RefusalReason]> = [
          ["a", "b", 1001n, "EUR", "InsufficientFunds"],
          ["a", "a", 1n, "EUR", "SameAccount"],
          ["a", "usd", 1n, "EUR", "CurrencyMismatch"],
          ["a", "b", 1n, "USD", "CurrencyMismatch"]
        ]
        for (const [from, to, amount, currency, reason] of refusals) {
          const error = yield* Effect.flip(
            ledger.transfer(`rules-${reason}-${currency}`, { ...pair("rules", from, to, amount), currency })
          )
          assert.strictEqual(error._tag === "TransferRefused" ? error.reason : error._tag, reason)
        }
        const missing = yield* Effect.flip(ledger.transfer("rules-x", pair("rules", "a", "nobody", 1n)))
        assert.strictEqual(missing._tag, "AccountNotFound")
        assert.deepStrictEqual(yield* balances(ids), [1000n, 1000n])
        // A refused key is free: the next request with it is a new one.
        const later = yield* ledger.transfer("rules-SameAccount-EUR", pair("rules", "a", "b", 1n))
        assert.isFalse(later.isReplayed)
      }))

    it.effect("opening again changes nothing, and opening differently is refused", () =>
      Effect.gen(function*() {
        const ids = yield* opened("open", ["a"], 5n)
        const ledger = yield* Ledger
        const known = { id: "open.a", currency: "EUR", allowNegative: false }
        assert.strictEqual(yield* ledger.open([known]), 0)
        assert.strictEqual(yield* ledger.open([known, { ...known, id: "open.b" }]), 1)
        assert.deepStrictEqual(yield* balances(ids), [5n])
        const error = yield* Effect.flip(ledger.open([
          { id: "open.new", currency: "EUR", allowNegative: false },
          { id: "open.a", currency: "USD", allowNegative: false }
        ]))
        assert.strictEqual(error._tag, "AccountDiffers")
        assert.strictEqual((yield* Effect.flip(ledger.find("open.new")))._tag, "AccountNotFound")
      }))

    it.effect("the house's names stand for its own accounts only", () =>
      Effect.gen(function*() {
        const ledger = yield* Ledger
        const house = { id: "card-clearing.SEK", currency: "SEK", allowNegative: true }
        for (
          const wrong of [
            { ...house, allowNegative: false },
            { ...house, currency: "EUR" },
            { ...house, id: "card-clearing." },
            { ...house, id: "card-clearing.sek" },
            { ...house, id: "card-clearing.SEK.mine" }
          ]
        ) {
          assert.strictEqual((yield* Effect.flip(ledger.open([wrong])))._tag, "AccountDiffers", JSON.stringify(wrong))
          assert.strictEqual((yield* Effect.flip(ledger.find(wrong.id)))._tag, "AccountNotFound")
        }
        assert.strictEqual(yield* ledger.open([house]), 1)
        assert.strictEqual(yield* ledger.open([house]), 0)
      }))

    it.effect("pending money is set aside, posted once, or given back", () =>
      Effect.gen(function*() {
        const ids = yield* opened("phases", ["a", "b"], 1000n)
        const ledger = yield* Ledger
        const pending = { ...pair("phases", "a", "b", 600n), pendingSeconds: 60 }
        const first = yield* ledger.transfer("phases-1", pending)
        assert.strictEqual(first.value.state, "pending")
        assert.strictEqual(available(yield* ledger.find("phases.a")), 400n)
        assert.deepStrictEqual(yield* balances(ids), [1000n, 1000n])
        const tooMuch = yield* Effect.flip(ledger.transfer("phases-2", pair("phases", "a", "b", 401n)))
        assert.strictEqual(tooMuch._tag, "TransferRefused")
        const posted = yield* ledger.resolve(first.value.id, "post")
        const again = yield* ledger.resolve(first.value.id, "post")
        assert.strictEqual(posted.state, "posted")
        assert.deepStrictEqual(again, posted)
        assert.deepStrictEqual(yield* balances(ids), [400n, 1600n])
        const voidPosted = yield* Effect.flip(ledger.resolve(first.value.id, "void"))
        assert.strictEqual(voidPosted._tag === "TransferRefused" && voidPosted.reason, "AlreadyResolved")
        const second = yield* ledger.transfer("phases-3", { ...pair("phases", "a", "b", 400n), pendingSeconds: 60 })
        assert.strictEqual((yield* ledger.resolve(second.value.id, "void")).state, "voided")
        assert.strictEqual(available(yield* ledger.find("phases.a")), 400n)
        // A repeated key is answered as the first time, whatever has become of the transfer.
        assert.deepStrictEqual((yield* ledger.transfer("phases-1", pending)).value, first.value)
        yield* audited
      }))

    it.effect("many resolutions at once end a pending transfer one way", () =>
      Effect.gen(function*() {
        const ids = yield* opened("race", ["a", "b"], 100n)
        const ledger = yield* Ledger
        const { value } = yield* ledger.transfer("race-1", { ...pair("race", "a", "b", 100n), pendingSeconds: 60 })
        const ways = Array.from({ length: 12 }, (_, index) => index % 2 === 0 ? "post" as const : "void" as const)
        const states = yield* Effect.forEach(
          ways,
          (way) =>
            Effect.match(ledger.resolve(value.id, way), {
              onFailure: (error) => error._tag,
              onSuccess: (transfer) => transfer.state
            }),
          { concurrency: "unbounded" }
        )
        const ends = new Set(states.filter((state) => state !== "TransferRefused"))
        assert.strictEqual(ends.size, 1, states.join())
        assert.deepStrictEqual(yield* balances(ids), ends.has("posted") ? [0n, 200n] : [100n, 100n])
        yield* audited
      }))

    it.effect("an unknown transfer is not found", () =>
      Effect.gen(function*() {
        const ledger = yield* Ledger
        const error = yield* Effect.flip(ledger.resolve("00000000-0000-7000-8000-000000000000", "post"))
        assert.strictEqual(error._tag, "TransferNotFound")
      }))

    it.effect("entries are listed latest first, page by page", () =>
      Effect.gen(function*() {
        yield* opened("pages", ["a", "b"], 100n)
        const ledger = yield* Ledger
        for (let index = 1; index <= 5; index++) {
          yield* ledger.transfer(`pages-${index}`, pair("pages", "a", "b", BigInt(index)))
        }
        const first = yield* ledger.entries("pages.a", { limit: 3 })
        assert.deepStrictEqual(first.map((entry) => entry.amount), [-5n, -4n, -3n])
        const second = yield* ledger.entries("pages.a", { limit: 10, before: first[2]?.id })
        assert.deepStrictEqual(second.map((entry) => entry.amount), [-2n, -1n, 100n])
      }))

    it.effect.prop(
      "any traffic of transfers conserves money and overdraws nobody",
      { moves: Moves, salt: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 40 })) },
      ({ moves, salt }) =>
        Effect.gen(function*() {
          runs += 1
          const prefix = `p${runs}-${salt}`
          const ids = yield* opened(prefix, ["0", "1", "2", "3", "4"], 200n)
          const ledger = yield* Ledger
          yield* Effect.forEach(moves, (move, index) =>
            Effect.gen(function*() {
              const { value } = yield* ledger.transfer(`${prefix}-${index}`, {
                ...pair(prefix, move.from, move.to, BigInt(move.amount)),
                ...(move.way === "now" ? {} : { pendingSeconds: 100 })
              })
              if (move.way === "post" || move.way === "void") yield* ledger.resolve(value.id, move.way)
            }).pipe(Effect.catchTag("TransferRefused", () => Effect.void)), { concurrency: 4, discard: true })
          const after = yield* balances(ids)
          assert.strictEqual(after.reduce((sum, balance) => sum + balance, 0n), 1000n)
          assert.isTrue(after.every((balance) => balance >= 0n))
          yield* audited
        }),
      { arbitrary: { runs: process.env["SLUICE_LONG"] === "1" ? 200 : 15 } }
    )
  })
