/**
 * The frontier's functions in `layers/postgres/schema/fetch`, with their types. Where a function tells nothing but that it was done, its
 * row says so.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import { Effect } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { OutcomeFilter, RunNotes, RunsQuery, TagCount } from "../../services/fetch/Frontier.ts"
import * as Columns from "../postgres/Columns.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"
import type { Lane } from "./LeaseBook.ts"
import type { OutcomeRow, TargetRow } from "./OutcomeRows.ts"

/** What a function gives back: no row when the member that called it is none any more, and nothing was done. */
type Answer<Row> = Effect.Effect<ReadonlyArray<Row>, SqlError>

export interface AddRow {
  readonly lane: bigint
  readonly added: number
  /** Of the whole batch, in its last row. */
  readonly repeated: number
}

export interface LaneRow {
  readonly id: bigint
  readonly host: string
  readonly head: number
  readonly redo: number
  /** What is known of the host: a `HostState`, or null. */
  readonly known: unknown
}

export interface UrlRow extends TargetRow {
  readonly lane: bigint
  /** The last row of the lane's log. */
  readonly last: number
  readonly seq: number | null
  readonly url: string | null
}

export interface Beat {
  /** Someone else may be gone, or a lane has no living owner. */
  readonly gone: boolean
  /** Something deferred is due. */
  readonly due: boolean
}

export interface Status {
  readonly due: boolean
  readonly done: boolean
}

/** An open run. */
export interface OpenRow {
  readonly id: number
  /** URLs that are added, or made pending again, from now on have this `seq` or a later one. */
  readonly next_seq: number
  readonly notes: RunNotes
}

/** What was deleted in one go. */
export interface Erased {
  readonly erased: number
  /** The last row of those; null when there was none. */
  readonly last: string | null
}

/** What a run's rows are deleted from, in this order. */
export const erasable = ["urls", "outcomes", "lanes"] as const

/** A run with its counts. */
export interface RunRow {
  readonly id: number
  readonly name: string
  readonly created_at: Date
  readonly updated_at: Date
  readonly pending: bigint
  readonly leased: bigint
  readonly done: bigint
  readonly failed: bigint
  readonly deferred: bigint
}

/** What is recorded in one go. */
export interface Settling {
  /** By `outcomeColumns`. */
  readonly outcomes: SqlFunction.Arguments
  /** By `hostColumns`. */
  readonly hosts: SqlFunction.Arguments
  readonly leaving: ReadonlyArray<Lane>
  /** A try before may have come through. */
  readonly isAgain: boolean
}

/** How much is read of each of some lanes. */
export interface Reading {
  readonly most: number
  /** URLs that this member has read before. */
  readonly taken: number
}

/** What is made pending again: what is due, or what meets a filter and was recorded before a `seq`. */
export type Reopening = "due" | { readonly filter: OutcomeFilter; readonly below: number }

/** A page of outcomes: those that meet the filter behind the row `behind`. */
export interface Page {
  readonly behind: number
  readonly filter: OutcomeFilter
  readonly most: number
}

const idsOf = (lanes: ReadonlyArray<Lane>) => Columns.bigints(lanes.map(({ id }) => id))
const readsOf = (lanes: ReadonlyArray<Lane>) => Columns.bigints(lanes.map(({ read }) => BigInt(read)))
const redosOf = (lanes: ReadonlyArray<Lane>) => Columns.bigints(lanes.map(({ redo }) => BigInt(redo)))
const headsOf = (heads: ReadonlyArray<number>) => Columns.bigints(heads.map(BigInt))

const statusArguments = ({ status }: OutcomeFilter) => ({
  least_status: status?.least ?? null,
  most_status: status?.most ?? null
})

const first = <Row>(rows: ReadonlyArray<Row>): Row | undefined => rows[0]

