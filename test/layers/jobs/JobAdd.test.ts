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
})
