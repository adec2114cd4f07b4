import { Clock, Context, Effect, Layer } from "effect"
import { JobId } from "../../services/jobs/Job.ts"
import * as JobAdmin from "../../services/jobs/JobAdmin.ts"
import * as JobCron from "../../services/jobs/JobCron.ts"
import { JobLeaseLost } from "../../services/jobs/JobError.ts"
import * as JobFlow from "../../services/jobs/JobFlow.ts"
import * as JobQueue from "../../services/jobs/JobQueue.ts"
import {
  type CronEntry,
  JobRecords,
  JobStore,
  type NewJob,
  type Offered,
  type Settlement
} from "../../services/jobs/JobStore.ts"
import * as MemoryEnqueue from "./MemoryEnqueue.ts"
import { MemoryFleet } from "./MemoryFleet.ts"
import * as MemoryJobRecords from "./MemoryJobRecords.ts"
import { MemoryJobTable } from "./MemoryJobTable.ts"
import * as MemoryTransaction from "./MemoryTransaction.ts"

const now = Clock.currentTimeMillis

const insertInto = (table: MemoryJobTable, fleet: MemoryFleet) => (jobs: ReadonlyArray<NewJob>) =>
  Effect.suspend(() => {
    const all = jobs.map((job) => ({ job, reserved: MemoryEnqueue.reserve(table, job) }))
    return Effect.as(
      MemoryTransaction.write({
        hold: () => all.forEach(({ reserved }) => MemoryEnqueue.lock(reserved, true)),
        commit: (millis) => {
          for (const { job, reserved } of all) {
            MemoryEnqueue.lock(reserved, false)
            MemoryEnqueue.store(table, job, reserved, millis)
          }
          fleet.wake(jobs.map((job) => job.queue))
        },
        rollback: () =>
          all.toReversed().forEach(({ job, reserved }) => {
            MemoryEnqueue.lock(reserved, false)
            MemoryEnqueue.unreserve(table, job, reserved)
          })
      }),
      all.map(({ reserved: { id, outcome } }): Offered => ({ id, outcome }))
    )
  })

const settleAllIn =
  (table: MemoryJobTable, fleet: MemoryFleet) => (worker: number, settlements: ReadonlyArray<Settlement>) =>
    Effect.suspend((): Effect.Effect<void, JobLeaseLost> => {
      const ours = settlements.map(({ job, verdict }) => ({ job, verdict, row: table.owned(worker, job) }))
      const lost = ours.filter(({ row }) => row === undefined || row.locked)
      if (lost.length > 0) return Effect.fail(new JobLeaseLost({ ids: lost.map(({ job }) => job.id) }))
      const rows = ours.flatMap(({ row, verdict }) => row === undefined ? [] : [{ row, verdict }])
      const lock = (isLocked: boolean) => rows.forEach(({ row }) => void (row.locked = isLocked))
      return MemoryTransaction.write({
        hold: () => lock(true),
        commit: (millis) => {
          lock(false)
          for (const { row, verdict } of rows) table.settle(row, verdict, millis)
          fleet.wake(rows.some(({ row }) => row.parent !== null) ? table.queues : rows.map(({ row }) => row.queue))
        },
        rollback: () => lock(false)
      })
    })

/** Whose timetable is followed by each name, and when its next tick is. */
const tickOf = (fleet: MemoryFleet, insert: (jobs: ReadonlyArray<NewJob>) => Effect.Effect<unknown>) => {
  const ticks = new Map<string, { signature: string; next: number; worker: number }>()
  return Effect.fnUntraced(function*(worker: number, entries: ReadonlyArray<CronEntry>) {
    const millis = yield* now
    let fired = 0
    for (const entry of fleet.has(worker) ? entries : []) {
      const next = yield* JobCron.nextTick(entry, millis)
      if (next === undefined) continue
      const known = ticks.get(entry.name)
      const isMine = known === undefined || known.worker <= worker || !fleet.has(known.worker)
      if (known?.signature !== entry.signature) {
        if (isMine) ticks.set(entry.name, { signature: entry.signature, next, worker })
        continue
      }
      if (isMine) known.worker = worker
      if (known.next > millis) continue
      known.next = next
      yield* insert([entry.job])
      fired++
    }
    return fired
  })
}

const storeOf = (table: MemoryJobTable, fleet: MemoryFleet) => {
  const insert = insertInto(table, fleet)
  return JobStore.of({
    insert: (jobs) => Effect.map(insert(jobs), (all) => all.map(({ id }) => id)),
    // One is answered for each.
    offer: (job) => Effect.map(insert([job]), ([one]) => one ?? { id: JobId.make("0"), outcome: "kept" }),
    insertFlow: (jobs) =>
      Effect.suspend(() => {
        const ids = jobs.map(() => table.nextId())
        return Effect.as(
          MemoryTransaction.write({
            commit: (millis) => {
              MemoryEnqueue.storeFlow(table, ids, jobs, millis)
              fleet.wake(jobs.map(({ job }) => job.queue))
            },
            rollback: () => {}
          }),
          ids
        )
      }),
    transact: MemoryTransaction.transact,
    claim: (worker, nth, queues) =>
      Effect.map(now, (millis) => {
        if (!fleet.mayClaim(worker, nth)) return []
        table.promote(millis)
        return queues.flatMap(({ limit, queue }) => table.claim(worker, nth, { queue, limit }, millis))
      }),
    settle: (worker, settlements) =>
      Effect.map(now, (millis) => {
        let lost = 0
        let hasParent = false
        for (const { job, verdict } of settlements) {
          const row = table.owned(worker, job)
          if (row === undefined || row.locked) lost++
          else {
            hasParent ||= row.parent !== null
            table.settle(row, verdict, millis)
          }
        }
        fleet.wake(hasParent ? table.queues : settlements.map(({ job }) => job.queue))
        return lost
      }),
    report: (worker, reports) =>
      Effect.map(now, (millis) => {
        let count = 0
        for (const { job, report } of fleet.lostAt(worker) === undefined ? reports : []) {
          const row = table.owned(worker, job)
          if (row === undefined || row.locked) continue
          const { detail = null, fraction = null } = report
          row.progress = { attempt: row.attempt, at: new Date(millis), fraction, detail }
          count++
        }
        return count
      }),
    settleAll: settleAllIn(table, fleet),
    giveBackUnknown: (worker, nth, known) =>
      Effect.map(now, (millis) => fleet.seal(worker, nth) ? table.giveBack(worker, nth, new Set(known), millis) : 0),
    join: (options) => fleet.join(options),
    tick: tickOf(fleet, insert)
  })
}

const make = Effect.sync(() => {
  const table = new MemoryJobTable()
  const fleet = new MemoryFleet(table)
  return Context.make(JobStore, storeOf(table, fleet)).pipe(
    Context.add(JobRecords, MemoryJobRecords.make(table, fleet))
  )
})

/**
 * The whole queue in memory, with the semantics of the Postgres one: for tests (it lives on Effect's clock) and for
 * programs that need no durability. A transaction covers what is enqueued and settled, not what a handler does elsewhere.
 */
export const layerMemory: Layer.Layer<
  JobStore | JobRecords | JobQueue.JobQueue | JobFlow.JobFlows | JobAdmin.JobAdmin
> = Layer.mergeAll(
  JobQueue.layer,
  JobFlow.layer,
  JobAdmin.layer
).pipe(Layer.provideMerge(Layer.effectContext(make)))
