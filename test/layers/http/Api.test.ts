/** The API over a real socket, on the memory layers: what each answer is, to the header. */
import { assert, it, layer as withLayer } from "@effect/vitest"
import { Duration, Effect, Layer, Redacted, Schema } from "effect"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import * as Bodies from "../../../src/layers/http/Bodies.ts"
import { waitSeconds } from "../../../src/layers/http/RequestHeaders.ts"
import * as SandboxPaymentProvider from "../../../src/layers/orders/SandboxPaymentProvider.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { Frontier, FrontierError } from "../../../src/services/fetch/Frontier.ts"
import { FetchKeys, FetchKeysError } from "../../../src/services/http/FetchKeys.ts"
import * as Problem from "../../../src/services/http/Problem.ts"
import { Readiness } from "../../../src/services/http/Readiness.ts"
import { Order } from "../../../src/services/orders/Order.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import { KeyInFlight, OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import { type Answer, post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { exchange } from "../../support/RawHttp.ts"
import * as Shop from "../../support/Shop.ts"

const isProblem = (answer: Answer, status: number, type: string) => {
  assert.deepStrictEqual(
    [answer.status, answer.headers.get("content-type"), answer.json?.type, answer.json?.status],
    [status, "application/problem+json", `/problems/${type}`, status],
    answer.text
  )
  assert.isTrue(
    Problem.docs.some((doc) =>
      doc.type === `/problems/${type}` && doc.status === status && doc.title === answer.json.title
    )
  )
  assert.match(answer.headers.get("x-request-id") ?? "", /^[A-Za-z0-9._:-]+$/)
}

const layer = Harness.serve().pipe(Layer.provide(Harness.ready), Layer.provideMerge(Harness.memory))

const setUp = Effect.gen(function*() {
  yield* Shop.open(["alice"], 100_000n)
  yield* Shop.stock([Shop.product("p1"), Shop.product("p2", { isShipped: true })])
  return yield* Harness.baseUrl
})

const order = (sku = "p1", quantity = 1, customerId = "alice") => ({ customerId, items: [{ sku, quantity }] })

