/**
 * Nobody without the token, and no page of another site, reaches what is behind the guard: every route of the document, by every method, in
 * every spelling that a router, a proxy or a browser might take for it, over raw sockets.
 */
import { assert, layer as withLayer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import type { Settings } from "../../../src/services/http/ApiSettings.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { exchange, statusOf } from "../../support/RawHttp.ts"
import * as Shop from "../../support/Shop.ts"
import * as Spellings from "../../support/Spellings.ts"

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]

/** What is there, so that a request that got through would do something. */
const values: Record<string, string> = { id: "alice", sku: "p1", name: "a-run" }

const bodies: Record<string, unknown> = {
  "/v1/orders": { customerId: "alice", items: [{ sku: "p1", quantity: 1 }] },
  "/v1/accounts/{id}": { currency: "EUR" },
  "/v1/products/{sku}": { name: "n", price: "250", currency: "EUR", seller: "merchant", isShipped: false },
  "/v1/products/{sku}/stock": { units: 1 },
  "/v1/fetches": { urls: ["https://example.com/"] },
  "/v1/transfers": { from: "cash", to: "alice", amount: "1", currency: "EUR" }
}

const operations = Object.entries(Addresses.document.paths).flatMap(([path, item]) =>
  Object.keys(item).filter((verb) => /^(get|post|put|patch|delete)$/.test(verb)).map((verb) => ({
    method: verb.toUpperCase(),
    path: path.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "x"),
    body: verb === "get" ? "" : JSON.stringify(bodies[path] ?? {})
  }))
)

let keys = 0

