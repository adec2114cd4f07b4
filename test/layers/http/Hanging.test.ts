/** A database that hangs instead of failing: every route answers by its deadline, and when the database is back, so is everything. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import { Clock, Duration, Effect, Layer, Option } from "effect"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import * as PostgresFetchKeys from "../../../src/layers/http/PostgresFetchKeys.ts"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import { post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { eventually } from "../../support/eventually.ts"
import * as FrozenNetwork from "../../support/FrozenNetwork.ts"
import { processesNow } from "../../support/Processes.ts"
import * as Shop from "../../support/Shop.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const deadline = Duration.millis(1500)

/** What an answer may be late beyond the deadline, on a machine that is loaded: only one that does not heed it is later. */
const slackMillis = 10_000

const bodies: Record<string, unknown> = {
  "/v1/orders": { customerId: "alice", items: [{ sku: "p1", quantity: 1 }] },
  "/v1/accounts/{id}": { currency: "EUR" },
  "/v1/products/{sku}": { name: "n", price: "250", currency: "EUR", seller: "merchant", isShipped: false },
  "/v1/products/{sku}/stock": { units: 1 },
  "/v1/fetches": { urls: ["https://example.com/"] },
  "/v1/transfers": { from: "cash", to: "alice", amount: "1", currency: "EUR" }
}

interface Call {
  readonly name: string
  readonly path: string
  readonly init: RequestInit
}

const values = (orderId: string): Record<string, string> => ({ sku: "p1", name: "a-run", id: orderId })

/** Every operation of the document, and what is beside it. */
const calls = (orderId: string): ReadonlyArray<Call> => [
  ...Object.entries(Addresses.document.paths).flatMap(([path, item]) =>
    Object.keys(item).filter((verb) => /^(get|post|put|patch|delete)$/.test(verb)).map((verb) => {
      const id = path.startsWith("/v1/accounts") ? "alice" : path.startsWith("/v1/jobs") ? "1" : orderId
      return {
        name: `${verb.toUpperCase()} ${path}`,
        path: path.replaceAll(/\{(\w+)\}/g, (_, name: string) => ({ ...values(orderId), id })[name] ?? "x"),
        init: {
          method: verb.toUpperCase(),
          ...(bodies[path] === undefined || verb === "get" ? {} : { body: JSON.stringify(bodies[path]) })
        }
      }
    })
  ),
  ...["/readyz", "/livez", "/metrics"].map((path) => ({ name: `GET ${path}`, path, init: {} }))
]

const servingUntil = (deadline: Duration.Duration) =>
  Harness.serve({ deadline }).pipe(
    Layer.provide(PostgresReadiness.layer),
    Layer.provideMerge(Layer.mergeAll(OrdersApp.layer, PostgresFrontier.layer, PostgresFetchKeys.layer))
  )

const serving = servingUntil(deadline)

const relayed = FrozenNetwork.layer({ poolMax: 8 }).pipe(Layer.provideMerge(TestDatabase.layer))

const behindRelay = Layer.provideMerge(serving, relayed)

/** With a deadline that no part of a test waits for. */
const patient = Layer.provideMerge(servingUntil(Duration.minutes(5)), relayed)

let keys = 0

const timed = (base: string, call: Call) =>
  Effect.gen(function*() {
    const before = yield* Clock.currentTimeMillis
    const headers = { "content-type": "application/json", "idempotency-key": `hang-${keys += 1}` }
    const answer = yield* request(base + call.path, { ...call.init, headers }).pipe(Effect.timeoutOption("30 seconds"))
    const millis = (yield* Clock.currentTimeMillis) - before
    return { name: call.name, millis, answer: Option.getOrUndefined(answer) }
  })

type Timed = Effect.Success<ReturnType<typeof timed>>

const setUp = Effect.gen(function*() {
  const base = yield* Harness.baseUrl
  yield* Shop.open(["alice"], 100_000n)
  yield* Shop.stock([Shop.product("p1")])
  const placed = yield* post(`${base}/v1/orders`, bodies["/v1/orders"], { "idempotency-key": "first" })
  return { base, all: calls(placed.json.id) }
})

/** What answers without the database. */
const alone = new Set(["GET /livez", "GET /v1/tasks", "GET /metrics"])

const isInTime = ({ answer, millis, name }: Timed) => {
  assert.isBelow(millis, Duration.toMillis(deadline) + slackMillis, `${name} answered ${answer?.status}`)
  if (alone.has(name)) return assert.strictEqual(answer?.status, 200, name)
  assert.include([503, 504], answer?.status, `${name}: ${answer?.text}`)
  if (name === "GET /readyz") return assert.strictEqual(answer?.json.status, "unavailable")
  assert.strictEqual(answer?.headers.get("content-type"), "application/problem+json", name)
}

/** All is as it was: each route answers as it should, nothing waits for anything, and no connection is lost. */
const isBack = Effect.fnUntraced(function*(base: string, all: ReadonlyArray<Call>) {
  const admin = yield* PgClient.PgClient
  const idle = yield* admin<{ readonly state: string | null }>`
    select state from pg_stat_activity where datname = current_database() and application_name like 'sluice%' and pid <> pg_backend_pid()`
    .pipe((look) => eventually(look, (rows) => rows.every(({ state }) => state === "idle")))
  assert.isAtMost(idle.length, 8 + 4 + 1)
  for (const call of all) {
    const { answer } = yield* timed(base, call)
    assert.isBelow(answer?.status ?? 599, 500, `${call.name}: ${answer?.text}`)
  }
  const ledger = yield* Ledger
  assert.isTrue(isSound(yield* ledger.audit))
})

