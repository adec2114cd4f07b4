/** `sluice serve` under kill -9 while it accepts orders: what was answered stays so, and a key that was sent again is the same order. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Random, Ref } from "effect"
import { post } from "../../support/ApiClient.ts"
import { eventually } from "../../support/eventually.ts"
import { awaitLine, listening, type SluiceProcess, start as sluice } from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const kills = isLong ? 40 : 2
const clients = 32

interface Server {
  readonly process: SluiceProcess
  readonly base: string
}

const serve = Effect.fnUntraced(function*(env: Record<string, string>) {
  const process = yield* sluice(["serve", "--port", "0", "--workers", "5"], env)
  const server: Server = { process, base: yield* listening(process) }
  return server
})

/** Of the server that is there when it is sent; sent until it is answered with one of these. */
const place = Effect.fnUntraced(function*(
  server: Ref.Ref<Server>,
  index: number,
  options: { readonly headers?: Record<string, string>; readonly statuses?: ReadonlyArray<number> } = {}
) {
  const body = { customerId: `customer-${1 + index % 5}`, items: [{ sku: `sku-${1 + index % 6}`, quantity: 1 }] }
  const statuses = options.statuses ?? [200, 202]
  const send = Effect.flatMap(
    Ref.get(server),
    ({ base }) =>
      Effect.sandbox(post(`${base}/v1/orders`, body, { "idempotency-key": `killed-${index}`, ...options.headers }))
  )
  const answer = yield* eventually(Effect.option(send), (answer) => {
    if (answer._tag === "None") return false
    // Its first sending is not over, or the database is not back yet.
    assert.include([200, 202, 409, 503, 504], answer.value.status, answer.value.text)
    return statuses.includes(answer.value.status)
  }, { within: "80 seconds" })
  return yield* Effect.fromOption(answer)
})

it.live(
  "killed with -9 again and again while it accepts: each key is one order, and every answer stays true",
  () =>
    Effect.gen(function*() {
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory }
      const seeding = yield* sluice(["orders", "seed", "--customers", "5", "--products", "6"], env)
      assert.strictEqual(yield* seeding.exit, 0)
      const server = yield* Ref.make(yield* serve(env))
      const answered = yield* Queue.unbounded<void>()
      const chaos = yield* Effect.forkChild(Effect.gen(function*() {
        for (let kill = 0; kill < kills; kill++) {
          const answers = yield* Random.nextIntBetween(10, 100)
          for (let count = 0; count < answers; count++) yield* Queue.take(answered)
          const { process } = yield* Ref.get(server)
          yield* process.kill("SIGKILL")
          yield* process.exit
          yield* Ref.set(server, yield* serve(env))
        }
      }))
      const ids = new Map<number, string>()
      let sent = 0
      const client = Effect.gen(function*() {
        while (chaos.pollUnsafe() === undefined) {
          const index = sent++
          const first = yield* place(server, index)
          ids.set(index, first.json.id)
          yield* Queue.offer(answered, undefined)
          // And then one that was sent before, by this client or another.
          const known = yield* Random.nextIntBetween(0, index)
          const again = yield* place(server, known)
          if (ids.has(known)) assert.strictEqual(again.json.id, ids.get(known))
        }
      })
      yield* Effect.all(Array.from({ length: clients }, () => client), { concurrency: "unbounded", discard: true })
      yield* Fiber.join(chaos)
      assert.strictEqual(new Set(ids.values()).size, sent)
      yield* Effect.forEach(ids, ([index, id]) =>
        Effect.gen(function*() {
          const again = yield* place(server, index)
          assert.deepStrictEqual([again.json.id, again.headers.get("idempotent-replayed")], [id, "true"])
          const last = yield* place(server, index, { headers: { prefer: "wait=10" }, statuses: [200] })
          assert.deepStrictEqual([last.status, last.json.id, last.json.status], [200, id, "completed"])
        }), { concurrency: clients, discard: true })
      const { process } = yield* Ref.get(server)
      yield* process.kill("SIGTERM")
      assert.strictEqual(yield* process.exit, 143)
      const audit = yield* sluice(["orders", "audit"], env)
      yield* awaitLine(audit, /entries sum to 0, balances to 0, 0 unbalanced/)
      assert.strictEqual(yield* awaitLine(audit, /^completed\s+(\d+)$/), String(sent))
      assert.strictEqual(yield* audit.exit, 0)
      yield* Effect.logInfo(`kill -9 x ${kills} while accepting: ${sent} keys, each one order`)
    }),
  isLong ? 900_000 : 180_000
)
