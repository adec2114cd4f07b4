/**
 * The frontier's statements. Batches travel as arrays, one array a column; locks are taken in the order run, member, lanes by id.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Effect, Result } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { OutcomeFilter } from "../../services/fetch/Frontier.ts"
import type { LeasedLane } from "./LeaseBook.ts"

/** An array parameter; the element types used here all have an array type. */
export const array = (values: ReadonlyArray<unknown>, elementOid: number): PgTypes.Parameter =>
  Result.getOrThrow(PgTypes.array(values, elementOid))

/** Whole numbers that JavaScript holds exactly, as int8. */
export const int8s = (values: ReadonlyArray<number>): PgTypes.Parameter => array(values.map(BigInt), PgTypes.OID.int8)

export const texts = (values: ReadonlyArray<string | null>): PgTypes.Parameter => array(values, PgTypes.OID.text)

const laneIds = (lanes: ReadonlyArray<LeasedLane>) => array(lanes.map((lane) => lane.id), PgTypes.OID.int8)

/** First key of the session locks by which a process shows that it lives; the second is its member id. */
const lockSpace = 721_041_411

/** The order is what leads the planner to the partial index: for a bare `exists` it may read the whole table. */
const nextDue = `select due_at from sluice.fetch_outcome where run_id = $1 and state = 2 order by due_at limit 1`

/** Runs of other names may write the same hosts: all do so in the same order. A block under way that ends later stays. */
const noteHosts = `, noted as (
        insert into sluice.fetch_host (host, state, shut_until, stale_at)
        select t.host, t.state::json, t.shut_until, t.stale_at
        from fence, unnest($20::text[], $21::text[], $22::timestamptz[], $23::timestamptz[]) t(host, state, shut_until, stale_at)
        order by t.host
        on conflict (host) do update
          set state = excluded.state, shut_until = excluded.shut_until, stale_at = excluded.stale_at
          where fetch_host.shut_until <= greatest(excluded.shut_until, now())
      )`

/** What was recorded already stays, and what was made pending again since then has moved on. */
const unlessRecorded = `where exists (select from sluice.fetch_url u where u.lane_id = t.lane and u.seq = t.seq)
        on conflict (run_id, seq) do nothing`

export interface AddRow {
  readonly lane: bigint
  readonly count: number
}

export interface LaneRow {
  readonly id: bigint
  readonly host: string
  readonly head: number
  readonly redo: number
  /** What is known of the host: a `HostState`, or null. */
  readonly known: unknown
}

export interface UrlRow {
  readonly lane: bigint
  /** The last row of the lane's log. */
  readonly last: number
  readonly seq: number | null
  readonly url: string | null
  readonly request: string | null
  readonly untrusted: boolean
}

/** The row that says that the member that sent a statement is one: what it says was done. */
export interface Fence {
  readonly id: number
}

export interface Beat {
  readonly gone: boolean
  readonly due: boolean
}

/**
 * The frontier's statements on one client.
 *
 * `is not distinct from` where a lane's owner is checked keeps the planner from reading all of an owner's lanes for each one of a batch.
 */
