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

/** A process that has not been seen for so long has lost its leases, frozen or not. */
const lapse = "interval '4 seconds'"

/** A process whose session is gone is given this long to take its lock again on another one. */
const reconnect = "interval '1 second'"

/** The order is what leads the planner to the partial index: for a bare `exists` it may read the whole table. */
const nextDue = `select due_at from sluice.fetch_outcome where run_id = $1 and state = 2 order by due_at limit 1`

/** Runs of other names may write the same hosts: all do so in the same order. A block under way that ends later stays. */
const noteHosts = `, noted as (
        insert into sluice.fetch_host (host, state, shut_until, stale_at)
        select t.host, t.state::json, t.shut_until, t.stale_at
        from fence, unnest($23::text[], $24::text[], $25::timestamptz[], $26::timestamptz[]) t(host, state, shut_until, stale_at)
        order by t.host
        on conflict (host) do update
          set state = excluded.state, shut_until = excluded.shut_until, stale_at = excluded.stale_at
          where fetch_host.shut_until <= greatest(excluded.shut_until, now())
      )`

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
}

export interface Beat {
  readonly gone: boolean
  readonly due: boolean
}

export interface Tallies {
  readonly done: number
  readonly failed: number
  readonly deferred: number
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

  /** Drops the run if nothing was ever added to it and nobody has it open. Inside a transaction that holds the run. */
  dropEmpty: (run: number) =>
    sql.unsafe(
      `delete from sluice.fetch_run r where id = $1 and next_seq = 1
        and not exists (select from sluice.fetch_member where run_id = r.id)`,
      [run]
    ),

  join: (run: number, sealed: boolean) =>
    Effect.map(
      sql.unsafe<{ readonly id: number }>(
        `insert into sluice.fetch_member (run_id, sealed) values ($1, $2) returning id`,
        [run, sealed]
      ),
      (rows) => rows[0]?.id
    ),

  /** Holds the lock that shows that this process lives, for as long as the session does. */
  holdLock: (connection: Connection, member: number) =>
    connection.execute(`select pg_advisory_lock($1, $2)`, [lockSpace, member], undefined),

  /** Says whether someone else is gone and something is due; no row when this process was taken for dead. */
  beat: (connection: Connection, run: number, member: number): Effect.Effect<ReadonlyArray<Beat>, SqlError> =>
    connection.execute(
      `with beat as (
        update sluice.fetch_member set seen_at = now() where id = $2 returning id
      )
      select
        exists (select from sluice.fetch_member where run_id = $1 and id <> $2 and seen_at < now() - ${reconnect}) as gone,
        coalesce((${nextDue}) <= now(), false) as due
      from beat`,
      [run, member],
      undefined
    ),