withLayer(layer, { excludeTestServices: true })("API", (it) => {
  it.effect("places an order: 202, Location, ETag; a replay says so; another payload is 422", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      const first = yield* post(`${base}/v1/orders`, order(), { "idempotency-key": "a1", "x-request-id": "my-request" })
      assert.strictEqual(first.status, 202)
      assert.strictEqual(first.headers.get("location"), `/v1/orders/${first.json.id}`)
      assert.strictEqual(first.headers.get("etag"), "\"1\"")
      assert.strictEqual(first.headers.get("x-request-id"), "my-request")
      assert.isNull(first.headers.get("idempotent-replayed"))
      assert.strictEqual(first.json.total, "250")
      const again = yield* post(`${base}/v1/orders`, order(), { "idempotency-key": "\"a1\"" })
      assert.deepStrictEqual([again.status, again.text], [first.status, first.text])
      assert.strictEqual(again.headers.get("idempotent-replayed"), "true")
      isProblem(
        yield* post(`${base}/v1/orders`, order("p1", 2), { "idempotency-key": "a1" }),
        422,
        "idempotency-key-reused"
      )
      const jobs = yield* request(`${base}/v1/jobs?kind=orders.settle`)
      assert.strictEqual(jobs.json.jobs[0].payload.requestId, "my-request")
    }))

  it.effect("every way to get a request wrong has its problem", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      const key = { "idempotency-key": "w1" }
      isProblem(yield* post(`${base}/v1/orders`, order()), 400, "idempotency-key-missing")
      isProblem(
        yield* post(`${base}/v1/orders`, order(), { "idempotency-key": "ä".repeat(3) }),
        400,
        "idempotency-key-missing"
      )
      isProblem(
        yield* post(`${base}/v1/orders`, order(), { "idempotency-key": "x".repeat(256) }),
        400,
        "idempotency-key-missing"
      )
      isProblem(yield* post(`${base}/v1/orders`, "{", key), 400, "invalid-request")
      isProblem(yield* post(`${base}/v1/orders`, "", key), 400, "invalid-request")
      isProblem(yield* post(`${base}/v1/orders`, { customerId: "alice", items: [] }, key), 400, "invalid-request")
      const twice = { customerId: "alice", items: [{ sku: "p1", quantity: 1 }, { sku: "p1", quantity: 1 }] }
      const named = yield* post(`${base}/v1/orders`, twice, key)
      isProblem(named, 400, "invalid-request")
      assert.deepStrictEqual(named.json.errors[0].path, ["payload", "items"])
      isProblem(yield* post(`${base}/v1/orders`, order("nope"), key), 422, "order-refused")
      isProblem(yield* post(`${base}/v1/orders`, order("p1", 1, "nobody"), key), 422, "order-refused")
      isProblem(yield* post(`${base}/v1/orders`, "x".repeat(70_000), key), 413, "payload-too-large")
      const chunked = new ReadableStream({
        start: (controller) => {
          for (let index = 0; index < 20; index++) controller.enqueue(new TextEncoder().encode(" ".repeat(8192)))
          controller.close()
        }
      })
      const streamed: RequestInit & { duplex: "half" } = {
        method: "POST",
        body: chunked,
        duplex: "half",
        headers: { "content-type": "application/json", ...key }
      }
      isProblem(yield* request(`${base}/v1/orders`, streamed), 413, "payload-too-large")
      isProblem(
        yield* post(`${base}/v1/orders`, "a=b", { ...key, "content-type": "text/plain" }),
        415,
        "unsupported-media-type"
      )
      const sheet = yield* request(`${base}/v1/products/p9`, {
        method: "PUT",
        body: "a,b",
        headers: { "content-type": "text/csv" }
      })
      isProblem(sheet, 415, "unsupported-media-type")
      isProblem(yield* request(`${base}/v1/orders/nope`), 400, "invalid-request")
      isProblem(yield* request(`${base}/v1/orders/00000000-0000-7000-8000-000000000000`), 404, "order-not-found")
      isProblem(yield* request(`${base}/v1/orders?limit=201`), 400, "invalid-request")
      isProblem(yield* request(`${base}/v1/orders?status=lost`), 400, "invalid-request")
      isProblem(yield* request(`${base}/v1/orders?cursor=bm9wZQ`), 400, "invalid-request")
      isProblem(yield* request(`${base}/nowhere`), 404, "not-found")
      const wrong = yield* request(`${base}/v1/orders`, { method: "DELETE" })
      isProblem(wrong, 405, "method-not-allowed")
      assert.strictEqual(wrong.headers.get("allow"), "POST, GET")
      isProblem(yield* request(`${base}/v1/accounts/nobody`), 404, "account-not-found")
      isProblem(yield* request(`${base}/v1/jobs/999999999`), 404, "job-not-found")
      isProblem(yield* request(`${base}/v1/jobs/9223372036854775807`), 404, "job-not-found")
      for (const id of ["9223372036854775808", "9999999999999999999", "007", "-1"]) {
        isProblem(yield* request(`${base}/v1/jobs/${id}`), 400, "invalid-request")
      }
      isProblem(yield* request(`${base}/v1/jobs?queue=a%00b`), 400, "invalid-request")
      isProblem(
        yield* post(`${base}/v1/transfers/00000000-0000-7000-8000-000000000000/post`, ""),
        404,
        "transfer-not-found"
      )
      const money = { from: "alice", to: "merchant", amount: "999999999", currency: "EUR" }
      const poor = yield* post(`${base}/v1/transfers`, money, { "idempotency-key": "w-t1" })
      isProblem(poor, 422, "transfer-refused")
      assert.strictEqual(poor.json.reason, "InsufficientFunds")
      isProblem(
        yield* post(`${base}/v1/transfers`, { ...money, to: "nobody" }, { "idempotency-key": "w-t2" }),
        404,
        "account-not-found"
      )
      isProblem(
        yield* post(`${base}/v1/transfers`, { ...money, amount: 5 }, { "idempotency-key": "w-t3" }),
        400,
        "invalid-request"
      )
    }))

  it.effect("reads: ETag, If-None-Match, If-Match, cancel", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      const placed = yield* post(`${base}/v1/orders`, order("p2"), { "idempotency-key": "r1" })
      const url = `${base}/v1/orders/${placed.json.id}`
      const read = yield* request(url)
      assert.deepStrictEqual([read.status, read.headers.get("etag"), read.text], [200, "\"1\"", placed.text])
      for (const tag of ["\"1\"", "*", "\"7\", \"1\"", "W/\"1\""]) {
        const known = yield* request(url, { headers: { "if-none-match": tag } })
        assert.deepStrictEqual([known.status, known.text, known.headers.get("etag")], [304, "", "\"1\""])
      }
      assert.strictEqual((yield* request(url, { headers: { "if-none-match": "\"2\"" } })).status, 200)
      const head = yield* request(url, { method: "HEAD" })
      assert.deepStrictEqual([head.status, head.text], [200, ""])
      isProblem(yield* post(`${url}/cancel`, "", { "if-match": "\"9\"" }), 412, "version-mismatch")
      isProblem(yield* post(`${url}/cancel`, "", { "if-match": "nonsense" }), 400, "invalid-request")
      const cancelled = yield* post(`${url}/cancel`, "", { "if-match": "\"1\"" })
      assert.deepStrictEqual([cancelled.status, cancelled.json.status, cancelled.headers.get("etag")], [
        200,
        "cancelled",
        "\"2\""
      ])
      const conflict = yield* post(`${url}/cancel`, "")
      isProblem(conflict, 409, "order-state-conflict")
      assert.isNull(conflict.headers.get("retry-after"))
      assert.strictEqual(conflict.json.orderStatus, "cancelled")
    }))

  it.effect("pages lead through all orders once, by Link", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      yield* Shop.open(["pat"], 0n)
      const placed = yield* Effect.forEach(
        Array.from({ length: 7 }, (_, index) => index),
        (index) =>
          Effect.map(
            post(`${base}/v1/orders`, order("p1", 1, "pat"), { "idempotency-key": `page-${index}` }),
            (answer) => answer.json.id as string
          )
      )
      const seen: Array<string> = []
      let next: string | undefined = "/v1/orders?customerId=pat&limit=3"
      while (next !== undefined) {
        const page: Answer = yield* request(base + next)
        assert.strictEqual(page.status, 200)
        for (const item of page.json.orders) seen.push(item.id)
        next = /<([^>]+)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1]
      }
      assert.deepStrictEqual(seen, placed.toSorted().toReversed())
    }))

  it.effect("transfers in two phases over HTTP", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      const body = { from: "alice", to: "merchant", amount: "10", currency: "EUR", pendingSeconds: 60 }
      const pending = yield* post(`${base}/v1/transfers`, body, { "idempotency-key": "two-1" })
      assert.deepStrictEqual([pending.status, pending.json.state], [201, "pending"])
      const again = yield* post(`${base}/v1/transfers`, body, { "idempotency-key": "two-1" })
      assert.deepStrictEqual([again.text, again.headers.get("idempotent-replayed")], [pending.text, "true"])
      assert.strictEqual((yield* request(`${base}/v1/accounts/alice`)).json.held, "10")
      const posted = yield* post(`${base}/v1/transfers/${pending.json.id}/post`, "")
      assert.deepStrictEqual([posted.status, posted.json.state], [200, "posted"])
      isProblem(yield* post(`${base}/v1/transfers/${pending.json.id}/void`, ""), 422, "transfer-refused")
      const entries = yield* request(`${base}/v1/accounts/alice/entries?limit=1`)
      assert.deepStrictEqual([entries.json.entries[0].amount, entries.json.entries[0].source], ["-10", pending.json.id])
      assert.match(entries.headers.get("link") ?? "", /rel="next"/)
    }))

  it.effect("health, metrics, document and pages need no token and load nothing from elsewhere", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      assert.strictEqual((yield* request(`${base}/livez`)).status, 200)
      assert.deepStrictEqual((yield* request(`${base}/readyz`)).json, { status: "ready" })
      yield* request(`${base}/v1/orders/00000000-0000-7000-8000-000000000000`)
      const metrics = yield* request(`${base}/metrics`)
      assert.match(metrics.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/)
      assert.match(metrics.text, /^sluice_http_requests_total\{route="GET \/v1\/orders\/:id",status="404"\} \d+$/m)
      assert.match(metrics.text, /^sluice_queue_jobs\{queue="orders\.settle",state="ready"\} \d+$/m)
      assert.match(metrics.text, /^# TYPE sluice_http_request_seconds histogram$/m)
      const said = (what: string) =>
        Array.from(metrics.text.matchAll(new RegExp(`^# ${what} (\\w+)`, "gm")), ([, name = ""]) => name)
      assert.include(said("TYPE"), "sluice_tasks_live")
      assert.deepStrictEqual(said("HELP").toSorted(), said("TYPE").toSorted())
      const spec = yield* request(`${base}/openapi.json`)
      assert.strictEqual(spec.json.openapi, "3.1.0")
      assert.include(Object.keys(spec.json.paths), "/v1/orders/{id}")
      // Without a token there is none to ask for.
      assert.deepStrictEqual(spec.json.paths["/v1/orders/{id}"].get.security, [])
      for (const path of ["/docs", ...Problem.docs.map((doc) => doc.type)]) {
        const page = yield* request(base + path)
        assert.strictEqual(page.status, 200, path)
        assert.match(page.headers.get("content-type") ?? "", /^text\/html/)
        assert.notMatch(page.text, /(?:src|href)="(?:https?:)?\/\//)
        assert.notMatch(page.text, /<script [^>]*src/)
      }
      isProblem(yield* request(`${base}/problems/unheard-of`), 404, "not-found")
    }))

  it.effect("the docs page: schemas on many lines, long ones folded away, and every link of it leads somewhere", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const { text } = yield* request(`${base}/docs`)
      const ids = new Set([...text.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]))
      const targets = [...text.matchAll(/ href="#([^"]+)"/g)].map((match) => match[1])
      assert.isAbove(targets.length, 100)
      assert.deepStrictEqual(targets.filter((target) => !ids.has(target)), [])
      // JSON is in blocks only, each property on a line of its own.
      assert.notMatch(text.replaceAll(/<pre.*?<\/pre>/gs, ""), /&quot;:/)
      assert.include(text, "\n  &quot;properties&quot;: {\n")
      assert.match(text, /<p>Body: <code>application\/json<\/code> <a href="#schema-OrderRequest">/)
      assert.match(text, /<details data-find><summary><code>Order<\/code><\/summary><pre id="schema-Order">/)
    }))

  it.effect("a page elsewhere whose name was bent to this machine gets nothing", () =>
    Effect.gen(function*() {
      const reply = yield* exchange(
        yield* Harness.baseUrl,
        "GET /v1/orders HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
      )
      assert.match(reply, /^HTTP\/1\.1 403 /)
    }))
})