export const make = (sql: PgClient.PgClient) => ({
  openRun: (name: string) =>
    Effect.map(
      sql.unsafe<{ readonly id: number }>(
        `insert into sluice.fetch_run (name) values ($1) on conflict (name) do update set updated_at = now() returning id`,
        [name]
      ),
      (rows) => rows[0]?.id
    ),

  /** Drops what is stale of hosts, a bounded number; what others are writing stays. */
  sweepHosts: (limit: number) =>
    sql.unsafe(
      `delete from sluice.fetch_host where host in (
        select host from sluice.fetch_host where stale_at < now() order by stale_at limit $1 for update skip locked
      ) and stale_at < now()`,
      [limit]
    ),

  join: (run: number, sealed: boolean) =>
    Effect.map(
      sql.unsafe<{ readonly id: number }>(
        `insert into sluice.fetch_member (run_id, sealed) values ($1, $2) returning id`,
        [run, sealed]
      ),
      (rows) => rows[0]?.id
    ),

  /** Takes the lock that shows that this process lives, for as long as the session does; not while a session that went before still has it. */
  tryLock: (
    connection: Connection,
    member: number
  ): Effect.Effect<ReadonlyArray<{ readonly held: boolean }>, SqlError> =>
    connection.execute(
      `select pg_advisory_unlock_all()::text as dropped, pg_try_advisory_lock($1, $2) as held`,
      [lockSpace, member],
      undefined
    ),

  /** Says whether someone else is gone and something is due; no row when this process was taken for dead. */
  beat: (connection: Connection, run: number, member: number): Effect.Effect<ReadonlyArray<Beat>, SqlError> =>
    connection.execute(`select gone, due from sluice.fetch_beat($1, $2)`, [run, member], undefined),

  /** Ends the memberships of the dead; says whether anything came free. */
  bury: (run: number) =>
    Effect.map(
      sql.unsafe<{ readonly freed: boolean }>(`select sluice.fetch_bury($1, $2) as freed`, [run, lockSpace]),
      (rows) => rows[0]?.freed === true
    ),

  /** Goes on as another member, with the lanes of its book; none when this process was taken for dead. */
  renew: (run: number, member: number, known: Iterable<LeasedLane>) =>
    Effect.map(
      sql.unsafe<{ readonly id: number | null }>(
        `select sluice.fetch_renew($1, $2, $3) as id`,
        [run, member, laneIds(Array.from(known))]
      ),
      (rows) => rows[0]?.id ?? undefined
    ),

  seal: (member: number) =>
    sql.unsafe<Fence>(`update sluice.fetch_member set sealed = true where id = $1 returning id`, [member]),

  lanes: (run: number, hosts: ReadonlyArray<string>) =>
    sql.unsafe<{ readonly id: bigint; readonly host: string }>(
      `with fresh as (
        insert into sluice.fetch_lane (run_id, host) select $1, host from unnest($2::text[]) host order by host
        on conflict (run_id, host) do nothing returning id, host
      )
      select id, host from fresh union all
      select id, host from sluice.fetch_lane where run_id = $1 and host = any($2::text[])`,
      [run, texts(hosts)]
    ),

  /** No row: the member is gone and nothing was added. Adders of a run go one after another, so the order of `seq` is that of commits. */
  add: (
    run: number,
    member: number,
    columns: ReadonlyArray<PgTypes.Parameter>,
    { length, untrusted }: { readonly length: number; readonly untrusted: boolean }
  ) =>
    sql.unsafe<AddRow>(
      `with run as (
        update sluice.fetch_run set next_seq = next_seq + $3::int4, updated_at = now() where id = $1
        returning next_seq - $3::int4 as base
      ), fence as (
        select id from sluice.fetch_member where id = (select $2::int4 from run) for no key update
      ), fresh as (
        insert into sluice.fetch_url (run_id, lane_id, seq, hash, url, request, untrusted)
        select $1, t.lane, run.base + t.n - 1, t.hash, t.url, t.request, $8
        from run, fence, unnest($4::int8[], $5::bytea[], $6::text[], $7::text[]) with ordinality t(lane, hash, url, request, n)
        on conflict do nothing returning lane_id, seq
      ), trusted as (
        update sluice.fetch_url u set untrusted = false from fence, unnest($5::bytea[]) t(hash)
        where not $8 and u.run_id = $1 and u.untrusted and u.hash = t.hash
      ), tally as (
        update sluice.fetch_member set added = added + (select count(*) from fresh) where id = $2 returning id
      ), ends as (
        select lane_id, max(seq) as seq, count(*)::int4 as count from fresh group by lane_id
      ), locked as (
        select l.id, ends.seq from ends join sluice.fetch_lane l on l.id = ends.lane_id, tally order by l.id for no key update of l
      ), moved as (
        update sluice.fetch_lane l set tail = locked.seq from locked where l.id = locked.id
      )
      select coalesce(ends.lane_id, 0) as lane, coalesce(ends.count, 0) as count from fence left join ends on true`,
      [run, member, length, ...columns, untrusted]
    ),

  /** Hosts that nobody works on. */
  take: (run: number, member: number, closedHosts: ReadonlySet<string>, limit: number) =>
    sql.unsafe<LaneRow>(
      `with fence as (
        select id from sluice.fetch_member where id = $2 for key share
      ), free as (
        select l.id, (select state from sluice.fetch_host where host = l.host and stale_at > now()) as known
        from sluice.fetch_lane l
        where l.run_id = $1 and l.owner is null and l.tail > l.head and l.host <> all($3::text[]) and exists (select from fence)
        order by l.id limit $4 for no key update of l skip locked
      )
      update sluice.fetch_lane l set owner = $2 from free where l.id = free.id
      returning l.id, l.host, l.head::float8 as head, l.redo::float8 as redo, free.known`,
      [run, member, texts(Array.from(closedHosts)), limit]
    ),

  /**
   * Reads on in the logs of lanes that this process owns: up to `limit` rows of each, and a row without `seq` for a lane that has none.
   * No row at all: the member is gone.
   *
   * @param taken URLs that this member has read before; told and not counted on, so that a read that is sent again changes nothing
   */
  read: (run: number, member: number, lanes: ReadonlyArray<LeasedLane>, limit: number, taken: number) =>
    sql.unsafe<UrlRow>(
      `with got as materialized (
        select l.id as lane, l.last, u.seq, u.url, u.request, u.untrusted
        from (
          select t.id, t.head, t.redo, (select max(seq) from sluice.fetch_url where lane_id = t.id) as last
          from unnest($3::int8[], $4::int8[], $5::int8[]) t(id, head, redo) offset 0
        ) l left join lateral (
          select u.seq, u.url, u.request, u.untrusted from sluice.fetch_url u
          where u.lane_id = l.id and u.seq > l.head and (
            u.seq > l.redo
            or (select o.seq from sluice.fetch_outcome o where o.run_id = $1 and o.seq = u.seq) is null
          )
          order by u.seq limit $6
        ) u on true
      ), tally as (
        update sluice.fetch_member set taken = $7::int8 + (select count(seq) from got) where id = $2 returning id
      )
      select got.lane, coalesce(got.last, 0)::float8 as last, got.seq::float8 as seq, got.url, got.request,
        coalesce(got.untrusted, false) as untrusted
      from got, tally`,
      [
        run,
        member,
        laneIds(lanes),
        int8s(lanes.map((lane) => lane.read)),
        int8s(lanes.map((lane) => lane.redo)),
        limit,
        BigInt(taken)
      ]
    ),

  /**
   * Outcomes, tallies, what is known of hosts (if there is news), and the hosts that are done with, in one statement. No row: the member
   * is gone and nothing was recorded.
   *
   * @param again an attempt before may have come through: what it has recorded counts
   */
  settle: (
    run: number,
    member: number,
    columns: ReadonlyArray<PgTypes.Parameter>,
    leaving: ReadonlyArray<LeasedLane>,
    hosts: ReadonlyArray<PgTypes.Parameter> | undefined,
    again: boolean
  ) =>
    sql.unsafe<Fence>(
      `with fence as (
        select id from sluice.fetch_member where id = $2 for no key update
      ), recorded as (
        insert into sluice.fetch_outcome (run_id, seq, lane_id, state, status, attempts, bytes, duration_ms, started_at, due_at,
          sha256, tag, content_type, final_url, saved_to, error)
        select $1, t.seq, t.lane, t.state, t.status, t.attempts, t.bytes, t.duration, t.started, t.due, decode(t.sha256, 'hex'), t.tag,
          t.content_type, t.final_url, t.saved_to, t.error::json
        from fence, unnest($5::int8[], $6::int8[], $7::int2[], $8::int2[], $9::int4[], $10::int8[], $11::float8[],
          $12::timestamptz[], $13::timestamptz[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[])
          t(seq, lane, state, status, attempts, bytes, duration, started, due, sha256, tag, content_type, final_url, saved_to, error)
        ${again ? unlessRecorded : ""}
        returning state
      ), tally as (
        update sluice.fetch_member m set seen_at = now(), done = m.done + c.done, failed = m.failed + c.failed, deferred = m.deferred + c.deferred
        from (
          select count(*) filter (where state = 0) as done, count(*) filter (where state = 1) as failed,
            count(*) filter (where state = 2) as deferred
          from recorded
        ) c where m.id = $2
      ), locked as (
        select l.id, x.head from unnest($3::int8[], $4::int8[]) x(id, head) join sluice.fetch_lane l on l.id = x.id, fence
        where l.owner is not distinct from $2 order by l.id for no key update of l
      ), freed as (
        update sluice.fetch_lane l set owner = null, head = locked.head from locked where l.id = locked.id
      )${hosts === undefined ? "" : noteHosts}
      select id from fence`,
      [
        run,
        member,
        laneIds(leaving),
        int8s(leaving.map((lane) => lane.read)),
        ...columns,
        ...hosts ?? []
      ]
    ),

  /** Lets go of lanes in which nothing is left. No row: the member is gone. */
  free: (member: number, lanes: ReadonlyArray<LeasedLane>) =>
    sql.unsafe<Fence>(
      `with fence as (
        select id from sluice.fetch_member where id = $1 for key share
      ), locked as (
        select l.id, x.head from unnest($2::int8[], $3::int8[]) x(id, head) join sluice.fetch_lane l on l.id = x.id, fence
        where l.owner is not distinct from $1 order by l.id for no key update of l
      ), freed as (
        update sluice.fetch_lane l set owner = null, head = locked.head from locked where l.id = locked.id
      )
      select id from fence`,
      [member, laneIds(lanes), int8s(lanes.map((lane) => lane.read))]
    ),

  /** Notes how far lanes are. No row: the member is gone. */
  park: (member: number, lanes: ReadonlyArray<LeasedLane>, heads: ReadonlyArray<number>) =>
    sql.unsafe<Fence>(
      `with fence as (
        select id from sluice.fetch_member where id = $1 for key share
      ), locked as (
        select l.id, x.head from unnest($2::int8[], $3::int8[]) x(id, head) join sluice.fetch_lane l on l.id = x.id, fence
        where l.owner is not distinct from $1 order by l.id for no key update of l
      ), noted as (
        update sluice.fetch_lane l set head = x.head from locked x where l.id = x.id
      )
      select id from fence`,
      [member, laneIds(lanes), int8s(heads)]
    ),

  /** What a pull needs to know when it found nothing. */
  status: (run: number) =>
    sql.unsafe<{ readonly ready: boolean; readonly owned: boolean; readonly unsealed: boolean; readonly due: boolean }>(
      `select
        (select id from sluice.fetch_lane where run_id = $1 and owner is null and tail > head order by id limit 1) is not null as ready,
        (select owner from sluice.fetch_lane where run_id = $1 and owner is not null order by owner limit 1) is not null as owned,
        exists (select from sluice.fetch_member where run_id = $1 and not sealed) as unsealed,
        coalesce((${nextDue}) <= now(), false) as due`,
      [run]
    ),

  /** Leaves the run, with word on how far its lanes are: the next owners look again at what lies between `heads` and what was read. */
  leave: (run: number, member: number, lanes: ReadonlyArray<LeasedLane>, heads: ReadonlyArray<number>) =>
    sql.unsafe(`select sluice.fetch_leave($1, $2, $3, $4, $5)::text as left`, [
      run,
      member,
      laneIds(lanes),
      int8s(heads),
      int8s(lanes.map((lane) => lane.read))
    ]),

  /** Makes up to `limit` recorded URLs pending again, behind all others: the failed ones that meet a filter, or those that are due. */
  reopen: (run: number, filter: OutcomeFilter | "due", limit: number) =>
    Effect.map(
      sql.unsafe<{ readonly count: number }>(
        `select sluice.fetch_reopen($1, $2, $3, $4, $5) as count`,
        filter === "due" ? [run, true, null, null, limit] : [run, false, filter.tag ?? null, filter.host ?? null, limit]
      ),
      (rows) => rows[0]?.count ?? 0
    )
})

export type FrontierStatements = ReturnType<typeof make>
