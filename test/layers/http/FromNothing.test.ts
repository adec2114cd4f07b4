/**
 * A database that nobody has prepared: random sequences of API calls, with the workers running beside them. Whatever is asked for in
 * whatever order, no answer is a 5xx, every order ends, nothing stays reserved, and in each currency the balances of the accounts that are
 * there sum to zero.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import * as SandboxPaymentProvider from "../../../src/layers/orders/SandboxPaymentProvider.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import { Order } from "../../../src/services/orders/Order.ts"
import { type Answer, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { eventually } from "../../support/eventually.ts"
import { app } from "../../support/orders.ts"
import { random } from "../../support/Random.ts"

const sequences = process.env["SLUICE_LONG"] === "1" ? 200 : 6
const calls = 100
const seed = Number(process.env["SLUICE_SEED"] ?? 20_261_121)

/** Each sequence has names and currencies of its own: nobody has prepared them either. */
const namesOf = (sequence: number) => {
  const letter = (place: number) => String.fromCharCode(65 + Math.floor(sequence / 26 ** place) % 26)
  const currencies = ["E", "G", "C"].map((first) => `${first}${letter(1)}${letter(0)}`)
  return {
    currencies,
    accounts: [
      ...["bank", "alice", "bob", "shop", "declined"].map((name) => `${name}-${sequence}`),
      ...currencies.map((currency) => `card-clearing.${currency}`)
    ],
    skus: ["atlas", "globe", "map"].map((name) => `${name}-${sequence}`)
  }
}

interface Call {
  readonly method: string
  readonly path: string
  readonly body: unknown
}

const make = (sequence: number) => {
  const next = random(seed + sequence)
  const { accounts, currencies, skus } = namesOf(sequence)
  const pick = <A>(list: ReadonlyArray<A>): A => list[Math.floor(next() * list.length)]!
  const upTo = (most: number) => 1 + Math.floor(next() * most)
  const orders: Array<string> = []
  const transfers: Array<string> = []
  const known = (ids: ReadonlyArray<string>) => ids.length === 0 ? "00000000-0000-7000-8000-000000000000" : pick(ids)

  // Mostly the same one, or nothing would ever be sold.
  const currency = () => next() < 0.85 ? currencies[0]! : pick(currencies)

  const kinds: ReadonlyArray<() => Call> = [
    () => ({
      method: "PUT",
      path: `/v1/accounts/${pick(accounts)}`,
      body: { currency: currency(), ...(next() < 0.5 ? { allowNegative: next() < 0.5 } : {}) }
    }),
    () => ({
      method: "PUT",
      path: `/v1/products/${pick(skus)}`,
      body: {
        name: "n",
        price: String(upTo(900)),
        currency: currency(),
        seller: pick(accounts),
        isShipped: next() < 0.5
      }
    }),
    () => ({ method: "POST", path: `/v1/products/${pick(skus)}/stock`, body: { units: upTo(40) - 5 } }),
    () => ({
      method: "POST",
      path: "/v1/transfers",
      body: {
        from: pick(accounts),
        to: pick(accounts),
        amount: String(upTo(5000)),
        currency: currency(),
        ...(next() < 0.3 ? { pendingSeconds: upTo(3600) } : {})
      }
    }),
    () => ({ method: "POST", path: `/v1/transfers/${known(transfers)}/${pick(["post", "void"])}`, body: "" }),
    () => ({ method: "POST", path: `/v1/orders/${known(orders)}/cancel`, body: "" })
  ]
  const place = (): Call => ({
    method: "POST",
    path: "/v1/orders",
    body: {
      customerId: pick(accounts),
      items: [{ sku: pick(skus), quantity: upTo(4) }],
      payment: next() < 0.6 ? "card" : "account"
    }
  })
  return {
    call: () => next() < 0.45 ? place() : pick(kinds)(),
    learn: ({ path }: Call, answer: Answer) => {
      if (path === "/v1/orders" && answer.status === 202) orders.push(answer.json.id)
      if (path === "/v1/transfers" && answer.status === 201) transfers.push(answer.json.id)
    },
    orders
  }
}

