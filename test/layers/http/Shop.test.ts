/** A shop that is opened over HTTP alone: accounts, money, products, stock; and every way to get that wrong. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as SandboxPaymentProvider from "../../../src/layers/orders/SandboxPaymentProvider.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { type Answer, post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"

const put = (url: string, body: unknown) =>
  request(url, { method: "PUT", body: JSON.stringify(body), headers: { "content-type": "application/json" } })

const isProblem = ({ headers, json, status, text }: Answer, expected: number, type: string) =>
  assert.deepStrictEqual(
    [status, headers.get("content-type"), json?.type],
    [expected, "application/problem+json", `/problems/${type}`],
    text
  )

const working = Harness.serve().pipe(
  Layer.merge(OrderWorker.layer({ poll: "20 millis" })),
  Layer.provide([Harness.ready, SandboxPaymentProvider.layer]),
  Layer.provideMerge(Harness.memory)
)

const atlas = { name: "Atlas", price: "1250", currency: "EUR", seller: "shop", isShipped: false }

withLayer(working, { excludeTestServices: true })("a shop over HTTP", (it) => {
  it.effect("from nothing to an order that is paid", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const bank = yield* put(`${base}/v1/accounts/bank`, { currency: "EUR", allowNegative: true })
      assert.deepStrictEqual(
        [bank.status, bank.headers.get("location"), bank.headers.get("etag"), bank.json.balance],
        [201, "/v1/accounts/bank", "\"1\"", "0"]
      )
      for (const id of ["alice", "shop"]) {
        const opened = yield* put(`${base}/v1/accounts/${id}`, { currency: "EUR" })
        assert.deepStrictEqual([opened.status, opened.json.allowNegative], [201, false])
      }
      const again = yield* put(`${base}/v1/accounts/alice`, { currency: "EUR" })
      assert.deepStrictEqual([again.status, again.headers.get("location")], [200, null])
      const funds = { from: "bank", to: "alice", amount: "5000", currency: "EUR" }
      assert.strictEqual((yield* post(`${base}/v1/transfers`, funds, { "idempotency-key": "funds" })).status, 201)
      const added = yield* put(`${base}/v1/products/atlas`, atlas)
      assert.deepStrictEqual(
        [added.status, added.headers.get("location"), added.json],
        [201, "/v1/products/atlas", { sku: "atlas", ...atlas, onHand: 0, reserved: 0, sold: 0 }]
      )
      const stock = `${base}/v1/products/atlas/stock`
      const delivered = yield* post(stock, { units: 3 }, { "idempotency-key": "delivery-1" })
      assert.deepStrictEqual([delivered.status, delivered.json.onHand], [201, 3])
      const replayed = yield* post(stock, { units: 3 }, { "idempotency-key": "delivery-1" })
      assert.deepStrictEqual([replayed.text, replayed.headers.get("idempotent-replayed")], [delivered.text, "true"])
      const order = { customerId: "alice", items: [{ sku: "atlas", quantity: 2 }] }
      const placed = yield* post(`${base}/v1/orders`, order, { "idempotency-key": "o1", prefer: "wait=10" })
      assert.deepStrictEqual([placed.status, placed.json.status, placed.json.total], [200, "completed", "2500"])
      const product = yield* request(`${base}/v1/products/atlas`)
      assert.deepStrictEqual([product.status, product.json.onHand, product.json.sold], [200, 1, 2])
      const balances = yield* Effect.forEach(["bank", "alice", "shop"], (id) =>
        Effect.map(request(`${base}/v1/accounts/${id}`), ({ json }) => json.balance))
      assert.deepStrictEqual(balances, ["-5000", "2500", "2500"])
      // Changed, and its stock left alone.
      const dearer = yield* put(`${base}/v1/products/atlas`, { ...atlas, price: "1300" })
      assert.deepStrictEqual([dearer.status, dearer.json.price, dearer.json.onHand], [200, "1300", 1])
    }), 180_000)

  it.effect("every way to get it wrong has its problem", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      yield* put(`${base}/v1/accounts/w-eur`, { currency: "EUR" })
      isProblem(yield* put(`${base}/v1/accounts/w-eur`, { currency: "USD" }), 409, "account-differs")
      isProblem(
        yield* put(`${base}/v1/accounts/w-eur`, { currency: "EUR", allowNegative: true }),
        409,
        "account-differs"
      )
      isProblem(yield* put(`${base}/v1/accounts/w-x`, { currency: "eur" }), 400, "invalid-request")
      isProblem(yield* put(`${base}/v1/accounts/w%20x`, { currency: "EUR" }), 400, "invalid-request")
      isProblem(yield* put(`${base}/v1/accounts/w-x`, "x".repeat(70_000)), 413, "payload-too-large")
      isProblem(yield* request(`${base}/v1/accounts/w-x`), 404, "account-not-found")

      const mine = { ...atlas, seller: "w-eur" }
      const stranger = yield* put(`${base}/v1/products/w-p`, { ...mine, seller: "nobody" })
      isProblem(stranger, 422, "product-refused")
      assert.strictEqual(stranger.json.reason, "UnknownSeller")
      const foreign = yield* put(`${base}/v1/products/w-p`, { ...mine, currency: "USD" })
      isProblem(foreign, 422, "product-refused")
      assert.strictEqual(foreign.json.reason, "CurrencyMismatch")
      isProblem(yield* put(`${base}/v1/products/w-p`, { ...mine, price: "-1" }), 400, "invalid-request")
      isProblem(yield* request(`${base}/v1/products/w-p`), 404, "product-not-found")
      isProblem(
        yield* post(`${base}/v1/products/w-p/stock`, { units: 1 }, { "idempotency-key": "w1" }),
        404,
        "product-not-found"
      )
      yield* put(`${base}/v1/products/w-p`, mine)
      const stock = `${base}/v1/products/w-p/stock`
      isProblem(yield* post(stock, { units: 1 }), 400, "idempotency-key-missing")
      for (const units of [0, 1.5, "1", 2_000_000_001]) {
        isProblem(yield* post(stock, { units }, { "idempotency-key": "w2" }), 400, "invalid-request")
      }
      const empty = yield* post(stock, { units: -1 }, { "idempotency-key": "w3" })
      isProblem(empty, 422, "stock-refused")
      assert.strictEqual(empty.json.onHand, 0)
      yield* post(stock, { units: 5 }, { "idempotency-key": "w4" })
      isProblem(yield* post(stock, { units: 6 }, { "idempotency-key": "w4" }), 422, "idempotency-key-reused")
      const wrong = yield* request(`${base}/v1/products/w-p`, { method: "DELETE" })
      isProblem(wrong, 405, "method-not-allowed")
      assert.strictEqual(wrong.headers.get("allow"), "GET, PUT")
    }))
})
