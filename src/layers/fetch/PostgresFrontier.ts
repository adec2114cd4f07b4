/**
 * Runs in Postgres: any length, any number of processes, nothing recorded lost or fetched again.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Config, Duration, Effect, Layer, Option, Stream } from "effect"
import type { FetchTarget } from "../../services/fetch/FetchRequest.ts"
import * as Frontier from "../../services/fetch/Frontier.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import * as Columns from "../postgres/Columns.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as FrontierStatements from "./FrontierStatements.ts"
import { Outage } from "./Outage.ts"
import { hashOf, outcomeOf } from "./OutcomeRows.ts"
import { openRun } from "./PostgresRun.ts"

/** Outcomes that are read at once. */
const pageSize = 1000

/** Rows that are made pending again in one transaction. */
const reopenBatch = 10_000

/** Targets that are compared with a run at once. */
const knowsMax = 1000

/** Rows that are deleted in one transaction. */
const eraseBatch = 1000

/** Stale hosts that are dropped when a run is opened. */
const sweepMax = 10_000

/** How long one of those transactions may take. */
const reopenWithin = Duration.seconds(60)

/** Runs that are listed. */
const runsMax = 10_000

const summaryOf = (row: FrontierStatements.RunRow): Frontier.RunSummary => ({
  name: row.name,
  createdAt: new Date(row.created_at).toISOString(),
  updatedAt: new Date(row.updated_at).toISOString(),
  counts: {
    pending: Number(row.pending),
    leased: Number(row.leased),
    done: Number(row.done),
    failed: Number(row.failed),
    deferred: Number(row.deferred)
  }
})

/** What is done about one run: its statements, through the outages of the database. */
interface Access {
  readonly statements: FrontierStatements.FrontierStatements
  readonly outage: Outage
}

const findRow = Effect.fnUntraced(function*(
  { outage, statements }: Access,
  name: string
): Effect.fn.Return<FrontierStatements.RunRow, Frontier.FrontierError | Frontier.RunNotFound> {
  const row = yield* outage.through("find", () => statements.runNamed(name))
  return row ?? (yield* new Frontier.RunNotFound({ name }))
})

/** Makes recorded URLs pending again, in bounded transactions. */
const reopen = Effect.fnUntraced(function*(
  { outage, statements }: Access,
  run: number,
  what: FrontierStatements.Reopening
) {
  let count = reopenBatch
  while (count === reopenBatch) {
    count = yield* outage.through("reopen", () => statements.reopen(run, what, reopenBatch), reopenWithin)
  }
})

/** Deletes the rows of a run that has no name any more, in bounded transactions. */
const erase = Effect.fnUntraced(function*({ outage, statements }: Access, run: number) {
  for (const what of FrontierStatements.erasable) {
    const page = (behind: string | null) =>
      outage.through("remove", () => statements.erase(what, run, behind, eraseBatch))
    for (let erased = yield* page(null); erased?.last !== null && erased !== undefined;) {
      erased = yield* page(erased.last)
    }
  }
  yield* outage.through("remove", () => statements.eraseRun(run))
})

const remove = Effect.fn("PostgresFrontier.remove")(function*(
  access: Access,
  name: string,
  options?: Frontier.RemoveOptions
) {
  const { outage, statements } = access
  const { id } = yield* findRow(access, name)
  const isForced = options?.isForced === true
  const processes = yield* outage.through("remove", () => statements.unname(id, isForced))
  if (processes > 0) return yield* new Frontier.RunBusy({ name, processes })
  const nameless = yield* outage.through("remove", () => statements.nameless)
  return yield* Effect.forEach(nameless, (run) => erase(access, run.id), { discard: true })
})

const notesOf = Effect.fnUntraced(function*({ outage, statements }: Access, name: string) {
  const row = yield* outage.through("notes", () => statements.notes(name))
  return row === undefined ? yield* new Frontier.RunNotFound({ name }) : row.notes
})

/** What a run does not know, a batch after another. */
const unknownTo = Effect.fnUntraced(function*(access: Access, name: string, targets: ReadonlyArray<FetchTarget>) {
  const { outage, statements } = access
  const { id } = yield* findRow(access, name)
  const unknown: Array<FetchTarget> = []
  for (let at = 0; at < targets.length; at += knowsMax) {
    const batch = targets.slice(at, at + knowsMax)
    const rows = yield* outage.through("unknown", () => statements.known(id, Columns.byteas(batch.map(hashOf))))
    const known = new Set(rows.map(({ nth }) => nth))
    unknown.push(...batch.filter((_, index) => !known.has(index + 1)))
  }
  return unknown
})