/** A shop by hand: what must be seen in the end does not depend on luck. No clearing account is opened. */
const opening = (sequence: number): ReadonlyArray<Call> => {
  const { currencies: [currency], skus: [sold, missing] } = namesOf(sequence)
  const open = (name: string, more = {}) => ({
    method: "PUT",
    path: `/v1/accounts/${name}-${sequence}`,
    body: { currency, ...more }
  })
  const sell = (sku: string | undefined) => ({
    method: "PUT",
    path: `/v1/products/${sku}`,
    body: { name: "n", price: "100", currency, seller: `shop-${sequence}`, isShipped: sequence % 2 === 0 }
  })
  const order = (name: string, sku: string | undefined, payment: string) => ({
    method: "POST",
    path: "/v1/orders",
    body: { customerId: `${name}-${sequence}`, items: [{ sku, quantity: 1 }], payment }
  })
  const funds = { from: `bank-${sequence}`, to: `alice-${sequence}`, amount: "5000", currency }
  return [
    open("bank", { allowNegative: true }),
    ...["alice", "shop", "declined"].map((name) => open(name)),
    ...[sold, missing].map(sell),
    { method: "POST", path: `/v1/products/${sold}/stock`, body: { units: 30 } },
    { method: "POST", path: "/v1/transfers", body: funds },
    order("alice", sold, "card"),
    order("alice", sold, "account"),
    order("alice", missing, "card"),
    order("declined", sold, "card")
  ]
}

const send = (base: string, { body, method, path }: Call, key: string) =>
  request(base + path, {
    method,
    headers: { "content-type": "application/json", "idempotency-key": key },
    ...(body === "" ? {} : { body: JSON.stringify(body) })
  })

interface State {
  readonly currency: string
  readonly sum: string
}

/** What must be so whatever happened, asked of the tables themselves. */
const isInOrder = Effect.fnUntraced(function*(what: string) {
  const sql = yield* SqlClient.SqlClient
  const sums = yield* sql<State>`select currency, sum(balance)::text as sum from sluice.accounts group by currency`
  for (const { currency, sum } of sums) assert.strictEqual(sum, "0", `${what}: ${currency}`)
  const strangers = yield* sql`select account from sluice.ledger_entries e
    where not exists (select from sluice.accounts a where a.id = e.account)`
  assert.deepStrictEqual(strangers, [], what)
  const reserved = yield* sql`select sku, reserved from sluice.products where reserved <> 0`
  assert.deepStrictEqual(reserved, [], what)
  assert.isTrue(isSound(yield* Effect.flatMap(Ledger, (ledger) => ledger.audit)), what)
})

const decodeOrder = Schema.decodeUnknownEffect(Schema.toCodecJson(Order))

const play = Effect.fnUntraced(function*(number: number, ends: Set<string>) {
  const what = `seed ${seed}, sequence ${number}`
  const base = yield* Harness.baseUrl
  const script = make(number)
  for (const [index, call] of opening(number).entries()) {
    const answer = yield* send(base, call, `${number}-opening-${index}`)
    assert.include([201, 202], answer.status, `${what}: ${JSON.stringify(call)} -> ${answer.text}`)
    script.learn(call, answer)
  }
  yield* Effect.forEach(Array.from({ length: calls }, (_, index) => index), (index) => {
    const call = script.call()
    return Effect.map(send(base, call, `${number}-${index}`), (answer) => {
      assert.isBelow(answer.status, 500, `${what}: ${JSON.stringify(call)} -> ${answer.text}`)
      script.learn(call, answer)
    })
  }, { concurrency: 4 })
  for (const id of script.orders) {
    const order = yield* eventually(
      Effect.flatMap(request(`${base}/v1/orders/${id}`), ({ json }) => decodeOrder(json)),
      ({ status }) => status === "completed" || status === "failed" || status === "cancelled"
    )
    ends.add(`${order.payment} ${order.failure ?? order.status}`)
  }
  yield* isInOrder(what)
})

const working = Harness.serve().pipe(
  Layer.merge(OrderWorker.layer({ poll: "20 millis" })),
  Layer.provide([PostgresReadiness.layer, SandboxPaymentProvider.layer]),
  Layer.provideMerge(app)
)

it.live(
  "any sequence of calls on an empty database ends with all orders ended and the books in order",
  () =>
    Effect.gen(function*() {
      const ends = new Set<string>()
      for (let number = 0; number < sequences; number++) {
        yield* play(number, ends)
      }
      // The sequences would prove nothing if none of them came this far.
      assert.includeMembers([...ends], [
        "card completed",
        "account completed",
        "card PaymentDeclined",
        "card OutOfStock"
      ])
    }).pipe(Effect.provide(working)),
  600_000
)
