/**
 * Every route of the API's own document, asked with nonsense: bad JSON, wrong types, huge bodies, bad cursors, unicode, integer limits. No
 * answer is a 5xx, every error is a problem document, and what was refused has written nothing.
 */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import { type Answer, requestUnlessStreamed } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { app } from "../../support/orders.ts"
import { random } from "../../support/Random.ts"
import * as Shop from "../../support/Shop.ts"

const rounds = process.env["SLUICE_LONG"] === "1" ? 4000 : 250
const seed = Number(process.env["SLUICE_SEED"] ?? 20_261_120)

const nastyText = [
  "",
  " ",
  "\u0000",
  "a\u0000b",
  "💥",
  "ä".repeat(300),
  "\ud800",
  "\udfff\ud800",
  "%00",
  "../../etc/passwd",
  "' or 1=1 --",
  "null",
  "0",
  "-1",
  "9".repeat(40),
  "1e9",
  "00000000-0000-7000-8000-000000000000",
  "ffffffff-ffff-ffff-ffff-ffffffffffff",
  "x".repeat(5000),
  "\u202e",
  "\n",
  "NaN",
  "MTo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
  "MTonO2Ryb3AgdGFibGU",
  "alice",
  "merchant",
  "p1",
  "EUR",
  "9223372036854775807",
  "-9223372036854775808"
]
const nastyJson: ReadonlyArray<unknown> = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 53,
  2 ** 63,
  1e308,
  [],
  {},
  [[]],
  { a: 1 },
  Array.from({ length: 200 }, () => ({ sku: "p1", quantity: 1 })),
  ...nastyText
]
const nastyBodies = [
  "",
  "{",
  "}",
  "[]",
  "null",
  "\"\"",
  "{\"a\":1e999}",
  "[".repeat(5000),
  "{\"a\":".repeat(2000),
  "\u0000",
  "{\"customerId\":\"alice\",\"customerId\":{}}",
  "{\"__proto__\":{\"x\":1}}",
  "x".repeat(200_000),
  "\ufeff{}"
]

const samples: Record<string, unknown> = {
  "/v1/orders": { customerId: "alice", items: [{ sku: "p1", quantity: 1 }], note: "n", payment: "account" },
  "/v1/accounts/{id}": { currency: "EUR", allowNegative: false },
  "/v1/products/{sku}": { name: "n", price: "250", currency: "EUR", seller: "merchant", isShipped: false },
  "/v1/products/{sku}/stock": { units: 1 },
  "/v1/fetches": { urls: ["https://example.com/"], name: "fuzz" },
  "/v1/transfers": { from: "alice", to: "merchant", amount: "1", currency: "EUR", reference: "r", pendingSeconds: 60 }
}

/** What there is from the beginning, by the parameter that names it. */
const known: Record<string, string> = { sku: "p1", id: "alice" }

interface Nonsense {
  readonly url: string
  readonly init: RequestInit
}

/**
 * What every seed begins with: a body that is right, each one that is not, and names that are and are not there. What must be seen in the
 * end is among it, so that it does not depend on luck.
 */