/** The frontier's statements on one client. */
export const make = (sql: PgClient.PgClient) => {
  const call = <Row extends object>(name: string, args: SqlFunction.Arguments): Answer<Row> =>
    SqlFunction.call<Row>(sql, name, args)

  return {
    open: (name: string, notes: RunNotes) =>
      Effect.map(call<OpenRow>("fetch_open", { run_name: name, more: JSON.stringify(notes) }), first),

    runs: ({ idleSinceMillis, most }: RunsQuery) =>
      idleSinceMillis === undefined
        ? sql<RunRow>`select * from sluice.fetch_runs order by created_at desc limit ${most}`
        : sql<RunRow>`select * from sluice.fetch_runs where updated_at < ${new Date(idleSinceMillis)}
            order by created_at desc limit ${most}`,

    notes: (name: string) =>
      Effect.map(sql<{ readonly notes: RunNotes }>`select notes from sluice.fetch_run where name = ${name}`, first),

    /** Takes the name of a run away, so that nobody finds it. Says how many processes are in the way: nothing was done then. */
    unname: (run: number, isForced: boolean) =>
      Effect.map(
        call<{ readonly busy: number }>("fetch_unname", { run, is_forced: isForced }),
        (rows) => first(rows)?.busy ?? 0
      ),

    /** Runs whose removal is under way, or was cut short. */
    nameless: sql<{ readonly id: number }>`select id from sluice.fetch_run where name is null order by id`,

    erase: (what: typeof erasable[number], run: number, behind: string | null, most: number) =>
      Effect.map(call<Erased>(`fetch_erase_${what}`, { run, behind, most }), first),

    eraseRun: (run: number) => call("fetch_erase_run", { run }),

    run: (id: number) => Effect.map(sql<RunRow>`select * from sluice.fetch_runs where id = ${id}`, first),

    runNamed: (name: string) => Effect.map(sql<RunRow>`select * from sluice.fetch_runs where name = ${name}`, first),

    /** Which of the hashes are a run's, by their places from 1. */
    known: (run: number, hashes: PgTypes.Parameter) =>
      sql<
        { readonly nth: number }
      >`select t.nth::int as nth from unnest(${hashes}::bytea[]) with ordinality t(hash, nth)
        cross join lateral (select from sluice.fetch_url u where u.run_id = ${run} and u.hash = t.hash offset 0) u`,

    tags: (run: number) => call<TagCount>("fetch_tags", { run }),

    page: (run: number, { behind, filter, most }: Page) =>
      call<OutcomeRow>("fetch_page", {
        run,
        behind,
        only_failed: filter.failed === true,
        only_tag: filter.tag ?? null,
        ...statusArguments(filter),
        only_host: filter.host ?? null,
        most
      }),

    /** Drops what is stale of hosts. */
    sweep: (most: number) => call("fetch_sweep", { most }),

    /** Makes recorded URLs pending again. Says how many. */
    reopen: (run: number, what: Reopening, most: number) => {
      const { below, filter } = what === "due" ? { below: 0, filter: {} } : what
      return Effect.map(
        call<{ readonly reopened: number }>("fetch_reopen", {
          run,
          is_due: what === "due",
          below: BigInt(below),
          only_failed: filter.failed === true,
          only_tag: filter.tag ?? null,
          ...statusArguments(filter),
          only_host: filter.host ?? null,
          most
        }),
        (rows) => first(rows)?.reopened ?? 0
      )
    },

    join: (run: number, isSealed: boolean) =>
      Effect.map(
        call<{ readonly id: number }>("fetch_join", { run, is_sealed: isSealed }),
        (rows) => first(rows)?.id
      ),

    /** Takes the lock that shows that this process lives. */
    hold: (session: Connection, member: number) =>
      Effect.map(
        SqlFunction.callOn<{ readonly held: boolean }>(session, "fetch_hold", { member }),
        (rows) => first(rows)?.held === true
      ),

    beat: (session: Connection, run: number, member: number) =>
      Effect.map(SqlFunction.callOn<Beat>(session, "fetch_beat", { run, member }), first),

    /** Ends the memberships of the dead; says whether anything came free. */
    bury: (run: number) =>
      Effect.map(call<{ readonly freed: boolean }>("fetch_bury", { run }), (rows) => first(rows)?.freed === true),

    /** Goes on as another member, with the lanes of its book; none when this process was taken for dead. */
    renew: (run: number, old: number, known: Iterable<Lane>) =>
      Effect.map(
        call<{ readonly renewed: number | null }>("fetch_renew", { run, old, known: idsOf(Array.from(known)) }),
        (rows) => first(rows)?.renewed ?? undefined
      ),

    /** Leaves: the next owners look again at what lies between `heads` and what was read. */
    leave: (run: number, member: number, lanes: ReadonlyArray<Lane>, heads: ReadonlyArray<number>) =>
      call("fetch_leave", { run, member, lanes: idsOf(lanes), heads: headsOf(heads), reads: readsOf(lanes) }),

    seal: (member: number) => call("fetch_seal", { member }),

    lanes: (run: number, hosts: ReadonlyArray<string>) =>
      call<{ readonly id: bigint; readonly host: string }>("fetch_lanes", { run, hosts: Columns.texts(hosts) }),

    /** @param targets by `targetColumns` */
    add: (run: number, member: number, targets: SqlFunction.Arguments) =>
      call<AddRow>("fetch_add", { run, member, ...targets }),

    take: (run: number, member: number, closedHosts: ReadonlySet<string>, most: number) =>
      call<LaneRow>("fetch_take", { run, member, closed: Columns.texts(Array.from(closedHosts)), most }),

    read: (run: number, member: number, lanes: ReadonlyArray<Lane>, { most, taken }: Reading) =>
      call<UrlRow>("fetch_read", {
        run,
        member,
        lanes: idsOf(lanes),
        reads: readsOf(lanes),
        redos: redosOf(lanes),
        most,
        taken
      }),

    settle: (run: number, member: number, { hosts, isAgain, leaving, outcomes }: Settling) =>
      call("fetch_settle", {
        run,
        member,
        is_again: isAgain,
        leaving: idsOf(leaving),
        heads: readsOf(leaving),
        ...outcomes,
        ...hosts
      }),

    /** Lets go of lanes in which nothing is left. */
    free: (member: number, lanes: ReadonlyArray<Lane>) =>
      call("fetch_head", { member, lanes: idsOf(lanes), heads: readsOf(lanes), is_leaving: true }),

    /** Notes how far lanes are. */
    park: (member: number, lanes: ReadonlyArray<Lane>, heads: ReadonlyArray<number>) =>
      call("fetch_head", { member, lanes: idsOf(lanes), heads: headsOf(heads), is_leaving: false }),

    status: (run: number) => Effect.map(call<Status>("fetch_status", { run }), first)
  }
}

export type FrontierStatements = ReturnType<typeof make>
