/** `/readyz` of a server with workers: not ready while they cannot claim, although the database answers. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import * as WorkerReadiness from "../../../src/layers/http/WorkerReadiness.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { ServedWorkers } from "../../../src/services/http/ServedWorkers.ts"
import { JobWorker } from "../../../src/services/jobs/JobWorker.ts"
import { request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { eventually } from "../../support/eventually.ts"
import { app } from "../../support/orders.ts"

const workers = Layer.effect(
  ServedWorkers,
  Effect.map(
    // A lease of a tenth of a second would be lost by a busy machine alone.
    Layer.build(OrderWorker.layer({ lease: "500 millis", beat: "100 millis", poll: "50 millis" })),
    (context) => [Context.get(context, JobWorker)]
  )
)

const readyz = Effect.flatMap(Harness.baseUrl, (base) => request(`${base}/readyz`))

const until = (status: number) => eventually(readyz, (answer) => answer.status === status)

const suite = (name: string, served: typeof workers, expected: number) =>
  withLayer(
    Harness.serve().pipe(
      Layer.provide(WorkerReadiness.layer),
      Layer.provide([PostgresReadiness.layer, served]),
      Layer.provideMerge(app)
    ),
    { excludeTestServices: true }
  )(`readyz: ${name}`, (it) => {
    it.effect(`claims that hang on a lock make it ${expected}`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        assert.deepStrictEqual((yield* readyz).json, { status: "ready" })
        const locked = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const lock = yield* Effect.forkChild(sql.withTransaction(
          sql`lock table sluice.job in access exclusive mode`.pipe(
            Effect.andThen(Deferred.succeed(locked, undefined)),
            Effect.andThen(Deferred.await(release))
          )
        ))
        yield* Deferred.await(locked)
        if (expected === 200) {
          // Longer than it takes with workers: nothing tells that nothing will happen.
          yield* Effect.sleep("2 seconds")
          assert.deepStrictEqual((yield* readyz).json, { status: "ready" })
        } else {
          const stuck = yield* until(503)
          assert.strictEqual(stuck.json.status, "unavailable")
          assert.match(stuck.json.problem, /^the worker "orders" has not been able to claim jobs for \d+s$/)
        }
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(lock)
        assert.deepStrictEqual((yield* until(200)).json, { status: "ready" })
      }), 180_000)
  })

suite("with workers", workers, 503)
suite("without workers of its own", Layer.succeed(ServedWorkers, []), 200)
