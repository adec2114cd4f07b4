/**
 * Numbers at their limits: what may be asked for, and what may be stored. Nothing is a 5xx, and no row is written that cannot be read
 * again.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import * as SandboxPaymentProvider from "../../../src/layers/orders/SandboxPaymentProvider.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { maxAmount, maxBalance } from "../../../src/services/orders/Money.ts"
import { maxStock } from "../../../src/services/orders/Product.ts"
import { type Answer, post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { eventually } from "../../support/eventually.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"

const working = Harness.serve().pipe(
  Layer.merge(OrderWorker.layer({ poll: "20 millis" })),
  Layer.provide([PostgresReadiness.layer, SandboxPaymentProvider.layer]),
  Layer.provideMerge(app)
)

let keys = 0
const key = () => ({ "idempotency-key": `limit-${keys += 1}` })

const put = (url: string, body: unknown) =>
  request(url, { method: "PUT", body: JSON.stringify(body), headers: { "content-type": "application/json" } })

/** A number field: what it takes at its two ends, and how a request with it is made. */
interface Field {
  readonly name: string
  readonly good: ReadonlyArray<unknown>
  readonly bad: ReadonlyArray<unknown>
  readonly send: (base: string, value: unknown) => Effect.Effect<Answer>
}

const amounts = {
  good: ["1", String(maxAmount)],
  bad: [
    "0",
    "-1",
    "",
    "01",
    "1.0",
    "1e3",
    String(maxAmount + 1n),
    "9223372036854775807",
    "9223372036854775808",
    1,
    null
  ]
}

const wholes = (minimum: number, maximum: number) => ({
  good: [minimum, maximum],
  bad: [minimum - 1, maximum + 1, minimum + 0.5, 2 ** 31, 2 ** 53, 2 ** 63, 1e308, String(minimum), null]
})

const transfer = { from: "cash", to: "alice", amount: "1", currency: "EUR" }
const product = { name: "n", price: "1", currency: "EUR", seller: "merchant", isShipped: false }
const order = (quantity: unknown) => ({ customerId: "alice", items: [{ sku: "p1", quantity }] })
const items = (count: unknown) =>
  Array.from({ length: Number(count) }, (_, index) => ({ sku: `many-${index}`, quantity: 1 }))

const fields: ReadonlyArray<Field> = [
  { name: "amount", ...amounts, send: (base, amount) => post(`${base}/v1/transfers`, { ...transfer, amount }, key()) },
  {
    name: "pendingSeconds",
    ...wholes(1, 2_592_000),
    send: (base, pendingSeconds) => post(`${base}/v1/transfers`, { ...transfer, pendingSeconds }, key())
  },
  { name: "price", ...amounts, send: (base, price) => put(`${base}/v1/products/priced`, { ...product, price }) },
  {
    name: "units",
    good: [1, -1, maxStock, -maxStock],
    bad: [0, maxStock + 1, -maxStock - 1, 0.5, 2 ** 31, -(2 ** 31), 2 ** 53, 1e308, "1", null],
    send: (base, units) => post(`${base}/v1/products/p1/stock`, { units }, key())
  },
  {
    name: "quantity",
    ...wholes(1, 10_000),
    send: (base, quantity) => post(`${base}/v1/orders`, order(quantity), key())
  },
  {
    name: "items",
    good: [1, 100],
    bad: [0, 101],
    send: (base, count) => post(`${base}/v1/orders`, { customerId: "alice", items: items(count) }, key())
  },
  ...["/v1/orders", "/v1/products", "/v1/accounts/alice/entries", "/v1/jobs"].map((path): Field => ({
    name: `limit of ${path}`,
    good: [1, 200],
    bad: [0, 201, -1, 1.5, "01", "1e2", "9".repeat(30), ""],
    send: (base, limit) => request(`${base}${path}?limit=${String(limit)}`)
  }))
]

const opened = [
  { id: "poor", balance: 0n, held: 0n, allowNegative: false },
  { id: "bank", balance: 0n, held: 0n, allowNegative: true },
  { id: "top", balance: maxBalance, held: 0n, allowNegative: false },
  { id: "near-top", balance: maxBalance - 1n, held: 0n, allowNegative: false },
  { id: "bottom", balance: -maxBalance, held: 0n, allowNegative: true },
  { id: "near-bottom", balance: 1n - maxBalance, held: 0n, allowNegative: true },
  { id: "holding", balance: maxBalance, held: maxBalance - 1n, allowNegative: true },
  { id: "card-clearing.XXX", balance: 2n - maxBalance, held: 0n, allowNegative: true }
]