withLayer(
  Harness.serve({ token: Redacted.make("s3cret") }).pipe(
    Layer.provide(Harness.ready),
    Layer.provideMerge(Harness.memory)
  ),
  { excludeTestServices: true }
)("API with a token", (it) => {
  it.effect("every /v1 route needs the token, whatever the route", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      for (const path of Object.keys(Addresses.document.paths)) {
        const url = base + path.replace("{id}", "00000000-0000-7000-8000-000000000000")
        const bare = yield* request(url)
        isProblem(bare, 401, "unauthorized")
        assert.strictEqual(bare.headers.get("www-authenticate"), "Bearer")
        isProblem(yield* request(url, { headers: { authorization: "Bearer s3cretx" } }), 401, "unauthorized")
        isProblem(yield* request(url, { headers: { authorization: "Basic s3cret" } }), 401, "unauthorized")
      }
      const good = yield* request(`${base}/v1/orders`, { headers: { authorization: "bearer s3cret" } })
      assert.strictEqual(good.status, 200)
      assert.strictEqual((yield* request(`${base}/readyz`)).status, 200)
    }))
})

const working = Harness.serve().pipe(
  Layer.merge(OrderWorker.layer({ poll: "20 millis" })),
  Layer.provide([Harness.ready, SandboxPaymentProvider.layer]),
  Layer.provideMerge(Harness.memory)
)

