import { Clock, Effect } from "effect"
import type { Child } from "../../services/jobs/FlowChild.ts"
import { type JobId, type JobInfo, type JobState, lastFailure } from "../../services/jobs/Job.ts"
import {
  type JobFilter,
  type JobPage,
  JobRecords,
  type QueueStats,
  type StuckJob
} from "../../services/jobs/JobStore.ts"
import * as MemoryChanges from "./MemoryChanges.ts"
import type { MemoryFleet } from "./MemoryFleet.ts"
import { byRank, infoOf, stuckOf } from "./MemoryJobRow.ts"
import type { MemoryJobTable } from "./MemoryJobTable.ts"

const find = (table: MemoryJobTable, id: JobId): JobInfo | undefined => {
  const row = table.live.get(id) ?? table.dead.get(id) ?? table.ended.get(id)
  return row === undefined ? undefined : infoOf(row)
}

const list = (table: MemoryJobTable, filter: JobFilter): JobPage => {
  const limit = filter.limit ?? 50
  const meant = [...table.live.values(), ...table.dead.values(), ...table.ended.values()].filter((row) =>
    (filter.queue === undefined || row.queue === filter.queue) &&
    (filter.kind === undefined || row.kind === filter.kind) &&
    (filter.state === undefined || row.state === filter.state) &&
    (filter.before === undefined || row.seq < Number(filter.before))
  ).sort((a, b) => b.seq - a.seq)
  const page = meant.slice(0, limit)
  return { jobs: page.map(infoOf), next: meant.length > limit ? page.at(-1)?.id : undefined }
}

const stats = (table: MemoryJobTable, now: number): ReadonlyArray<QueueStats> => {
  const queues = new Set([...table.rates.queues, ...table.totals.keys()])
  for (const row of [...table.live.values(), ...table.dead.values()]) queues.add(row.queue)
  return [...queues].sort().map((queue) => {
    const rows = [...table.live.values()].filter((row) => row.queue === queue)
    const total = table.total(queue)
    const count = (state: JobState) => rows.filter((row) => row.state === state).length
    const next = rows.filter((row) => row.state === "ready").sort(byRank)[0]
    return {
      queue,
      paused: table.rates.isPaused(queue),
      ready: count("ready"),
      scheduled: count("scheduled"),
      blocked: count("blocked"),
      waiting: count("waiting"),
      running: count("running"),
      succeeded: total.succeeded,
      cancelled: total.cancelled,
      retried: total.retried,
      dead: [...table.dead.values()].filter((row) => row.queue === queue).length,
      oldestReadyMillis: next === undefined ? undefined : Math.max(0, now - next.runAt)
    }
  })
}

const children = (table: MemoryJobTable, parent: JobId): ReadonlyArray<Child> => {
  const live = [...table.live.values()].filter((row) => row.parent === parent)
    .map(({ failures, id, kind, state }) => ({ id, kind, state, result: null, failure: lastFailure(state, failures) }))
  return [...live, ...table.flows.ended(parent)].sort((a, b) => Number(a.id) - Number(b.id))
}

const stuck = (table: MemoryJobTable, fleet: MemoryFleet): ReadonlyArray<StuckJob> =>
  [...table.live.values()].flatMap((row) => {
    const lostAt = row.worker === null ? undefined : fleet.lostAt(row.worker)
    return row.worker === null || lostAt === undefined ? [] : [stuckOf(row, row.worker, lostAt)]
  }).slice(0, 100)

/** What operators ask of the queue in memory. */
export const make = (table: MemoryJobTable, fleet: MemoryFleet): JobRecords["Service"] =>
  JobRecords.of({
    find: (id) => Effect.sync(() => find(table, id)),
    mayHaveEnded: (id) =>
      Effect.callback<void>((resume) => {
        if (!table.live.has(id)) return resume(Effect.void)
        return Effect.sync(table.watchers.onEnd(id, () => resume(Effect.void)))
      }),
    list: (filter) => Effect.sync(() => list(table, filter)),
    stats: Effect.map(Clock.currentTimeMillis, (millis) => stats(table, millis)),
    stuck: Effect.sync(() => stuck(table, fleet)),
    cancel: (id) =>
      Effect.map(Clock.currentTimeMillis, (millis) => {
        const worker = table.live.get(id)?.worker ?? undefined
        const outcome = table.cancel(id, (holder) => fleet.lostAt(holder) === undefined, millis)
        if (outcome === "requested" && worker !== undefined) fleet.cancel(worker, id)
        return outcome
      }),
    configure: (queue, settings) =>
      Effect.map(Clock.currentTimeMillis, (millis) => {
        table.rates.configure(queue, settings, millis)
        fleet.wakeAll()
      }),
    preview: (filter) => Effect.sync(() => table.preview(filter)),
    redrive: (filter, rate) =>
      Effect.map(Clock.currentTimeMillis, (millis) => {
        const ids = table.redrive(filter, rate, millis)
        fleet.wakeAll()
        return ids
      }),
    previewChange: (filter, change) => Effect.sync(() => MemoryChanges.preview(table, filter, change)),
    change: (filter, change) =>
      Effect.map(Clock.currentTimeMillis, (millis) => {
        const done = MemoryChanges.change(table, filter, change, millis)
        fleet.wakeAll()
        return done
      }),
    children: (parent) => Effect.sync(() => children(table, parent)),
    ended: (cursor) => Effect.sync(() => table.events(cursor))
  })
