/** Enqueueing from SQL as docs/jobs.md shows it: the page's own example is what runs here. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer, Queue, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { readFileSync } from "node:fs"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobWorker } from "../../../src/services/jobs/JobWorker.ts"
import * as SqlFailure from "../../../src/services/postgres/SqlFailure.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const page = readFileSync(new URL("../../../docs/jobs.md", import.meta.url), "utf8")
const script = /^## Enqueue from SQL$.*?^```sql\n(.*?)^```$/ms.exec(page)?.[1] ?? assert.fail("no example")

const Welcome = Job.make("mail.welcome", { payload: Schema.Struct({ user: Schema.Int }) })

const statsOf = Effect.flatMap(
  JobAdmin,
  (admin) => Effect.map(admin.stats, (stats) => stats.find(({ queue }) => queue === "mail.welcome"))
)

const layer = Layer.provideMerge(PostgresJobQueue.layer, TestDatabase.layer)

withLayer(layer, { excludeTestServices: true })("job_add", (it) => {
  it.effect(
    "the trigger of the docs enqueues a job for each row, in the transaction that writes them",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        for (const statement of script.split(";\n\n")) yield* sql.unsafe(statement)
        yield* sql`insert into users (name) values ('ada')`
        yield* sql`insert into users (name) select 'one of many ' || n from generate_series(1, 500) n`
        yield* sql`insert into users (name) select 'nobody' where false`
        yield* Effect.exit(sql.withTransaction(
          Effect.andThen(sql`insert into users (name) values ('undone')`, Effect.fail("rolled back"))
        ))
        assert.deepInclude(yield* statsOf, { ready: 501, running: 0, dead: 0 })
        const welcomed = yield* Queue.unbounded<number>()
        const handler = JobHandler.plain(Welcome, ({ user }) => Queue.offer(welcomed, user))
        yield* Effect.gen(function*() {
          const users = yield* Queue.takeN(welcomed, 501)
          assert.strictEqual(new Set(users).size, 501)
          yield* (yield* JobWorker).idle
          // And one while the worker waits, whose poll comes in an hour.
          yield* sql`insert into users (name) values ('late')`
          const [late] = yield* sql<{ readonly id: bigint }>`select id from users where name = 'late'`
          assert.strictEqual(yield* Queue.take(welcomed), Number(late?.id))
          // Nobody looks at a payload before the worker does.
          const wrong = JSON.stringify({ user: "nobody" })
          yield* sql`select sluice.job_add(array['mail.welcome'], array['mail.welcome'], array[${wrong}::text], array[0], array[10])`
          yield* (yield* JobWorker).idle
        }).pipe(Effect.provide(Worker.layer([handler], { poll: "1 hour" })))
        assert.deepInclude(yield* statsOf, { ready: 0, running: 0, succeeded: 502, dead: 1 })
        const dead = yield* Effect.flatMap(JobAdmin, (admin) => admin.list({ queue: "mail.welcome", state: "dead" }))
        assert.deepStrictEqual(dead.jobs.map(({ failure }) => failure?.reason), ["PayloadInvalid"])
      }),
    30_000
  )

  it.effect("one job with all its options, in the transaction of a client that knows nothing of kinds", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const add = (call: string) => sql.unsafe<{ readonly id: bigint }>(`select sluice.job_add(${call}) as id`)
      const jobOf = Effect.fnUntraced(function*(call: string) {
        const [row] = yield* add(call)
        const [job] = yield* sql<
          Readonly<Record<string, unknown>>
        >`select id, queue, kind, state::text, priority, max_attempts, key, key_limit, dedupe, tenant,
          payload::text, round(extract(epoch from run_at - now()))::int as due from sluice.job where id = ${row?.id}`
        return job ?? assert.fail(call)
      })
      const usual = {
        queue: "k",
        kind: "k",
        state: "ready",
        priority: 0,
        max_attempts: 10,
        key: null,
        key_limit: 1,
        dedupe: null,
        tenant: null,
        due: 0
      }
      assert.deepInclude(yield* jobOf(`'k', '{"user": 1}'`), { ...usual, payload: "{\"user\": 1}" })
      const all = yield* jobOf(`kind => 'k', payload => '[]', queue => 'q', priority => 7, max_attempts => 3,
        delay => interval '1 hour', unique_text => 'only', key => 'ada', key_concurrency => 2`)
      assert.deepInclude(all, {
        ...usual,
        queue: "q",
        state: "scheduled",
        priority: 7,
        max_attempts: 3,
        key: "ada",
        key_limit: 2,
        dedupe: "only",
        due: 3600
      })
      assert.strictEqual((yield* jobOf(`'k', '[]', unique_text => 'only'`))["id"], all["id"], "the id of the first")
      assert.deepInclude(
        yield* jobOf(`'k', 'null', run_at => now() + interval '2 hours', delay => interval '1 hour'`),
        { due: 7200 }
      )
      assert.deepInclude(yield* jobOf(`'k', '3', tenant => 'acme'`), { ...usual, tenant: "acme" })
      // Behind others of its key it waits.
      yield* jobOf(`'k', '1', key => 'b'`)
      assert.deepInclude(yield* jobOf(`'k', '2', key => 'b'`), { state: "blocked" })
      yield* Effect.exit(sql.withTransaction(Effect.andThen(add(`'undone', '{}'`), Effect.fail("rolled back"))))
      assert.lengthOf(yield* sql`select from sluice.job where kind = 'undone'`, 0)
    }))

  it.effect("what cannot be a job is refused by name, and nothing is stored", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const before = yield* sql`select from sluice.job`
      const refusals: ReadonlyArray<readonly [call: string, name: string]> = [
        ["null, '{}'", "kind"],
        ["'', '{}'", "kind"],
        ["'k', null", "payload"],
        ["'k', '{}', queue => repeat('q', 201)", "queue"],
        ["'k', '{}', priority => 1001", "priority"],
        ["'k', '{}', priority => null", "priority"],
        ["'k', '{}', max_attempts => 0", "max_attempts"],
        ["'k', '{}', delay => interval '-1 second'", "delay"],
        ["'k', '{}', delay => interval '101 years'", "delay"],
        ["'k', '{}', run_at => 'infinity'", "run_at"],
        ["'k', '{}', unique_text => repeat('u', 1801)", "unique_text"],
        ["'k', '{}', key => repeat('é', 901)", "key"],
        ["'k', '{}', key_concurrency => 0", "key_concurrency"],
        ["'k', '{}', tenant => ''", "tenant"],
        ["'k', '{}', tenant => repeat('t', 201)", "tenant"]
      ]
      for (const [call, name] of refusals) {
        const error = yield* Effect.flip(sql.unsafe(`select sluice.job_add(${call})`))
        assert.include(SqlFailure.detailOf(error), `sluice.job_add: ${name}: expected`, call)
        assert.strictEqual(SqlFailure.codeOf(error), "22023")
      }
      assert.lengthOf(yield* sql`select from sluice.job`, before.length)
    }))
})