withLayer(working, { excludeTestServices: true })("API with workers", (it) => {
  it.effect("Prefer: wait answers with the order's end, or with where it is when the time is over", () =>
    Effect.gen(function*() {
      const base = yield* setUp
      const done = yield* post(`${base}/v1/orders`, order("p2"), {
        "idempotency-key": "wait-1",
        prefer: "respond-async, wait=10"
      })
      assert.deepStrictEqual([done.status, done.json.status], [200, "completed"])
      assert.strictEqual(done.headers.get("preference-applied"), "wait=10")
      assert.strictEqual(done.headers.get("etag"), "\"3\"")
      assert.isNull(done.headers.get("idempotent-replayed"))
      const again = yield* post(`${base}/v1/orders`, order("p2"), { "idempotency-key": "wait-1", prefer: "wait=10" })
      assert.deepStrictEqual([again.status, again.json], [200, done.json])
      assert.strictEqual(again.headers.get("idempotent-replayed"), "true")
      yield* Shop.stock([Shop.product("p3", { price: 999_999n })])
      const failed = yield* post(`${base}/v1/orders`, order("p3"), { "idempotency-key": "wait-2", prefer: "wait=10" })
      assert.deepStrictEqual([failed.status, failed.json.status, failed.json.failure], [
        200,
        "failed",
        "InsufficientFunds"
      ])
    }))
})

