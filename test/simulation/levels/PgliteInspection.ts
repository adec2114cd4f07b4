/** What checkers see of a Postgres: at the end, and after every single transaction. */
import { Schema } from "effect"
import { type BookAccount, type Inspection, stock } from "./Level.ts"

/** How a checker asks. */
export interface Checker {
  readonly rows: <Row>(row: Schema.Codec<Row>, sql: string) => ReadonlyArray<Row>
  readonly exec: (sql: string) => void
}

/** Lines of what is wrong between two transactions, and the fences of what runs. */
export const watchSql = `prepare sim_watch as
  select format('job %s runs for worker %s, which is not there', j.id, j.worker) from sluice.job j
    where j.state = 'running' and not exists (select from sluice.job_worker w where w.id = j.worker)
  union all
  select format('fence %s %s %s', j.id, j.worker, j.fence) from sluice.job j where j.state = 'running'
  union all
  select format('the counters of %s (ready %s, running %s, scheduled %s, blocked %s) are not its rows (%s, %s, %s, %s)',
      queue, c.ready, c.running, c.scheduled, c.blocked, r.ready, r.running, r.scheduled, r.blocked)
    from (
      select queue, sum(ready) as ready, sum(running) as running, sum(scheduled) as scheduled, sum(blocked) as blocked from (
        select queue, ready, running, scheduled, blocked from sluice.job_count
        union all select queue, ready, running, scheduled, blocked from sluice.job_delta
      ) both_of group by queue
    ) c full join (
      select queue, count(*) filter (where state = 'ready') as ready, count(*) filter (where state = 'running') as running,
        count(*) filter (where state = 'scheduled') as scheduled, count(*) filter (where state = 'blocked') as blocked
      from sluice.job group by queue
    ) r using (queue)
    where (coalesce(c.ready, 0), coalesce(c.running, 0), coalesce(c.scheduled, 0), coalesce(c.blocked, 0))
      <> (coalesce(r.ready, 0), coalesce(r.running, 0), coalesce(r.scheduled, 0), coalesce(r.blocked, 0))
  union all
  select format('%s jobs of %s run under key %s at once', count(*), kind, key) from sluice.job
    where state = 'running' and key is not null group by kind, key having count(*) > max(key_limit)
  union all
  select format('%s: the balances sum to %s', currency, sum(balance)) from sluice.accounts group by currency having sum(balance) <> 0
  union all
  select format('%s: %s units in all', sku, on_hand + reserved + sold) from sluice.products
    where on_hand + reserved + sold <> ${stock}`

/** Reads those lines: a fence that was taken twice is wrong as well. */
export const makeWatch = () => {
  const fences = new Map<string, number>()
  const taken = new Map<string, string>()
  return (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
    lines.flatMap((line) => {
      const [kind, job, worker, fence] = line.split(" ")
      if (kind !== "fence" || job === undefined) return [line]
      const claim = `${worker}:${fence}`
      if (taken.get(job) === claim) return []
      taken.set(job, claim)
      const place = `${job} of ${worker}`
      const last = fences.get(place) ?? 0
      fences.set(place, Number(fence))
      return Number(fence) > last ? [] : [`job ${job}: worker ${worker} claimed it under fence ${fence} after ${last}`]
    })
}

const { Boolean, Int, NullOr, String, Struct } = Schema

const AccountRow = Struct({ id: String, currency: String, balance: String, version: Int })
const EntryRow = Struct({ account: String, source: String, amount: String })
const JobRow = Struct({ id: String, kind: String, state: String, attempt: Int, worker: NullOr(Int) })
const DeadRow = Struct({ id: String, problem: String })
const CounterRow = Struct({ queue: String, running: Int, ready: Int })
const EffectRow = Struct({ n: Int, kind: String, key: NullOr(Int) })
const SumRow = Struct({ all: Int })
const ProductRow = Struct({ sku: String, units: Int, reserved: Int })
const OrderRow = Struct({ id: String, key: String, status: String, payment: String, total: String })
const TransferRow = Struct({ key: String, id: String })
const CountsRow = Struct({ pending: Int, leased: Int, deferred: Int })
const OutcomeRow = Struct({ url: String, ok: Boolean, tag: NullOr(String) })

const accountsOf = (
  server: Checker,
  entries: ReadonlyArray<typeof EntryRow.Type>
): ReadonlyArray<BookAccount> => {
  const byAccount = Map.groupBy(entries, ({ account }) => account)
  const rows = server.rows(AccountRow, "select id, currency, balance::text, version from sluice.accounts order by id")
  return rows.map(({ balance, currency, id, version }) => ({
    id,
    currency,
    version,
    balance: BigInt(balance),
    entries: (byAccount.get(id) ?? []).map(({ amount, source }) => ({ source, amount: BigInt(amount) }))
  }))
}

/** What is committed. */
export const inspectionOf = (server: Checker): Inspection => ({
  liveJobs: () =>
    server.rows(JobRow, "select id::text, kind, state::text, attempt, worker from sluice.job order by sluice.job.id"),
  deadJobs: () =>
    server.rows(
      DeadRow,
      "select id::text, failures[cardinality(failures)]::text as problem from sluice.job_dead order by job_dead.id"
    ),
  counters: () =>
    server.rows(
      CounterRow,
      `select queue, sum(running)::int as running, sum(ready)::int as ready from (
        select queue, running, ready from sluice.job_count union all select queue, running, ready from sluice.job_delta
      ) c group by queue order by queue`
    ),
  effects: () => server.rows(EffectRow, "select n, kind, key from effects order by id"),
  shelved: () => server.rows(SumRow, "select sum(v)::int as all from shelf")[0]?.all ?? 0,
  books: () => {
    const entries = server.rows(
      EntryRow,
      "select account, source::text, amount::text from sluice.ledger_entries order by account, id"
    )
    const accounts = accountsOf(server, entries)
    const known = new Set(accounts.map(({ id }) => id))
    return {
      accounts,
      strangers: [...new Set(entries.flatMap(({ account }) => known.has(account) ? [] : [account]))],
      products: server.rows(
        ProductRow,
        "select sku, on_hand + reserved + sold as units, reserved from sluice.products order by sku"
      ),
      orders: server.rows(
        OrderRow,
        "select id::text, key, status, payment, total::text from sluice.orders order by sluice.orders.id"
      ).map(({ id, key, payment, status, total }) => ({ id, key, payment, status, total: BigInt(total) })),
      transfers: server.rows(TransferRow, "select key, id::text from sluice.transfers order by key")
    }
  },
  run: (name) => {
    const [counts] = server.rows(
      CountsRow,
      `select (r.added + m.added - r.done - r.failed - m.taken + m.deferred)::int as pending,
        (m.taken - m.done - m.failed - m.deferred)::int as leased, (r.deferred + m.deferred)::int as deferred
      from sluice.fetch_run r cross join lateral (
        select coalesce(sum(added), 0) as added, coalesce(sum(done), 0) as done, coalesce(sum(failed), 0) as failed,
          coalesce(sum(deferred), 0) as deferred, coalesce(sum(taken), 0) as taken
        from sluice.fetch_member where run_id = r.id
      ) m where r.name = '${name}'`
    )
    return {
      pending: 0,
      leased: 0,
      deferred: 0,
      ...counts,
      outcomes: server.rows(
        OutcomeRow,
        `select url, state = 'done' as ok, tag from sluice.fetch_outcomes where run = '${name}'`
      )
    }
  }
})