const countsOf = Effect.fnUntraced(function*({ outage, statements }: Access, id: number, name: string) {
  const row = yield* outage.through("counts", () => statements.run(id))
  if (row !== undefined) return summaryOf(row).counts
  return yield* Frontier.removed("counts", name)
})

/** How the outcomes of a run ended: what is done is counted already, only failures are looked at, in their own index. */
const tagsOf = Effect.fnUntraced(function*(access: Access, name: string) {
  const row = yield* findRow(access, name)
  const failures = yield* access.outage.through("tags", () => access.statements.tags(row.id))
  const { done } = summaryOf(row).counts
  return [...failures, ...(done === 0 ? [] : [{ tag: null, count: done }])].sort((a, b) => b.count - a.count)
})

const make = Effect.fnUntraced(function*(patience: Duration.Duration) {
  const sql = yield* PgClient.PgClient
  const statements = FrontierStatements.make(sql)

  const outageOf = (subject: string, options?: Frontier.FindOptions) =>
    new Outage({ subject, patience: Duration.fromInputUnsafe(options?.patience ?? patience) })
  const accessOf = (name: string, options?: Frontier.FindOptions): Access => ({
    statements,
    outage: outageOf(`run ${name}`, options)
  })

  const open = Effect.fn("PostgresFrontier.open")(
    function*(name: string, options?: Frontier.OpenOptions) {
      const access = accessOf(name, options)
      const { outage } = access
      const row = yield* outage.through("open", () => statements.open(name, options?.notes ?? {}))
      // Insert or update: there is a row.
      if (row === undefined) return yield* Effect.die(`run ${name} has no row`)
      const { id, next_seq: below, notes } = row
      yield* outage.through("open", () => statements.sweep(sweepMax))
      if (options?.again !== undefined) yield* reopen(access, id, { filter: options.again, below })
      const counts = countsOf(access, id, name)
      return yield* openRun({ sql, ...access, id, name, notes, counts, reopenDue: reopen(access, id, "due") })
    },
    // Whoever had an empty run open drops it when it leaves, perhaps between our finding it and our joining it.
    Effect.retry({ times: 3, while: ({ cause }) => cause instanceof Frontier.RunNotFound })
  )

  const outcomes = (name: string, filter: Frontier.OutcomeFilter = {}) => {
    const access = accessOf(name)
    const { outage } = access
    const pages = ({ id }: FrontierStatements.RunRow) =>
      Stream.paginate(
        0,
        Effect.fnUntraced(function*(behind) {
          const page = { behind, filter, most: pageSize }
          const rows = yield* outage.through("outcomes", () => statements.page(id, page))
          const last = rows.length < pageSize ? undefined : rows.at(-1)
          return [rows.map(outcomeOf), Option.map(Option.fromUndefinedOr(last), ({ seq }) => seq)] as const
        })
      )
    return Stream.unwrap(Effect.map(findRow(access, name), pages))
  }

  return Frontier.Frontier.of({
    open,
    outcomes,
    runs: (query) =>
      Effect.suspend(() =>
        outageOf("the list of runs").through("runs", () => statements.runs({ ...query, most: query?.most ?? runsMax }))
      ).pipe(Effect.map((rows) => rows.map(summaryOf))),
    find: (name, options) => Effect.map(findRow(accessOf(name, options), name), summaryOf),
    notes: (name) => notesOf(accessOf(name), name),
    unknown: (name, targets) => unknownTo(accessOf(name), name, targets),
    tags: (name) => tagsOf(accessOf(name), name),
    remove: (name, options) => remove(accessOf(name), name, options)
  })
})

/** How runs bear with their database. */
export interface Options {
  /** How long a statement is tried while the database cannot be had. @default 2 minutes */
  readonly patience?: Duration.Input | undefined
}

/** What runs stand on. */
type Ground = PgClient.PgClient | Database.Database

/** Runs in the database that `PgClient` is connected to; their tables are seen to as `Database` was opened to do. */
export const layerWith = (options: Options): Layer.Layer<Frontier.Frontier, DatabaseError, Ground> =>
  Layer.effect(
    Frontier.Frontier,
    Effect.andThen(Database.tables("fetch"), make(Duration.fromInputUnsafe(options.patience ?? "2 minutes")))
  )

/** The same, with the defaults. */
export const layer: Layer.Layer<Frontier.Frontier, DatabaseError, Ground> = layerWith({})

const patienceConfig = ShortDuration.config("SLUICE_DATABASE_PATIENCE").pipe(Config.withDefault(Duration.minutes(2)))

/** The same, as patient as `SLUICE_DATABASE_PATIENCE` says. */
export const layerConfig: Layer.Layer<Frontier.Frontier, Config.ConfigError | DatabaseError, Ground> = Layer.unwrap(
  Effect.map(patienceConfig, (patience) => layerWith({ patience }))
)
