import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Exit, Layer, Option } from "effect"
import type { JobId } from "../../services/jobs/Job.ts"
import * as JobAdmin from "../../services/jobs/JobAdmin.ts"
import { JobLeaseLost, type JobQueueError } from "../../services/jobs/JobError.ts"
import * as JobFlow from "../../services/jobs/JobFlow.ts"
import * as JobOption from "../../services/jobs/JobOption.ts"
import * as JobQueue from "../../services/jobs/JobQueue.ts"
import { JobRecords, JobStore, type NewJob, type TransactionLimits } from "../../services/jobs/JobStore.ts"
import * as GroupCommit from "../../services/tasks/GroupCommit.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as Transaction from "../postgres/Transaction.ts"
import { ClaimFloors } from "./ClaimFloors.ts"
import * as JobConnections from "./JobConnections.ts"
import { operation } from "./JobSql.ts"
import * as PostgresClaim from "./PostgresClaim.ts"
import * as PostgresCron from "./PostgresCron.ts"
import * as PostgresFleet from "./PostgresFleet.ts"
import * as PostgresFlows from "./PostgresFlows.ts"
import * as PostgresJobInsert from "./PostgresJobInsert.ts"
import * as PostgresJobRecords from "./PostgresJobRecords.ts"
import * as PostgresSettle from "./PostgresSettle.ts"

/** How the queue uses its database. */
export interface Options {
  /**
   * Whether workers hold a LISTEN connection, besides the pool, to be woken and seen. False polls instead: for connections
   * through a transaction pooler such as PgBouncer. Workers have up to five more connections for themselves, which handlers cannot take.
   *
   * @default true
   */
  readonly listen?: boolean
  /** Days that ended jobs are kept. Dead letters stay until they are redriven. @default 7 */
  readonly historyDays?: number
}

/** Everything the layers of this file provide. */
export type Services = JobStore | JobRecords | JobQueue.JobQueue | JobFlow.JobFlows | JobAdmin.JobAdmin

const settingsOf = ({ idle, lock }: TransactionLimits): Transaction.Settings => ({
  idle_in_transaction_session_timeout: String(Math.ceil(idle)),
  lock_timeout: String(Math.ceil(lock))
})

const make = Effect.fnUntraced(function*(options: Options) {
  const sql = yield* PgClient.PgClient
  yield* Database.tables("jobs")
  const connections = yield* JobConnections.make(sql)
  const { ask, control } = connections
  const fleet = { listen: options.listen ?? true, historyDays: options.historyDays ?? 7 }
  const direct = (jobs: ReadonlyArray<NewJob>) => operation("insert")(PostgresJobInsert.insert(sql, jobs))
  const floors = new ClaimFloors()
  const grouped = yield* GroupCommit.make<ReadonlyArray<NewJob>, ReadonlyArray<JobId>, JobQueueError>({
    flush: (groups) =>
      Effect.map(direct(groups.flat()), (ids) => {
        let from = 0
        return groups.map((jobs) => Exit.succeed(ids.slice(from, from += jobs.length)))
      }),
    weight: (jobs) => jobs.length,
    maxWeight: 1_000,
    inFlight: 2,
    isOverlapping: false,
    capacity: 10_000,
    whenFull: "wait",
    isCommon: (error) => error.reason !== "Rejected"
  })
  const isInTransaction = Effect.map(Effect.serviceOption(sql.transactionService), Option.isSome)

  const store = JobStore.of({
    insert: (jobs) =>
      Effect.flatMap(isInTransaction, (isInTransaction) => {
        // Group commit is for those who commit alone; keys and unique texts may wait for other transactions.
        const isAlone = isInTransaction || jobs.length > 100 ||
          jobs.some((job) => job.unique !== null || job.key !== null)
        return isAlone ? direct(jobs) : Effect.withFiber((fiber) => grouped(jobs, fiber))
      }),
    offer: (job) => operation("insert")(PostgresJobInsert.offer(sql, job)),
    insertFlow: (jobs) => operation("insert")(PostgresFlows.insert(sql, jobs)),
    transact: (effect, limits) =>
      operation("transaction")(
        Transaction.withSettings(sql, limits === undefined ? {} : settingsOf(limits))(effect)
      ),
    claim: (worker, nth, queues) => ask("claim")(PostgresClaim.claim(control, { worker, nth }, queues, floors)),
    settle: (worker, settlements) =>
      Effect.map(
        ask("settle")(PostgresSettle.settle(control, worker, settlements)),
        (settled) => settlements.length - settled
      ),
    report: (worker, reports) => ask("report")(PostgresSettle.report(control, worker, reports)),
    settleAll: (worker, settlements) =>
      Effect.flatMap(
        operation("settle")(PostgresSettle.settle(sql, worker, settlements)),
        (settled) =>
          settled === settlements.length
            ? Effect.void
            : Effect.fail(new JobLeaseLost({ ids: settlements.map(({ job }) => job.id) }))
      ),
    giveBackUnknown: (worker, nth, known) =>
      ask("reconcile")(PostgresClaim.giveBackUnknown(control, { worker, nth }, known)),
    join: (joining) => PostgresFleet.join(connections, fleet, joining),
    tick: (worker, entries) =>
      ask("cron")(
        PostgresCron.tick(control, worker, entries, (jobs) => PostgresJobInsert.insert(control, jobs))
      )
  })
  return Context.make(JobStore, store).pipe(Context.add(JobRecords, PostgresJobRecords.make(sql)))
})

/** What the queue stands on. */
type Ground = PgClient.PgClient | Database.Database

/** The queue in Postgres; its tables are seen to as `Database` was opened to do. Throws `JobOptionInvalid`. */
export const layerWith = (options: Options): Layer.Layer<Services, DatabaseError, Ground> => {
  JobOption.assertValid("PostgresJobQueue.layerWith", options, { historyDays: JobOption.historyDays })
  return Layer.mergeAll(JobQueue.layer, JobFlow.layer, JobAdmin.layer).pipe(
    Layer.provideMerge(Layer.effectContext(make(options)))
  )
}

/** {@link layerWith} with its defaults. */
export const layer: Layer.Layer<Services, DatabaseError, Ground> = layerWith({})