/** Asks for everything at once while the database hangs. */
const askAll = (base: string, all: ReadonlyArray<Call>) =>
  Effect.forEach(all, (call) => timed(base, call), { concurrency: "unbounded" })

/** Transactions of requests that wait for a lock, looked for until there are so many. */
const waiters = (isEnough: (count: number) => boolean) =>
  Effect.gen(function*() {
    const admin = yield* PgClient.PgClient
    // Within a transaction the view would stay as it was at the first look.
    yield* admin`select pg_stat_clear_snapshot()`
    // Orders on their way in and reads have nobody who could leave alone: their statements end by the pool's timeout.
    const rows = yield* admin`select pid from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'
        and application_name = 'sluice' and query not like '%order_accept%'`
    return rows.length
  }).pipe((look) => eventually(look, isEnough))

it.live(
  "a database that falls silent: every route answers by its deadline, and all is back when it speaks again",
  () =>
    Effect.gen(function*() {
      const { all, base } = yield* setUp
      const relay = yield* FrozenNetwork.FrozenNetwork
      // Twice at least as many as there are connections, so that the second round finds none free.
      for (let round = 0; round < 2; round++) {
        yield* relay.freeze
        const answers = yield* askAll(base, [...all, ...all])
        yield* relay.thaw
        answers.forEach(isInTime)
      }
      yield* Effect.provide(isBack(base, all), TestDatabase.secondPool())
    }).pipe(Effect.provide(behindRelay)),
  180_000
)

it.live("a database whose tables are locked: the same, and nobody waits on in it", () =>
  Effect.gen(function*() {
    const { all, base } = yield* setUp
    yield* Effect.gen(function*() {
      const admin = yield* PgClient.PgClient
      const tables = yield* admin<{ readonly name: string }>`
        select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'sluice'`
      yield* admin.withTransaction(Effect.gen(function*() {
        yield* admin.unsafe(`lock table ${tables.map(({ name }) => name).join(", ")} in access exclusive mode`)
        const answers = yield* askAll(base, all)
        answers.filter(({ name }) => name !== "GET /readyz").forEach(isInTime)
        assert.strictEqual(yield* waiters((count) => count === 0), 0)
      }))
      yield* isBack(base, all)
    }).pipe(Effect.provide(TestDatabase.secondPool()))
  }).pipe(Effect.provide(behindRelay)), 120_000)

it.live(
  "one locked row: what waits for it takes a lane of the pool and no more, and whoever leaves frees his place",
  () =>
    Effect.gen(function*() {
      const { all, base } = yield* setUp
      yield* Effect.gen(function*() {
        const admin = yield* PgClient.PgClient
        yield* admin.withTransaction(Effect.gen(function*() {
          yield* admin`select 1 from sluice.accounts where id = 'alice' for update`
          const transfers = yield* Effect.forEach(Array.from({ length: 40 }), (_, index) =>
            Effect.forkChild(
              post(`${base}/v1/transfers`, bodies["/v1/transfers"], { "idempotency-key": `row-${index}` })
            ))
          // A quarter of the pool's eight.
          assert.strictEqual(yield* waiters((count) => count >= 2), 2)
          for (let index = 0; index < 5; index++) {
            const placed = yield* post(`${base}/v1/orders`, bodies["/v1/orders"], {
              "idempotency-key": `free-${index}`
            })
            assert.strictEqual(placed.status, 202)
            assert.strictEqual((yield* request(`${base}/v1/accounts/alice`)).status, 200)
            assert.isAtMost(yield* waiters(() => true), 2)
          }
          for (const transfer of transfers) {
            transfer.interruptUnsafe(undefined)
          }
          assert.strictEqual(yield* waiters((count) => count === 0), 0)
        }))
        yield* isBack(base, all)
        const moved = yield* admin`select 1 from sluice.transfers where key like 'row-%'`
        assert.deepStrictEqual(moved, [])
      }).pipe(Effect.provide(TestDatabase.secondPool()))
    }).pipe(Effect.provide(patient)),
  180_000
)

it.live.runIf(process.env["SLUICE_LONG"] === "1")(
  "a Postgres that is stopped as a whole: the same",
  () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const signal = (name: "SIGSTOP" | "SIGCONT") =>
        Effect.flatMap(
          processesNow(directory),
          // A backend may end between the look and the signal.
          Effect.forEach(({ pid }) => Effect.ignore(Effect.try(() => process.kill(pid, name))), { discard: true })
        )
      yield* Effect.gen(function*() {
        const { all, base } = yield* setUp
        for (let round = 0; round < 5; round++) {
          yield* signal("SIGSTOP")
          const answers = yield* Effect.ensuring(askAll(base, [...all, ...all]), signal("SIGCONT"))
          answers.forEach(isInTime)
          yield* Effect.provide(isBack(base, all), Database.layer({ directory, poolMin: 0 }))
        }
      }).pipe(Effect.provide(Layer.provideMerge(serving, Database.layer({ directory, poolMin: 0, poolMax: 8 }))))
    }),
  300_000
)
