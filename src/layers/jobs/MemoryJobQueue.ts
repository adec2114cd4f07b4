import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as JobAdmin from "../../services/jobs/JobAdmin.ts"
import * as JobCron from "../../services/jobs/JobCron.ts"
import { JobLeaseLost } from "../../services/jobs/JobError.ts"
import * as JobQueue from "../../services/jobs/JobQueue.ts"
import {
  type Beat,
  type Chores,
  JobRecords,
  JobStore,
  type JoinOptions,
  type Membership,
  type NewJob,
  type Settlement,
  type Signal
} from "../../services/jobs/JobStore.ts"
import { MemoryJobTable } from "./MemoryJobTable.ts"

/** Undone when the transaction fails, done when it commits. */
interface Transaction {
  readonly commits: Array<(now: number) => void>
  readonly rollbacks: Array<() => void>
}

const CurrentTransaction = Context.Reference<Transaction | undefined>("sluice/layers/jobs/MemoryJobQueue/Transaction", {
  defaultValue: () => undefined
})

interface Member {
  readonly options: JoinOptions
  readonly signals: Queue.Queue<Signal>
  idle: boolean
  beatAt: number
  /** Claims up to this number are refused. */
  sealed: number
  /** It left or was declared dead: it claims nothing, and stays until its jobs are free. */
  isLost: boolean
}