  seal: (member: number) => sql.unsafe(`update sluice.fetch_member set sealed = true where id = $1`, [member]),

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
  add: (run: number, member: number, columns: ReadonlyArray<PgTypes.Parameter>, length: number) =>
    sql.unsafe<AddRow>(
      `with run as (
        update sluice.fetch_run set next_seq = next_seq + $3::int4, updated_at = now() where id = $1
        returning next_seq - $3::int4 as base
      ), fence as (
        select id from sluice.fetch_member where id = (select $2::int4 from run) for no key update
      ), fresh as (
        insert into sluice.fetch_url (run_id, lane_id, seq, hash, url, request)
        select $1, t.lane, run.base + t.n - 1, t.hash, t.url, t.request
        from run, fence, unnest($4::int8[], $5::bytea[], $6::text[], $7::text[]) with ordinality t(lane, hash, url, request, n)
        on conflict do nothing returning lane_id, seq
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
      [run, member, length, ...columns]
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
   */
  read: (run: number, member: number, lanes: ReadonlyArray<LeasedLane>, limit: number) =>
    sql.unsafe<UrlRow>(
      `with got as materialized (
        select l.id as lane, l.last, u.seq, u.url, u.request
        from (
          select t.id, t.head, t.redo, (select max(seq) from sluice.fetch_url where lane_id = t.id) as last
          from unnest($3::int8[], $4::int8[], $5::int8[]) t(id, head, redo) offset 0
        ) l left join lateral (
          select u.seq, u.url, u.request from sluice.fetch_url u
          where u.lane_id = l.id and u.seq > l.head and (
            u.seq > l.redo
            or (select o.seq from sluice.fetch_outcome o where o.run_id = $1 and o.seq = u.seq) is null
          )
          order by u.seq limit $6
        ) u on true
      ), tally as (
        update sluice.fetch_member set leased = leased + (select count(seq) from got) where id = $2 returning id
      )
      select got.lane, coalesce(got.last, 0)::float8 as last, got.seq::float8 as seq, got.url, got.request from got, tally`,
      [
        run,
        member,
        laneIds(lanes),
        int8s(lanes.map((lane) => lane.read)),
        int8s(lanes.map((lane) => lane.redo)),
        limit
      ]
    ),

  /** Outcomes, tallies, what is known of hosts (if there is news), and the hosts that are done with, in one statement. No row: the member is gone and nothing was recorded. */
  settle: (
    run: number,
    member: number,
    { deferred, done, failed }: Tallies,
    columns: ReadonlyArray<PgTypes.Parameter>,
    leaving: ReadonlyArray<LeasedLane>,
    hosts: ReadonlyArray<PgTypes.Parameter> | undefined
  ) =>
    sql.unsafe<{ readonly id: number }>(
      `with fence as (
        update sluice.fetch_member set done = done + $3, failed = failed + $4, deferred = deferred + $5,
          leased = leased - ($3 + $4 + $5), seen_at = now()
        where id = $2 returning id
      ), recorded as (
        insert into sluice.fetch_outcome (run_id, seq, lane_id, state, status, attempts, bytes, duration_ms, started_at, due_at,
          sha256, tag, content_type, final_url, saved_to, error)
        select $1, t.seq, t.lane, t.state, t.status, t.attempts, t.bytes, t.duration, t.started, t.due, decode(t.sha256, 'hex'), t.tag,
          t.content_type, t.final_url, t.saved_to, t.error::json
        from fence, unnest($8::int8[], $9::int8[], $10::int2[], $11::int2[], $12::int4[], $13::int8[], $14::float8[],
          $15::timestamptz[], $16::timestamptz[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[])
          t(seq, lane, state, status, attempts, bytes, duration, started, due, sha256, tag, content_type, final_url, saved_to, error)
      ), locked as (
        select l.id, x.head from unnest($6::int8[], $7::int8[]) x(id, head) join sluice.fetch_lane l on l.id = x.id, fence
        where l.owner is not distinct from $2 order by l.id for no key update of l
      ), freed as (
        update sluice.fetch_lane l set owner = null, head = locked.head from locked where l.id = locked.id
      )${hosts === undefined ? "" : noteHosts}
      select id from fence`,
      [
        run,
        member,
        done,
        failed,
        deferred,
        laneIds(leaving),
        int8s(leaving.map((lane) => lane.read)),
        ...columns,
        ...hosts ?? []
      ]
    ),

  /** Lets go of lanes in which nothing is left. */
  free: (member: number, lanes: ReadonlyArray<LeasedLane>) =>
    sql.unsafe(
      `with locked as (
        select l.id, x.head from unnest($2::int8[], $3::int8[]) x(id, head) join sluice.fetch_lane l on l.id = x.id
        where l.owner is not distinct from $1 order by l.id for no key update of l
      )
      update sluice.fetch_lane l set owner = null, head = locked.head from locked where l.id = locked.id`,
      [member, laneIds(lanes), int8s(lanes.map((lane) => lane.read))]
    ),

  /** Notes how far lanes are, and lets go of them if `letGo`: the next owner looks again at what lies between `head` and `read`. */
  park: (member: number, lanes: ReadonlyArray<LeasedLane>, heads: ReadonlyArray<number>, letGo: boolean) =>
    sql.unsafe(
      `with locked as (
        select l.id, x.head, x.read
        from unnest($2::int8[], $3::int8[], $4::int8[]) x(id, head, read) join sluice.fetch_lane l on l.id = x.id
        where l.owner is not distinct from $1 order by l.id for no key update of l
      )
      update sluice.fetch_lane l set owner = case when $5::bool then null else l.owner end, head = x.head,
        redo = case when $5::bool then greatest(l.redo, x.read) else l.redo end
      from locked x where l.id = x.id`,
      [member, laneIds(lanes), int8s(heads), int8s(lanes.map((lane) => lane.read)), letGo]
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

  /** First in any transaction that touches the run, its members or many of its lanes. */
  lockRun: (run: number) => sql.unsafe(`select id from sluice.fetch_run where id = $1 for no key update`, [run]),

  /** Ends memberships: those in `members`, or, without it, those of the dead. Inside a transaction that holds the run; gives back who left. */
  leave: (run: number, members: ReadonlyArray<number> | undefined) =>
    sql.unsafe<{ readonly id: number }>(
      `with gone as (
        delete from sluice.fetch_member where run_id = $1 and case
          when $2::int4[] is not null then id = any($2)
          when seen_at < now() - ${lapse} then true
          when seen_at < now() - ${reconnect} then pg_try_advisory_xact_lock(${lockSpace}, id)
          else false end
        returning *
      ), kept as (
        update sluice.fetch_run r set added = r.added + g.added, done = r.done + g.done, failed = r.failed + g.failed,
          deferred = r.deferred + g.deferred, updated_at = now()
        from (select sum(added) as added, sum(done) as done, sum(failed) as failed, sum(deferred) as deferred from gone) g
        where r.id = $1 and g.added is not null
      )
      select id from gone`,
      [run, members === undefined ? null : array(members, PgTypes.OID.int4)]
    ),

  /** The lanes of members that left without parking them: their next owners look again at all there is. */
  orphan: (run: number, members: ReadonlyArray<number>) =>
    sql.unsafe(
      `with locked as (
        select id from sluice.fetch_lane where run_id = $1 and owner = any($2::int4[]) order by id for no key update
      )
      update sluice.fetch_lane l set owner = null, redo = greatest(l.redo, l.tail) from locked where l.id = locked.id`,
      [run, array(members, PgTypes.OID.int4)]
    ),

  /** Makes up to `limit` recorded URLs pending again, behind all others: the failed ones that meet a filter, or those that are due. Inside a transaction that holds the run. */
  reopen: (run: number, filter: OutcomeFilter | "due", limit: number) =>
    Effect.map(
      sql.unsafe<{ readonly count: number }>(
        `with picked as (
            select o.seq from sluice.fetch_outcome o
            where o.run_id = $1 and case when $2 then o.state = 2 and o.due_at <= now() else o.state = 1 end
              and ($3::text is null or o.tag = $3)
              and ($4::text is null or o.lane_id = (select id from sluice.fetch_lane where run_id = $1 and host = $4))
            order by o.seq limit $5
          ), gone as (
            delete from sluice.fetch_outcome o using picked where o.run_id = $1 and o.seq = picked.seq
            returning o.lane_id, o.seq, o.state
          ), fresh as (
            select gone.lane_id, gone.seq as old, r.next_seq + row_number() over (order by gone.seq) - 1 as seq
            from gone, sluice.fetch_run r where r.id = $1
          ), moved as (
            update sluice.fetch_url u set seq = fresh.seq from fresh where u.lane_id = fresh.lane_id and u.seq = fresh.old
          ), ends as (
            select lane_id, max(seq) as seq from fresh group by lane_id
          ), locked as (
            select l.id, ends.seq from ends join sluice.fetch_lane l on l.id = ends.lane_id order by l.id for no key update of l
          ), grown as (
            update sluice.fetch_lane l set tail = locked.seq from locked where l.id = locked.id
          ), tally as (
            update sluice.fetch_run set next_seq = next_seq + (select count(*) from gone), updated_at = now(),
              failed = failed - (select count(*) from gone where state = 1),
              deferred = deferred - (select count(*) from gone where state = 2)
            where id = $1
          )
          select count(*)::int4 as count from gone`,
        filter === "due" ? [run, true, null, null, limit] : [run, false, filter.tag ?? null, filter.host ?? null, limit]
      ),
      (rows) => rows[0]?.count ?? 0
    )
})

export type FrontierStatements = ReturnType<typeof make>
