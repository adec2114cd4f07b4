/** What a real Postgres is told, so that nothing in it is of the real world: its time, its timeouts, the numbers of its processes. */

/** What is said by `set_config` here is read from the notices. */
export const shadows = `
  create schema sim;
  create unlogged sequence sim.clock minvalue 0;
  create function sim.now() returns timestamptz language sql stable as
    $$ select to_timestamp(current_setting('sim.began')::float8 / 1e6) $$;
  create function sim.clock_timestamp() returns timestamptz language sql volatile as
    $$ select to_timestamp(greatest(current_setting('sim.now')::float8, last_value) / 1e6) from sim.clock $$;
  create function sim.pg_postmaster_start_time() returns timestamptz language sql stable as
    $$ select timestamptz '2000-01-01' $$;
  create unlogged table sim.backends (pid int primary key, id int not null);
  create view sim.pg_locks as
    select locktype, database, relation, transactionid, classid, objid, objsubid, mode, granted,
      (select b.id from sim.backends b where b.pid = l.pid) as pid from pg_catalog.pg_locks l;
  create view sim.pg_stat_activity as
    select (select b.id from sim.backends b where b.pid = a.pid) as pid, datname, application_name, state, query,
      timestamptz '2000-01-01' as xact_start, timestamptz '2000-01-01' as query_start, timestamptz '2000-01-01' as state_change
    from pg_catalog.pg_stat_activity a;
  create function sim.pg_advisory_xact_lock(place bigint) returns void language plpgsql as $$ begin
    if current_setting('lock_timeout') = '0' then perform pg_catalog.pg_advisory_xact_lock(place);
    elsif not pg_catalog.pg_try_advisory_xact_lock(place) then raise lock_not_available using message = 'simulated';
    end if;
  end $$;
  create function sim.set_config(name text, value text, is_local bool) returns text language plpgsql as $$ begin
    if name not in ('idle_in_transaction_session_timeout', 'lock_timeout', 'statement_timeout') then
      return pg_catalog.set_config(name, value, is_local);
    end if;
    raise notice 'simulated % % %', name, value, is_local;
    return value;
  end $$;
`

/** Those that wait for a table at most so long; who calls them waits as long here. */
export const lockTimeouts = `
  alter function sluice.job_partitions() reset lock_timeout;
  alter function sluice.job_retire(integer) reset lock_timeout`
const ownLockTimeout = /\bsluice\.job_(partitions|retire)\(/
const ownLockMillis = 50

/** A notice tells when a statement waits for a lock, and that no deadlock is the reason. */
export const parameters = (database: string): Readonly<Record<string, string>> => ({
  user: "sluice",
  database,
  search_path: "sim, pg_catalog, public",
  client_min_messages: "log",
  log_lock_waits: "on",
  deadlock_timeout: "1",
  timezone: "UTC",
  "sim.began": "0",
  "sim.now": "0"
})

const timeouts: ReadonlySet<string> = new Set([
  "idle_in_transaction_session_timeout",
  "lock_timeout",
  "statement_timeout"
])

const millisOf = (value: string): number => {
  const [, number = "0", unit = "ms"] = /^(\d+)\s*(ms|s|min)?/.exec(value) ?? []
  return Number(number) * (unit === "s" ? 1000 : unit === "min" ? 60_000 : 1)
}

/** How long statements of this kind wait for a lock, whatever their session says. */
export const ownLockMillisOf = (text: string): number | undefined =>
  ownLockTimeout.test(text) ? ownLockMillis : undefined

/** The parameters that a session begins with: what is passed on to the server, and the timeouts that are kept here, in milliseconds. */
export const startupOf = (text: string) => {
  const given = text.split("\0")
  const pairs = given.flatMap((name, at) => at % 2 === 0 && name !== "" ? [[name, given[at + 1] ?? ""] as const] : [])
  const isOurs = (name: string): boolean => timeouts.has(name) || name === "database" || name === "user"
  return {
    passed: Object.fromEntries(pairs.filter(([name]) => !isOurs(name))),
    timeouts: new Map(pairs.filter(([name]) => timeouts.has(name)).map(([name, value]) => [name, millisOf(value)]))
  }
}

/** What `set_config` said of the timeouts of the transaction. */
export const localTimeouts = (said: ReadonlyArray<string>): ReadonlyArray<readonly [name: string, millis: number]> =>
  said.flatMap((each) => {
    const [name = "", value = "", isLocal] = each.split(" ")
    return isLocal === "t" ? [[name, millisOf(value)] as const] : []
  })