/** Orders that fail or hang as told. */
const broken = (overrides: Partial<Orders["Service"]>) =>
  Layer.effect(Orders, Effect.map(Orders, (orders) => Orders.of({ ...orders, ...overrides }))).pipe(
    Layer.provide(Harness.memory)
  )

it.live("a key in flight is 409 with Retry-After", () =>
  Effect.gen(function*() {
    const app = Harness.serve().pipe(
      Layer.provide(Layer.merge(Harness.ready, broken({ accept: (key) => Effect.fail(new KeyInFlight({ key })) }))),
      Layer.provideMerge(Harness.memory)
    )
    const answer = yield* Effect.flatMap(
      Harness.baseUrl,
      (base) => post(`${base}/v1/orders`, order(), { "idempotency-key": "k" })
    ).pipe(Effect.provide(app))
    isProblem(answer, 409, "idempotency-key-in-flight")
    assert.strictEqual(answer.headers.get("retry-after"), "1")
  }))

it.live("a key in flight and an outage have Retry-After behind the router, too", () =>
  Effect.gen(function*() {
    const failing = (error: KeyInFlight | FetchKeysError) =>
      Layer.succeed(
        FetchKeys,
        FetchKeys.of({
          begin: () => Effect.fail(error),
          finish: () => Effect.die("finished"),
          release: () => Effect.die("released")
        })
      )
    const outage = new FetchKeysError({ operation: "begin", reason: "Unavailable", cause: "test" })
    for (
      const [error, status, type] of [
        [new KeyInFlight({ key: "k" }), 409, "idempotency-key-in-flight"],
        [outage, 503, "unavailable"]
      ] as const
    ) {
      const app = Harness.serve().pipe(
        Layer.provide(Layer.merge(Harness.ready, failing(error))),
        Layer.provideMerge(Harness.memory)
      )
      const answer = yield* Effect.flatMap(
        Harness.baseUrl,
        (base) => post(`${base}/v1/fetches`, { urls: ["https://example.com/"] }, { "idempotency-key": "k" })
      ).pipe(Effect.provide(app))
      isProblem(answer, status, type)
      assert.strictEqual(answer.headers.get("retry-after"), "1")
    }
  }))

