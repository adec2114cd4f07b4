/** What was enqueued for an order: written down by a queue that does nothing else, or read from the tables of the real one. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Layer, Stream } from "effect"
import * as PostgresJobQueue from "../../src/layers/jobs/PostgresJobQueue.ts"
import type { Database } from "../../src/layers/postgres/Database.ts"
import type { DatabaseError } from "../../src/layers/postgres/DatabaseError.ts"
import { JobId } from "../../src/services/jobs/Job.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"

export class EnqueuedJobs extends Context.Service<EnqueuedJobs, {
  /** The kinds of the jobs of an order, in the order in which they were enqueued. */
  readonly kindsFor: (orderId: string) => Effect.Effect<ReadonlyArray<string>>
}>()("sluice/test/support/EnqueuedJobs") {}

/** A queue that only writes down. */
export const layerMemory: Layer.Layer<JobQueue | EnqueuedJobs> = Layer.effectContext(Effect.sync(() => {
  const jobs: Array<{ readonly kind: string; readonly payload: string }> = []
  const record = (kind: string, payload: unknown) => {
    jobs.push({ kind, payload: JSON.stringify(payload) })
    return JobId.make(String(jobs.length))
  }
  const queue = JobQueue.of({
    enqueue: (kind, payload) => Effect.sync(() => record(kind.name, payload)),
    enqueueMany: (kind, payloads) => Effect.sync(() => payloads.map((payload) => record(kind.name, payload))),
    offer: (kind, payload) => Effect.sync(() => ({ id: record(kind.name, payload), outcome: "inserted" as const })),
    transaction: (effect) => effect,
    cancel: () => Effect.succeed("finished" as const),
    find: () => Effect.succeedNone,
    ended: () => Effect.never,
    events: Stream.empty
  })
  const kindsFor = (orderId: string) =>
    Effect.sync(() => jobs.filter(({ payload }) => payload.includes(orderId)).map(({ kind }) => kind))
  return Context.make(EnqueuedJobs, { kindsFor }).pipe(Context.add(JobQueue, queue))
}))

/** The real queue, without workers. */
export const layerPostgres: Layer.Layer<JobQueue | EnqueuedJobs, DatabaseError, PgClient.PgClient | Database> = Layer
  .merge(
    PostgresJobQueue.layer,
    Layer.effect(
      EnqueuedJobs,
      Effect.map(PgClient.PgClient, (sql) => ({
        kindsFor: (orderId: string) =>
          sql<{ readonly kind: string }>`
          select kind from sluice.job where payload->>'orderId' = ${orderId} order by id`.pipe(
            Effect.map((rows) => rows.map(({ kind }) => kind)),
            Effect.orDie
          )
      }))
    )
  )