const first = (path: string, verb: string): ReadonlyArray<Nonsense> => {
  const sample = samples[path]
  const isWrite = verb === "post" || verb === "put"
  const bodies = !isWrite ? [undefined] : sample === undefined ? nastyBodies : [JSON.stringify(sample), ...nastyBodies]
  // What a PUT makes is there for the routes after it.
  const other = verb === "put" ? "first-made" : "first-missing"
  const names: ReadonlyArray<Record<string, string>> = path.includes("{")
    ? [known, { id: other, sku: other, name: other }, { id: "00000000-0000-7000-8000-000000000000" }]
    : [{}]
  return names.flatMap((values, row) =>
    bodies.map((body, column) => ({
      url: path.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "fuzz"),
      init: {
        method: verb.toUpperCase(),
        headers: { "idempotency-key": `first-${path}-${row}-${column}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body })
      }
    }))
  )
}

const make = (next: () => number) => {
  const pick = <A>(list: ReadonlyArray<A>): A => list[Math.floor(next() * list.length)]!
  /** The value with one place in it replaced, removed or added. */
  const mutate = (value: unknown): unknown => {
    if (Array.isArray(value) && next() < 0.7) return value.map((item, index) => index === 0 ? mutate(item) : item)
    if (typeof value === "object" && value !== null && !Array.isArray(value) && next() < 0.9) {
      const entries = Object.entries(value)
      const [key] = pick(entries)
      if (next() < 0.15) return Object.fromEntries(entries.filter(([name]) => name !== key))
      if (next() < 0.1) return { ...value, [pick(nastyText)]: pick(nastyJson) }
      return Object.fromEntries(entries.map(([name, inner]) => [name, name === key ? mutate(inner) : inner]))
    }
    return pick(nastyJson)
  }
  const headerText = () => pick(nastyText).replaceAll(/[^\x20-\xff]/g, "?").slice(0, 400)
  const body = (path: string): string | undefined => {
    if (next() < 0.25) return pick(nastyBodies)
    const sample = samples[path]
    return sample === undefined
      ? pick(["", "{}", "null"])
      : next() < 0.25
      ? JSON.stringify(sample)
      : JSON.stringify(mutate(sample))
  }
  return (
    path: string,
    verb: string,
    parameters: ReadonlyArray<{ readonly name: string; readonly in: string }>
  ): Nonsense => {
    // Some are names that nothing has yet, and some name what is there.
    const segment = (name: string) =>
      next() < 0.2 ? `fuzz-${Math.floor(next() * 20)}` : next() < 0.2 ? known[name] ?? "fuzz" : pick(nastyText)
    let url = path.replaceAll(
      /\{(\w+)\}/g,
      (_, name: string) => encodeURIComponent(segment(name).toWellFormed()) || "%20"
    )
    if (next() < 0.05) url += pick(["%", "%zz", "/", "//", "?", "?cursor", "?%zz=1", "#x"])
    const query = new URLSearchParams()
    const headers: Record<string, string> = {
      "idempotency-key": `fuzz-${Math.floor(next() * 1e9)}`,
      "content-type": "application/json"
    }
    for (const parameter of parameters) {
      if (next() < 0.4) continue
      if (parameter.in === "query") query.append(parameter.name, pick(nastyText).toWellFormed())
      if (parameter.in === "header") headers[parameter.name] = headerText()
    }
    if (next() < 0.05) {
      headers["content-type"] = pick(["text/plain", "application/xml", "application/json; charset=utf-16", "garbage"])
    }
    if (next() < 0.05) headers["x-request-id"] = headerText()
    const text = query.toString()
    const init: RequestInit = { method: verb.toUpperCase(), headers }
    const payload = verb === "post" || verb === "put" ? body(path) : undefined
    return {
      url: text === "" ? url : `${url}?${text}`,
      init: payload === undefined ? init : { ...init, body: payload }
    }
  }
}

const counts = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<
    Record<"orders" | "transfers" | "entries" | "accounts" | "products" | "adjustments", bigint>
  >`
    select (select count(*) from sluice.orders) as orders, (select count(*) from sluice.transfers) as transfers,
      (select count(*) from sluice.ledger_entries) as entries, (select count(*) from sluice.accounts) as accounts,
      (select count(*) from sluice.products) as products, (select count(*) from sluice.stock_adjustments) as adjustments`
  return rows[0]!
})

const operations = Object.entries(Addresses.document.paths).flatMap(([path, item]) =>
  Object.entries(item).flatMap(([verb, operation]) =>
    "parameters" in operation ? [{ path, verb, parameters: operation.parameters }] : []
  )
)

const layer = Harness.serve().pipe(Layer.provide(PostgresReadiness.layer), Layer.provideMerge(app))

withLayer(layer, { excludeTestServices: true })("fuzz", (it) => {
  it.effect("no nonsense is answered with a 5xx, and none of it is written", () =>
    Effect.gen(function*() {
      yield* Shop.open(["alice"], 1_000_000n)
      yield* Shop.stock([Shop.product("p1")])
      const base = yield* Harness.baseUrl
      const before = yield* counts
      const generate = make(random(seed))
      const written = { orders: 0n, transfers: 0n, accounts: 0n, products: 0n, adjustments: 0n }
      const seen = new Map<string, number>()
      for (const { parameters, path, verb } of operations) {
        const luck = Array.from({ length: Math.ceil(rounds / operations.length * 3) }, () =>
          generate(path, verb, parameters))
        const batch = [...first(path, verb), ...luck]
        yield* Effect.forEach(batch, ({ init, url }) =>
          Effect.map(requestUnlessStreamed(base + url, init), (answer: Answer) => {
            const what = `seed ${seed}: ${verb} ${url.slice(0, 200)} ${
              (typeof init.body === "string" ? init.body : "").slice(0, 300)
            } -> ${answer.status} ${answer.text.slice(0, 300)}`
            assert.isBelow(answer.status, 500, what)
            if (answer.status >= 400) {
              assert.strictEqual(answer.headers.get("content-type"), "application/problem+json", what)
              assert.strictEqual(answer.json?.status, answer.status, what)
            }
            seen.set(`${verb} ${path} ${answer.status}`, (seen.get(`${verb} ${path} ${answer.status}`) ?? 0) + 1)
            // A replay is the answer to an earlier request, and writes nothing.
            if (answer.headers.get("idempotent-replayed") === "true") {
              return
            }
            if (path === "/v1/orders" && answer.status === 202) {
              written.orders += 1n
            }
            if (path === "/v1/transfers" && answer.status === 201) {
              written.transfers += 1n
            }
            if (verb === "put" && answer.status === 201) {
              written[path === "/v1/accounts/{id}" ? "accounts" : "products"] += 1n
            }
            if (path === "/v1/products/{sku}/stock" && answer.status === 201) {
              written.adjustments += 1n
            }
          }), { concurrency: 8 })
      }
      const after = yield* counts
      for (const what of ["orders", "transfers", "accounts", "products", "adjustments"] as const) {
        assert.strictEqual(after[what] - before[what], written[what], what)
      }
      assert.isTrue(isSound(
        yield* Effect.flatMap(Ledger, (ledger) =>
          ledger.audit)
      ))
      // The fuzz would prove nothing if everything were refused at the door.
      for (
        const expected of [
          "post /v1/orders 202",
          "post /v1/orders 400",
          "post /v1/orders 413",
          "get /v1/orders/{id} 404",
          "post /v1/transfers 201",
          "put /v1/accounts/{id} 201",
          "put /v1/accounts/{id} 400",
          "put /v1/products/{sku} 201",
          "post /v1/products/{sku}/stock 201",
          "post /v1/products/{sku}/stock 404"
        ]
      ) {
        assert.isAbove(seen.get(expected) ?? 0, 0, `${expected} never seen: ${[...seen].join("; ")}`)
      }
    }), 300_000)
})
