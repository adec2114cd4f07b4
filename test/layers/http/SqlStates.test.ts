/**
 * Every class of SQLSTATE (Postgres, appendix A), raised by the database in the middle of a request: what the caller is told, and that the
 * same key works afterwards.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import { isSound, Ledger } from "../../../src/services/orders/Ledger.ts"
import { post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"

// dprint-ignore
const told: Readonly<Record<number, ReadonlyArray<string>>> = {
  503: [
    "08000", "08006", "08P01", "25006", "25P03", "28000", "28P01", "3D000", "40000", "40001", "40P01", "53000", "53100", "53200", "53300", "53400",
    "55006", "55P03", "57000", "57P01", "57P02", "57P03", "57P04", "58000", "58030", "F0000"
  ],
  504: ["25P04", "57014"],
  500: [
    "03000", "09000", "0A000", "0F000", "0L000", "0P000", "20000", "21000", "22003", "22P02", "23502", "23505", "23514", "24000", "25000", "25P02", "26000",
    "27000", "2B000", "2D000", "2F000", "34000", "38000", "39000", "3B000", "3F000", "40002", "42501", "42601", "42P01", "44000", "54000", "54001", "55000",
    "HV000", "P0001", "XX000", "XX001", "XX002", "ZZ999"
  ]
}

/** The database fails at the next row of these tables with this code, where the key begins with `bad`. */
const failWith = Effect.fnUntraced(function*(code: string) {
  const sql = yield* PgClient.PgClient
  yield* sql.unsafe(`create or replace function sluice.test_fail() returns trigger language plpgsql as $$
    begin if new.key like 'bad%' then raise exception 'secret detail' using errcode = '${code}'; end if; return new; end $$`)
})

const heal = Effect.flatMap(
  PgClient.PgClient,
  (sql) =>
    sql.unsafe(
      "create or replace function sluice.test_fail() returns trigger language plpgsql as $$ begin return new; end $$"
    )
)

const layer = Harness.serve().pipe(Layer.provide(PostgresReadiness.layer), Layer.provideMerge(app))

withLayer(layer, { excludeTestServices: true })("SQLSTATE over HTTP", (it) => {
  it.effect(
    "an outage is 503, a cancelled statement 504, a fault of ours 500; and each can be tried again",
    () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        const sql = yield* PgClient.PgClient
        yield* Shop.open(["alice"], 1_000_000n)
        yield* Shop.stock([Shop.product("p1")])
        yield* heal
        for (const table of ["transfers", "orders"]) {
          yield* sql.unsafe(
            `create trigger test_fail before insert on sluice.${table} for each row execute function sluice.test_fail()`
          )
        }
        const transfer = { from: "cash", to: "alice", amount: "1", currency: "EUR" }
        const order = { customerId: "alice", items: [{ sku: "p1", quantity: 1 }] }
        for (const [status, codes] of Object.entries(told)) {
          for (const code of codes) {
            yield* failWith(code)
            const calls = [["transfers", transfer], ["orders", order]] as const
            const keyed = calls.map(([path, body]) =>
              [`${base}/v1/${path}`, body, { "idempotency-key": `bad-${path}-${code}` }] as const
            )
            // An order that comes together with one that the store refuses as such is not refused with it.
            const beside = yield* Effect.all([
              ...keyed.map(([url, body, headers]) => post(url, body, headers)),
              post(`${base}/v1/orders`, order, { "idempotency-key": `good-${code}` })
            ], { concurrency: "unbounded" })
            for (const answer of beside.slice(0, 2)) {
              assert.deepStrictEqual(
                [answer.status, answer.json?.status],
                [Number(status), Number(status)],
                `${code}: ${answer.text}`
              )
              assert.strictEqual(answer.headers.get("content-type"), "application/problem+json")
              assert.strictEqual(answer.headers.get("retry-after"), status === "503" ? "1" : null, code)
              assert.notInclude(answer.text, "secret")
            }
            if (status === "500") assert.strictEqual(beside[2]?.status, 202, `${code} beside`)
            yield* heal
            for (const [url, body, headers] of keyed) {
              const again = yield* post(url, body, headers)
              assert.deepStrictEqual(
                [again.status < 300, again.headers.get("idempotent-replayed")],
                [true, null],
                `${code} again: ${again.text}`
              )
            }
          }
        }
        const count = Object.values(told).flat().length
        const rows = yield* sql<
          { readonly moved: bigint }
        >`select count(*) as moved from sluice.transfers where key like 'bad%'`
        assert.strictEqual(Number(rows[0]?.moved), count)
        assert.isTrue(isSound(yield* Effect.flatMap(Ledger, (ledger) => ledger.audit)))
      }),
    180_000
  )

  it.effect("a database that takes no writes is not ready, and says so to who writes", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const sql = yield* PgClient.PgClient
      assert.strictEqual((yield* request(`${base}/readyz`)).status, 200)
      yield* sql.unsafe(
        `do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$`
      )
      // New sessions are as the database says; those that are open are told to go.
      yield* sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
      const answer = yield* request(`${base}/readyz`).pipe(
        Effect.repeat({ times: 50, until: ({ json }) => /read only/.test(json?.problem) })
      )
      assert.deepStrictEqual([answer.status, answer.json], [503, {
        status: "unavailable",
        problem: "the database is read only"
      }])
    }), 180_000)
})
