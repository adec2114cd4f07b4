/**
 * The pages: the lines of /docs name the server as whoever reads them has reached it and take no other text from the request, links lead to
 * what is there, below any prefix, and nothing but the pages' own script may run.
 */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { createHash } from "node:crypto"
import { get } from "node:http"
import * as Problem from "../../../src/services/http/Problem.ts"
import { post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import * as Shop from "../../support/Shop.ts"

/** fetch does not let a test set Host. */
const docs = (base: string, headers: Record<string, string>) =>
  Effect.callback<string>((resume) => {
    get(`${base}/docs`, { headers }, (response) => {
      let text = ""
      response.on("data", (chunk) => text += String(chunk))
      response.on("end", () => resume(Effect.succeed(text)))
    })
  })

const basesIn = (text: string) => new Set([...text.matchAll(/'([^']*)\/v1\/transfers'/g)].map(([, base]) => base))

withLayer(
  Harness.serve().pipe(Layer.provide(Harness.ready), Layer.provideMerge(Harness.memory)),
  { excludeTestServices: true }
)("docs page", (it) => {
  for (
    const [what, headers, expected] of [
      ["a name and port", { host: "shop.example:8080" }, "http://shop.example:8080"],
      ["an address of IPv6", { host: "[::1]:3000" }, "http://[::1]:3000"],
      [
        "a proxy that was asked by another name",
        { host: "127.0.0.1:3000", "x-forwarded-host": "shop.example", "x-forwarded-proto": "https" },
        "https://shop.example"
      ],
      ["a proxy with TLS", { host: "shop.example", "x-forwarded-proto": "https" }, "https://shop.example"],
      ["what is no host", { host: "x';rm -rf ~;'<b>" }, "http://127.0.0.1:3000"],
      ["what is no scheme", { host: "a.example", "x-forwarded-proto": "javascript" }, "http://a.example"]
    ] as const
  ) {
    it.effect(`${what}: ${expected}`, () =>
      Effect.gen(function*() {
        const text = yield* docs(yield* Harness.baseUrl, headers)
        assert.deepStrictEqual(basesIn(text), new Set([expected]))
        assert.notInclude(text, "rm -rf")
        assert.notInclude(text, "sluice.invalid")
        // Without a token there is none to send.
        assert.notInclude(text, "$SLUICE_API_TOKEN")
      }))
  }

  it.effect("a policy lets nothing run or load but the page's own style and script", () =>
    Effect.gen(function*() {
      const page = yield* request(`${yield* Harness.baseUrl}/docs`)
      const policy = page.headers.get("content-security-policy") ?? ""
      assert.match(policy, /^default-src 'none';/)
      assert.notInclude(policy, "unsafe")
      for (const part of ["script", "style"]) {
        const parts = [...page.text.matchAll(new RegExp(`<${part}>(.*?)</${part}>`, "gs"))].map(([, text = ""]) => text)
        assert.strictEqual(parts.length, 1)
        assert.include(policy, `${part}-src 'sha256-${createHash("sha256").update(parts[0] ?? "").digest("base64")}'`)
        assert.strictEqual([...page.text.matchAll(new RegExp(`<${part}`, "g"))].length, 1)
      }
      assert.notMatch(page.text, / (?:style|on\w+)="/)
    }))

  it.effect("has every route in the group of its tag, ranges in words, and each shared problem told once", () =>
    Effect.gen(function*() {
      const { text } = yield* request(`${yield* Harness.baseUrl}/docs`)
      const nav = /<nav>.*<\/nav>/s.exec(text)?.[0] ?? ""
      const routes = [...text.matchAll(/<section class="item" data-find id="([a-z][A-Za-z]+)"><h3>/g)].map(([, id]) =>
        id
      )
      assert.includeMembers(routes, ["placeOrder", "orderEvents", "fetchEvents", "getLiveness", "getMetrics"])
      for (const id of routes) assert.include(nav, `href="#${id}"`)
      for (const id of ["top", "access", "problems", "schemas", "tag-orders", "tag-health"]) {
        assert.include(nav, `href="#${id}"`)
        assert.include(text, `id="${id}"`)
      }
      assert.include(text, "whole number, 1 to 200")
      assert.notInclude(text, "[1-9]\\d?|1\\d\\d|200")
      // In the table of every route, as a heading of its own, and in no route's answers.
      assert.strictEqual([...text.matchAll(/href="#\/problems\/deadline-exceeded"/g)].length, 1)
      assert.strictEqual([...text.matchAll(/href="#\/problems\/payload-too-large"/g)].length, 1)
    }))

  it.effect("the page of each problem leads to the routes that answer it", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const docs = yield* request(`${base}/docs`)
      const ids = new Set([...docs.text.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id))
      for (const { type } of Problem.docs) {
        const { text } = yield* request(base + type)
        const targets = [...text.matchAll(/href="\.\.\/docs#([^"]+)"/g)].map(([, id]) => id)
        assert.deepStrictEqual(targets.filter((id) => !ids.has(id)), [], type)
        assert.isTrue(targets.length > 1 || text.includes("Any address"), type)
        assert.include(text, `&quot;type&quot;: &quot;${type}&quot;`)
      }
      const refused = yield* request(`${base}/problems/order-refused`)
      assert.include(refused.text, "../docs#placeOrder")
      assert.notInclude(refused.text, "../docs#getOrder")
    }))

  it.effect("the root leads browsers to the pages and programs to what there is", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const browser = yield* request(`${base}/`, { redirect: "manual", headers: { accept: "text/html,*/*" } })
      assert.deepStrictEqual([browser.status, browser.headers.get("location")], [303, "/docs"])
      const { json } = yield* request(`${base}/`)
      for (const path of Object.values<string>(json.links)) {
        assert.strictEqual((yield* request(base + path)).status, 200, path)
      }
    }))
})