const makeStore = (
  table: MemoryJobTable,
  members: Map<number, Member>,
  ticks: Map<string, { signature: string; next: number; worker: number }>
) => {
  let lastWorker = 0
  const now = Clock.currentTimeMillis

  const wake = (queues: Iterable<string>) => {
    const touched = new Set(queues)
    for (const member of members.values()) {
      if (member.idle && member.options.queues.some((queue) => touched.has(queue))) {
        Queue.offerUnsafe(member.signals, { _tag: "Wake" })
      }
    }
  }

  const insert = (jobs: ReadonlyArray<NewJob>) =>
    Effect.gen(function*() {
      const transaction = yield* CurrentTransaction
      const reserved = jobs.map((job) => ({ job, ...table.reserve(job) }))
      const fresh = reserved.filter((entry) => entry.fresh)
      const commit = (millis: number) => {
        for (const entry of fresh) table.add(entry.id, entry.job, millis)
        wake(fresh.map((entry) => entry.job.queue))
      }
      if (transaction === undefined) commit(yield* now)
      else {
        transaction.commits.push(commit)
        transaction.rollbacks.push(() => fresh.forEach((entry) => table.unreserve(entry.job)))
      }
      return reserved.map((entry) => entry.id)
    })

  const transact = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function*() {
      const outer = yield* CurrentTransaction
      const transaction: Transaction = { commits: [], rollbacks: [] }
      return yield* Effect.provideService(effect, CurrentTransaction, transaction).pipe(
        Effect.onExit((exit) =>
          Effect.map(now, (millis) => {
            if (Exit.isFailure(exit)) { for (const rollback of transaction.rollbacks) rollback() }
            else if (outer === undefined) { for (const commit of transaction.commits) commit(millis) }
            else {
              outer.commits.push(...transaction.commits)
              outer.rollbacks.push(...transaction.rollbacks)
            }
          })
        )
      )
    })

  const settleAll = (worker: number, settlements: ReadonlyArray<Settlement>) =>
    Effect.gen(function*() {
      const transaction = yield* CurrentTransaction
      const rows = settlements.map(({ job }) => table.owned(worker, job))
      const lost = settlements.filter((_, index) => rows[index] === undefined || rows[index].locked)
      if (lost.length > 0) return yield* new JobLeaseLost({ ids: lost.map(({ job }) => job.id) })
      const commit = (millis: number) =>
        settlements.forEach(({ verdict }, index) => {
          const row = rows[index]
          if (row === undefined) return
          row.locked = false
          table.settle(row, verdict, millis)
          wake([row.queue])
        })
      if (transaction === undefined) {
        return commit(yield* now)
      }
      for (const row of rows) if (row !== undefined) row.locked = true
      transaction.commits.push(commit)
      transaction.rollbacks.push(() =>
        rows.forEach((row) => {
          if (row !== undefined) row.locked = false
        })
      )
      return undefined
    })

  /** Takes back what lost workers run, and forgets those of whom nothing is left. */
  const bury = (millis: number) => {
    const buried = { recovered: 0, held: 0 }
    for (const [id, member] of members) {
      if (!member.isLost) continue
      const { held, recovered } = table.recover(id, millis)
      buried.recovered += recovered
      buried.held += held
      if (held === 0) members.delete(id)
    }
    if (buried.recovered > 0) wake([...table.live.values()].map((row) => row.queue))
    return buried
  }

  const beat = (worker: number, self: Member): Effect.Effect<Beat> =>
    Effect.map(now, (millis) => {
      if (self.isLost) {
        return { alive: false, deadWorkers: 0, lost: [], isDue: false, nextDueMillis: undefined, cancelled: [] }
      }
      self.beatAt = millis
      let deadWorkers = 0
      for (const member of members.values()) {
        if (member.isLost || millis - member.beatAt <= member.options.leaseMillis) {
          continue
        }
        member.isLost = true
        member.idle = false
        deadWorkers++
      }
      const lost = [...members].flatMap(([id, member]) => member.isLost ? [id] : [])
      const cancelled = [...table.live.values()].filter((row) => row.worker === worker && row.cancelRequested)
        .map((row) => row.id)
      const isDue = [...table.live.values()].some((row) => row.state === "scheduled" && row.runAt <= millis)
      return { alive: true, deadWorkers, lost, isDue, nextDueMillis: table.nextDue(millis), cancelled }
    })

  const tend = (_: ReadonlyArray<number>, isDue: boolean): Effect.Effect<Chores> =>
    Effect.map(now, (millis) => {
      const buried = bury(millis)
      if (isDue) table.promote(millis)
      return { ...buried, nextDueMillis: table.nextDue(millis) }
    })

  const join = (options: JoinOptions) =>
    Effect.gen(function*() {
      const worker = ++lastWorker
      const signals = yield* Queue.sliding<Signal>(1024)
      const member: Member = { options, signals, idle: false, beatAt: yield* now, sealed: 0, isLost: false }
      members.set(worker, member)
      yield* Effect.addFinalizer(() =>
        Effect.map(now, (millis) => {
          member.isLost = true
          member.idle = false
          bury(millis)
        })
      )
      const membership: Membership = {
        worker,
        signals,
        idle: (idle) => Effect.sync(() => void (member.idle = idle)),
        beat: beat(worker, member),
        tend
      }
      return membership
    })

  return JobStore.of({
    insert,
    transact,
    claim: (worker, nth, queues) =>
      Effect.map(now, (millis) => {
        const member = members.get(worker)
        if (member === undefined || member.isLost || member.sealed >= nth) return []
        table.promote(millis)
        return queues.flatMap(({ limit, queue }) => table.claim(worker, nth, queue, limit, millis))
      }),
    settle: (worker, settlements) =>
      Effect.map(now, (millis) => {
        let lost = 0
        for (const { job, verdict } of settlements) {
          const row = table.owned(worker, job)
          if (row === undefined || row.locked) lost++
          else table.settle(row, verdict, millis)
        }
        wake(settlements.map(({ job }) => job.queue))
        return lost
      }),
    settleAll,
    giveBackUnknown: (worker, nth, known) =>
      Effect.map(now, (millis) => {
        const member = members.get(worker)
        if (member === undefined || member.sealed >= nth) return 0
        member.sealed = nth
        return table.giveBack(worker, nth, new Set(known), millis)
      }),
    join,
    tick: (worker, entries) =>
      Effect.gen(function*() {
        const millis = yield* now
        let fired = 0
        for (const entry of members.has(worker) ? entries : []) {
          const next = yield* JobCron.nextTick(entry, millis)
          if (next === undefined) continue
          const known = ticks.get(entry.name)
          const isMine = known === undefined || known.worker <= worker || !members.has(known.worker)
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
  })
}

const make = Effect.sync(() => {
  const table = new MemoryJobTable()
  const members = new Map<number, Member>()
  const now = Clock.currentTimeMillis
  const store = makeStore(table, members, new Map())
  const records = JobRecords.of({
    find: (id) => Effect.sync(() => table.find(id)),
    list: (filter) => Effect.sync(() => table.list(filter)),
    stats: Effect.map(now, (millis) => table.stats(millis)),
    cancel: (id) =>
      Effect.map(now, (millis) => {
        const owner = table.live.get(id)?.worker
        const outcome = table.cancel(id, (worker) => members.get(worker)?.isLost === false, millis)
        const member = owner === null || owner === undefined ? undefined : members.get(owner)
        if (outcome === "requested" && member !== undefined) Queue.offerUnsafe(member.signals, { _tag: "Cancel", id })
        return outcome
      }),
    configure: (queue, settings) =>
      Effect.map(now, (millis) => {
        table.configure(queue, settings, millis)
        for (const member of members.values()) Queue.offerUnsafe(member.signals, { _tag: "Wake" })
      }),
    preview: (filter) => Effect.sync(() => table.preview(filter)),
    redrive: (filter, rate) =>
      Effect.map(now, (millis) => {
        const ids = table.redrive(filter, rate, millis)
        for (const member of members.values()) Queue.offerUnsafe(member.signals, { _tag: "Wake" })
        return ids
      }),
    ended: (cursor) => Effect.sync(() => table.events(cursor))
  })
  return Context.make(JobStore, store).pipe(Context.add(JobRecords, records))
})

/**
 * The whole queue in memory, with the semantics of the Postgres one: for tests (it lives on Effect's clock) and for
 * programs that need no durability. A transaction covers what is enqueued and settled, not what a handler does elsewhere.
 */
export const layerMemory: Layer.Layer<JobStore | JobRecords | JobQueue.JobQueue | JobAdmin.JobAdmin> = Layer.mergeAll(
  JobQueue.layer,
  JobAdmin.layer
).pipe(Layer.provideMerge(Layer.effectContext(make)))