it.live("a frontier that fails is told by its reason, whether a run is begun or read", () =>
  Effect.gen(function*() {
    const told = { Unavailable: 503, Conflict: 503, TimedOut: 504, Rejected: 500 } as const
    for (const reason of ["Unavailable", "Conflict", "TimedOut", "Rejected"] as const) {
      const failure = new FrontierError({ operation: "find", reason, cause: "test" })
      const frontier = Layer.effect(
        Frontier,
        Effect.map(Frontier, (real) =>
          Frontier.of({ ...real, open: () => Effect.fail(failure), find: () => Effect.fail(failure) }))
      ).pipe(Layer.provide(MemoryFrontier.layer))
      const app = Harness.serve().pipe(
        Layer.provide(Layer.merge(Harness.ready, frontier)),
        Layer.provideMerge(Harness.memory)
      )
      const answers = yield* Effect.flatMap(Harness.baseUrl, (base) =>
        Effect.all([
          post(`${base}/v1/fetches`, { urls: ["https://example.com/"] }),
          request(`${base}/v1/fetches/spring`)
        ])).pipe(Effect.provide(app))
      assert.deepStrictEqual(
        answers.map(({ status }) =>
          status
        ),
        [told[reason], told[reason]],
        reason
      )
    }
  }))

const storeError = (reason: OrdersStoreError["reason"]) =>
  new OrdersStoreError({ operation: "Orders.find", reason, cause: "test" })

it.live("a store that fails is 503, 504 or 500, with Retry-After where it helps, and never the reason's insides", () =>
  Effect.gen(function*() {
    const cases = [["Unavailable", 503, "unavailable"], ["Conflict", 503, "unavailable"], [
      "TimedOut",
      504,
      "deadline-exceeded"
    ], ["Rejected", 500, "internal"]] as const
    for (const [reason, status, type] of cases) {
      const app = Harness.serve().pipe(
        Layer.provide(Layer.merge(Harness.ready, broken({ find: () => Effect.fail(storeError(reason)) }))),
        Layer.provideMerge(Harness.memory)
      )
      const answer = yield* Effect.flatMap(
        Harness.baseUrl,
        (base) => request(`${base}/v1/orders/00000000-0000-7000-8000-000000000000`)
      ).pipe(
        Effect.provide(app)
      )
      isProblem(answer, status, type)
      assert.strictEqual(answer.headers.get("retry-after"), status === 503 ? "1" : null)
      assert.notInclude(answer.text, "test")
    }
  }))

it.live("a defect is a 500 problem, and a request past its deadline is cancelled with 504", () =>
  Effect.gen(function*() {
    const dying = Harness.serve().pipe(
      Layer.provide(Layer.merge(Harness.ready, broken({ find: () => Effect.die(new Error("boom")) }))),
      Layer.provideMerge(Harness.memory)
    )
    const url = "/v1/orders/00000000-0000-7000-8000-000000000000"
    const died = yield* Effect.flatMap(Harness.baseUrl, (base) => request(base + url)).pipe(Effect.provide(dying))
    isProblem(died, 500, "internal")
    assert.notInclude(died.text, "boom")
    let wasInterrupted = false
    const hanging = Harness.serve({ deadline: Duration.millis(50) }).pipe(
      Layer.provide(Layer.merge(
        Harness.ready,
        broken({ cancel: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => wasInterrupted = true)) })
      )),
      Layer.provideMerge(Harness.memory)
    )
    const late = yield* Effect.flatMap(Harness.baseUrl, (base) => post(`${base}${url}/cancel`, "")).pipe(
      Effect.provide(hanging)
    )
    isProblem(late, 504, "deadline-exceeded")
    assert.isTrue(wasInterrupted)
  }))