const raw = (method: string, target: string, body: string, headers: Record<string, string>) => {
  const lines = Object.entries({
    host: "127.0.0.1",
    connection: "close",
    "content-type": "application/json",
    "idempotency-key": `guard-${keys += 1}`,
    "content-length": String(Buffer.byteLength(body)),
    ...headers
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${method === "HEAD" ? "" : body}`
}

/** What was used of the API's services since the test last looked. */
const used: Array<string> = []

/** Tells of every use of a service's members. */
const watched = Layer.effectContext(
  Effect.map(Layer.build(Harness.memory), (context) =>
    Context.makeUnsafe<Layer.Success<typeof Harness.memory>>(
      new Map([...context.mapUnsafe].map(([key, service]) => [
        key,
        typeof service !== "object" || service === null ? service : new Proxy(service, {
          get: (target, member, receiver): unknown => {
            used.push(`${key}.${String(member)}`)
            return Reflect.get(target, member, receiver)
          }
        })
      ]))
    ))
)

/** Routes that somebody added to the router and to nothing else. */
const unlisted = HttpRouter.use((router) =>
  Effect.forEach(
    ["/v1/unlisted", "/unlisted", "/livez/unlisted"] as const,
    (path) =>
      router.add(
        "GET",
        path,
        Effect.sync(() => {
          used.push(path)
          return HttpServerResponse.text("reached")
        })
      )
  )
)

const appOf = (settings: Partial<Settings>) =>
  Harness.serve(settings, unlisted).pipe(Layer.provide(Harness.ready), Layer.provideMerge(watched))

const setUp = Effect.gen(function*() {
  yield* Shop.open(["alice"], 100_000n)
  yield* Shop.stock([Shop.product("p1")])
  return yield* Harness.baseUrl
})

/** Sends each request, and says which of them got anything but one of these answers, or reached a service. */
const leaks = Effect.fnUntraced(function*(
  base: string,
  requests: ReadonlyArray<readonly [method: string, target: string, body: string]>,
  headers: Record<string, string>,
  allowed: ReadonlySet<number>
) {
  const found: Array<string> = []
  const seen = new Set<number>()
  used.length = 0
  yield* Effect.forEach(
    requests,
    ([method, target, body]) =>
      Effect.map(exchange(base, raw(method, target, body, headers)), (answer) => {
        const status = statusOf(answer)
        seen.add(status)
        if (!allowed.has(status)) found.push(`${method} ${target.slice(0, 200)} -> ${answer.slice(0, 60)}`)
      }),
    { concurrency: 32, discard: true }
  )
  return { found, used: [...used], seen }
})

const allSpellings = operations.flatMap(({ body, method, path }) =>
  Spellings.of(path).map((target) => [method, target, body] as const)
)

const allMethods = operations.flatMap(({ body, path }) =>
  methods.flatMap((method) =>
    [path, `/${path}`, `${path}/`, path.toUpperCase()].map((target) => [method, target, body] as const)
  )
)

/** 400: the parser takes no such target; 404: nobody knows the spelling; 431: too long for a head. */
const unreadable = [400, 404, 431]

const addresses = {
  open: ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/problems/not-found"],
  unlisted: ["/v1/unlisted", "/unlisted", "/livez/unlisted"]
}

withLayer(appOf({ token: Redacted.make("s3cret") }), { excludeTestServices: true, timeout: 120_000 })(
  "with a token",
  (it) => {
    it.effect(
      "no spelling of a route is anything but 401, 400 or 404, and none reaches a service",
      () =>
        Effect.gen(function*() {
          const base = yield* setUp
          const { found, seen, used } = yield* leaks(base, allSpellings, {}, new Set([401, ...unreadable]))
          assert.deepStrictEqual([found, used], [[], []])
          assert.isTrue(seen.has(401) && seen.has(400) && seen.has(404))
        }),
      180_000
    )

    it.effect("no method opens a route, and neither does a token that is nearly right", () =>
      Effect.gen(function*() {
        const base = yield* setUp
        for (
          const authorization of [
            "Bearer s3cretx",
            "Bearer s3cre",
            "Basic s3cret",
            "Bearer",
            "bearer  ",
            "s3cret",
            "Bearer s3cret x"
          ]
        ) {
          const { found, used } = yield* leaks(base, allMethods, { authorization }, new Set([401, ...unreadable]))
          assert.deepStrictEqual([found, used], [[], []], authorization)
        }
      }), 180_000)

    it.effect("what is open is open, by its exact address only", () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        const exact = yield* leaks(base, addresses.open.map((path) => ["GET", path, ""]), {}, new Set([200]))
        assert.deepStrictEqual(exact.found, [])
        const others = addresses.open.flatMap((path) =>
          Spellings.of(path).flatMap((target) => target.startsWith(path) ? [] : [["GET", target, ""] as const])
        )
        const spelled = yield* leaks(base, others, {}, new Set([401, ...unreadable]))
        // The name of a problem may be any segment, and the target may name the server too (RFC 9112 section 3.2.2).
        const alike =
          /^GET (?:https?:\/\/[^/]+)?(?:\/problems\/[^/]+|\/(?:livez|readyz|metrics|docs|openapi\.json)) -> /i
        assert.deepStrictEqual(spelled.found.filter((line) => !alike.test(line)), [])
      }), 180_000)

    it.effect("a route that nobody has listed is not served, with and without the token", () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        const requests = addresses.unlisted.map((path) => ["GET", path, ""] as const)
        for (const headers of [{}, { authorization: "Bearer s3cret" }]) {
          const { found, used } = yield* leaks(base, requests, headers, new Set([404]))
          assert.deepStrictEqual([found, used], [[], []])
        }
      }))

    it.effect("the token opens every route: what the others were refused is there", () =>
      Effect.gen(function*() {
        const base = yield* setUp
        for (const { body, method, path } of operations) {
          const answer = yield* exchange(base, raw(method, path, body, { authorization: "Bearer s3cret" }))
          assert.isFalse([0, 401, 403, 405].includes(statusOf(answer)), `${method} ${path}: ${answer.slice(0, 200)}`)
        }
      }))
  }
)

const foreign: ReadonlyArray<Record<string, string>> = [
  { host: "evil.example" },
  { host: "127.0.0.1.evil.example" },
  { host: "localhost.evil.example:80" },
  { host: "evil.example:127" },
  { host: "localhost@evil.example" },
  { host: "" },
  { origin: "http://evil.example" },
  { origin: "http://127.0.0.1.evil.example" },
  { origin: "http://127.0.0.1:8080" },
  { origin: "null" },
  { origin: "file://" },
  { "sec-fetch-site": "cross-site" },
  { "sec-fetch-site": "same-site" },
  { "sec-fetch-site": "anything" },
  { "sec-fetch-site": "same-origin", origin: "http://evil.example" },
  { host: "evil.example", origin: "http://evil.example", "sec-fetch-site": "same-origin" }
]

withLayer(appOf({}), { excludeTestServices: true, timeout: 120_000 })("without a token", (it) => {
  it.effect(
    "no page of another site, and no name bent to this machine, reaches a service by any spelling",
    () =>
      Effect.gen(function*() {
        const base = yield* setUp
        const spelled = yield* leaks(base, allSpellings, { host: "evil.example" }, new Set([403, ...unreadable]))
        assert.deepStrictEqual([spelled.found, spelled.used], [[], []])
        for (const headers of foreign) {
          const { found, used } = yield* leaks(base, allMethods, headers, new Set([403, ...unreadable]))
          assert.deepStrictEqual([found, used], [[], []], JSON.stringify(headers))
        }
      }),
    180_000
  )

  it.effect("programs and the server's own pages are answered", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      const { host } = new URL(base)
      const own: ReadonlyArray<Record<string, string>> = [
        {},
        { host: "LOCALHOST" },
        { host: "[::1]:3000" },
        { "sec-fetch-site": "none" },
        { host, origin: `http://${host}`, "sec-fetch-site": "same-origin" }
      ]
      for (const headers of own) {
        for (const { body, method, path } of operations) {
          for (const target of [path, `HTTP://${host}${path}`]) {
            const answer = yield* exchange(base, raw(method, target, body, headers))
            assert.isFalse(
              [0, 401, 403, 405].includes(statusOf(answer)),
              `${method} ${target}: ${answer.slice(0, 200)}`
            )
          }
        }
      }
    }))
})