withLayer(working, { excludeTestServices: true })("limits", (it) => {
  it.effect(
    "each number of a request is taken up to its limit, and beyond it the request is told so",
    () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        yield* Shop.open(["alice"], 0n)
        yield* Shop.stock([Shop.product("p1"), ...items(101).map(({ sku }) => Shop.product(sku))])
        for (const { bad, good, name, send } of fields) {
          for (const value of good) {
            const { status, text } = yield* send(base, value)
            assert.isTrue(status < 500 && status !== 400, `${name} ${String(value)}: ${text}`)
          }
          for (const value of bad) {
            const { json, text } = yield* send(base, value)
            assert.deepStrictEqual(
              [json?.status, json?.type],
              [400, "/problems/invalid-request"],
              `${name} ${String(value)}: ${text}`
            )
          }
        }
      }),
    180_000
  )

  it.effect(
    "sums at their limits are moved or refused, never overflown, and stay readable",
    () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        const sql = yield* PgClient.PgClient
        // Some for transfers, and some that nothing has moved before there are orders.
        const traders = opened.filter(({ id }) => !id.startsWith("card")).map((account) =>
          Object.assign({}, account, { id: `trader-${account.id}` })
        )
        const all = [...opened, ...traders]
        for (const { allowNegative, balance, held, id } of all) {
          yield* sql`insert into sluice.accounts (id, currency, balance, held, allow_negative)
          values (${id}, 'XXX', ${balance}, ${held}, ${allowNegative})`
        }
        const ids = opened.map(({ id }) => id)
        yield* sql`insert into sluice.products (sku, name, price, currency, seller, is_shipped, on_hand, reserved)
        select 'by-' || id || '-' || cost, 'n', cost, 'XXX', id, cost = 1, ${maxStock - 1000}, 1000
        from unnest(array[1, 99999999999]::bigint[]) cost, sluice.accounts where id like 'trader-%'`
        const answers: Array<Answer> = []
        const ask = (what: Effect.Effect<Answer>) =>
          Effect.tap(what, (answer) =>
            Effect.sync(() => {
              assert.isBelow(answer.status, 500, answer.text)
              answers.push(answer)
            }))
        for (const from of ids) {
          for (const to of ids) {
            for (const amount of ["1", String(maxAmount)]) {
              const body = { from, to, amount, currency: "XXX" }
              const pending = yield* ask(post(`${base}/v1/transfers`, { ...body, pendingSeconds: 1000 }, key()))
              yield* ask(post(`${base}/v1/transfers`, body, key()))
              assert.strictEqual((yield* request(`${base}/v1/accounts/${from}`)).status, 200, `${from} -> ${to}`)
              if (pending.status === 201) {
                yield* ask(post(`${base}/v1/transfers/${pending.json.id}/${amount === "1" ? "post" : "void"}`, ""))
              }
            }
          }
        }
        const placed: Array<string> = []
        for (const { id: customerId } of traders) {
          for (const { id: seller } of traders) {
            for (const cost of ["1", "99999999999"]) {
              for (const payment of ["card", "account"]) {
                const items = [{ sku: `by-${seller}-${cost}`, quantity: cost === "1" ? 1 : 10_000 }]
                const answer = yield* ask(post(`${base}/v1/orders`, { customerId, items, payment }, key()))
                if (answer.status === 202) placed.push(answer.json.id)
              }
            }
          }
        }
        const ends = new Set<string>()
        for (const [index, id] of placed.entries()) {
          if (index % 3 === 0) yield* ask(post(`${base}/v1/orders/${id}/cancel`, ""))
          const ended = yield* eventually(
            ask(request(`${base}/v1/orders/${id}`)),
            ({ json }) => /^(completed|failed|cancelled)$/.test(json.status)
          )
          ends.add(`${ended.json.payment} ${ended.json.failure ?? ended.json.status}`)
        }
        for (const { id } of all) {
          assert.strictEqual((yield* request(`${base}/v1/accounts/${id}`)).status, 200)
          assert.strictEqual((yield* request(`${base}/v1/accounts/${id}/entries`)).status, 200)
        }
        assert.strictEqual((yield* request(`${base}/v1/products?limit=200`)).status, 200)
        const sum = yield* sql<
          { readonly sum: string }
        >`select sum(balance - coalesce(e.sum, 0))::text as sum from sluice.accounts a
        left join (select account, sum(amount) from sluice.ledger_entries group by account) e on e.account = a.id where currency = 'XXX'`
        // What was there at the beginning is there at the end: every movement has left its two entries.
        assert.strictEqual(sum[0]?.sum, String(all.reduce((total, { balance }) => total + balance, 0n)))
        const reasons = new Set(answers.map(({ json }) => json?.reason))
        assert.isTrue(reasons.has("BalanceOutOfRange") && reasons.has("InsufficientFunds"))
        assert.includeMembers([...ends], [
          "card completed",
          "card BalanceOutOfRange",
          "account completed",
          "account BalanceOutOfRange"
        ])
      }),
    300_000
  )
})