it.live("readyz fails when the database is away, and while draining", () =>
  Effect.gen(function*() {
    const away = Harness.serve().pipe(
      Layer.provide(
        Layer.succeed(Readiness, Readiness.of({ problem: Effect.succeed("the database does not answer") }))
      ),
      Layer.provideMerge(Harness.memory)
    )
    const answer = yield* Effect.flatMap(Harness.baseUrl, (base) => request(`${base}/readyz`)).pipe(
      Effect.provide(away)
    )
    assert.deepStrictEqual([answer.status, answer.json.status], [503, "unavailable"])
    assert.strictEqual(answer.headers.get("retry-after"), "1")
    const shutdown = yield* Shutdown.make
    const draining = yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const before = yield* request(`${base}/readyz`)
      yield* shutdown.drain("request", "1 second")
      const after = yield* request(`${base}/readyz`)
      const alive = yield* request(`${base}/livez`)
      return [before.status, after.status, after.json.status, alive.status]
    }).pipe(
      Effect.provide(Harness.serve().pipe(Layer.provide(Harness.ready), Layer.provideMerge(Harness.memory))),
      Effect.provideService(Shutdown.CurrentShutdown, shutdown)
    )
    assert.deepStrictEqual(draining, [200, 503, "draining", 200])
  }))

it("the wait of Prefer is read as RFC 7240 writes it", () => {
  assert.deepStrictEqual(
    ["wait=5", "respond-async, wait=10", "return=minimal; foo, WAIT=\"3\"", "wait=999", "waiting=5", "", "wait=x"].map(
      waitSeconds
    ),
    [5, 10, 3, 30, 0, 0, 0]
  )
})

it.effect.prop(
  "the body built by hand is the one that the schema encodes",
  { order: Order },
  ({ order }) =>
    Effect.sync(() => {
      assert.deepStrictEqual<unknown>(Bodies.orderJson(order), Schema.encodeSync(Schema.toCodecJson(Order))(order))
    })
)

it("every problem type that a route can answer has its page", () => {
  const told = new Set(JSON.stringify(Addresses.document).match(/\/problems\/[a-z-]+/g))
  const documented = new Set(Problem.docs.map((doc) => doc.type))
  assert.deepStrictEqual([...told].filter((type) => !documented.has(type)), [])
  const unrouted = new Set(["/problems/not-found", "/problems/method-not-allowed"])
  assert.deepStrictEqual([...documented].filter((type) => !told.has(type) && !unrouted.has(type)), [])
})

it.live("a request that dribbles in is answered 408 within the deadline, in its head or in its body", () =>
  Effect.gen(function*() {
    const app = Harness.serve({ deadline: Duration.millis(300) }).pipe(
      Layer.provide(Harness.ready),
      Layer.provideMerge(Harness.memory)
    )
    const answers = yield* Effect.flatMap(Harness.baseUrl, (base) =>
      Effect.all([
        exchange(
          base,
          "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\nidempotency-key: d\r\ncontent-length: 50\r\n\r\n{"
        ),
        exchange(
          base,
          "POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\nidempotency-key: d\r\ncontent-length: 50\r\n\r\n{"
        ),
        exchange(base, "GET /v1/orders HTTP/1.1\r\nhost: loc")
      ], { concurrency: "unbounded" })).pipe(Effect.provide(app))
    assert.match(answers[0], /^HTTP\/1\.1 408 /)
    assert.match(answers[1], /^HTTP\/1\.1 408 /)
    assert.match(answers[2], /^HTTP\/1\.1 408 /)
  }))