withLayer(
  Harness.serve({ publicUrl: "https://example.com/shop" }).pipe(
    Layer.provide(Harness.ready),
    Layer.provideMerge(Harness.memory)
  ),
  { excludeTestServices: true }
)("below a prefix", (it) => {
  it.effect("every address is understood with the prefix and without it, and answered with it", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      yield* Shop.open(["alice"], 100_000n)
      yield* Shop.stock([Shop.product("p1")])
      for (const prefix of ["", "/shop"]) {
        const docs = yield* request(`${base}${prefix}/docs`)
        assert.deepStrictEqual(basesIn(docs.text), new Set(["https://example.com/shop"]))
        assert.notMatch(docs.text, /(?:src|href)="\//)
        const spec = yield* request(`${base}${prefix}/openapi.json`)
        assert.deepStrictEqual(spec.json.servers, [{ url: "https://example.com/shop" }])
        const body = { customerId: "alice", items: [{ sku: "p1", quantity: 1 }] }
        const placed = yield* post(`${base}${prefix}/v1/orders`, body, { "idempotency-key": `k${prefix}` })
        assert.strictEqual(placed.headers.get("location"), `/shop/v1/orders/${placed.json.id}`)
        assert.strictEqual((yield* request(base + placed.headers.get("location"))).status, 200)
      }
      const page = yield* request(`${base}/v1/orders?limit=1`)
      assert.match(page.headers.get("link") ?? "", /^<\/shop\/v1\/orders\?limit=1&cursor=/)
      const root = yield* request(`${base}/shop`, { redirect: "manual", headers: { accept: "text/html" } })
      assert.strictEqual(root.headers.get("location"), "/shop/docs")
      for (const path of ["/shopping/docs", "/shop/shop/docs", "/SHOP/docs", "/shop//docs"]) {
        assert.strictEqual((yield* request(base + path)).status, 404, path)
      }
      // The guard sees what the router sees.
      const reply = yield* request(`${base}/shop/v1/orders`, { headers: { origin: "https://evil.example" } })
      assert.strictEqual(reply.status, 403)
    }))
})
