/**
 * A real Postgres that simulated connections share, each with a backend of its own: transactions run beside each other, lock each other out, and deadlock.
 * One statement is carried out at a time. One that waits for a lock is set aside, its backend stopped (SIGSTOP), until whoever holds the lock is through;
 * of several that could go on, the one that has waited longest does. So nothing depends on how fast a machine is.
 *
 * Each world has a fresh copy of one database. Its time is the simulation's, by functions of the schema `sim` that stand before `pg_catalog` in the search
 * path. Timeouts are kept here, and not told to the server: they are of virtual time.
 */
import { Schema } from "effect"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Peer, Server, Wire } from "../kernel/Network.ts"
import type { SeededRandom } from "../kernel/Random.ts"
import { Backends, type Done, type Step } from "./Backends.ts"
import type { Trouble } from "./Level.ts"
import type { Checker } from "./PgliteInspection.ts"
import { inLine, mentionStatement, Session, type SessionServer } from "./PgSession.ts"
import * as PgWire from "./PgWire.ts"
import { ServerFaults } from "./ServerFaults.ts"

/** What is said by `set_config` here is read from the notices. */
const shadows = `
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
    select (select b.id from sim.backends b where b.pid = a.pid) as pid, datname, application_name, state, query, timestamptz '2000-01-01' as xact_start,
      timestamptz '2000-01-01' as query_start, timestamptz '2000-01-01' as state_change
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
const lockTimeouts = `
  alter function sluice.job_partitions() reset lock_timeout;
  alter function sluice.job_retire(integer) reset lock_timeout`
const ownLockTimeout = /\bsluice\.job_(partitions|retire)\(/
const ownLockMillis = 50

const templateName = "sim_template"
const worldName = "sim_world"

/** A notice tells when a statement waits for a lock, and that no deadlock is the reason. */
const parameters = (database: string): Readonly<Record<string, string>> => ({
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

/** What a session has on the server. */
interface Place {
  readonly session: Session
  readonly backend: number
  readonly pid: number
  isReadOnly: boolean
  /** In milliseconds, from how it began. */
  readonly defaults: ReadonlyMap<string, number>
  /** In milliseconds, until the transaction ends. */
  readonly locals: Map<string, number>
}

/** A statement that waits for a lock. */
interface Waiting {
  place: Place
  /** What to say when it waited too long. */
  expired: readonly [code: string, text: string] | undefined
  /** Nobody wants its answer any more. */
  isOrphan: boolean
}

/** What lets go of locks inside of a transaction. */
const releases = /ROLLBACK TO|pg_advisory_unlock/i

const jsonOf = (sql: string): string => `select coalesce(json_agg(t), '[]')::text from (${sql}) t`

const rowsOf = <Row>(row: Schema.Codec<Row>, [text]: ReadonlyArray<string>): ReadonlyArray<Row> =>
  Schema.decodeUnknownSync(Schema.Array(row))(JSON.parse(text ?? "[]"))

const millisOf = (value: string): number => {
  const [, number = "0", unit = "ms"] = /^(\d+)\s*(ms|s|min)?/.exec(value) ?? []
  return Number(number) * (unit === "s" ? 1000 : unit === "min" ? 60_000 : 1)
}

export class PostgresServer implements Server, SessionServer {
  faults: ServerFaults
  statements = 0
  lockWaits = 0
  deadlocks = 0
  kernel: Kernel
  random: SeededRandom
  readonly wrong = new Set<string>()
  /** A prepared statement that names what is wrong now, a line each. */
  watch: ((lines: ReadonlyArray<string>) => ReadonlyArray<string>) | undefined
  private readonly backends: Backends
  private readonly sessions = new Set<Session>()
  private readonly places = new Map<Session, Place>()
  /** Who has waited longest comes first. */
  private readonly waiting: Array<Waiting> = []
  private readonly root: number
  /** A session of the checker's own in the world's database: it also hears what is notified. */
  private eye: number
  private isRestarting = false
  private readonly channels = new Set<string>()

  private constructor(backends: Backends, root: number, kernel: Kernel) {
    this.backends = backends
    this.root = root
    this.eye = root
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
  }

  /** A server with nothing in it, behind the socket of one that runs. `prepare` fills it. */
  static open(socketPath: string, kernel: Kernel): PostgresServer {
    const backends = new Backends(socketPath)
    const root = backends.open(PgWire.startup({ ...parameters("postgres"), search_path: "pg_catalog" })).id
    const server = new PostgresServer(backends, root, kernel)
    server.askRoot(`drop database if exists ${worldName} with (force)`)
    server.askRoot(`drop database if exists ${templateName} with (force)`)
    server.askRoot(`create database ${templateName}`)
    server.template.exec(shadows)
    return server
  }

  /** What every world begins with, made by whoever connects. */
  prepare(fill: () => void): void {
    this.enterDatabase()
    fill()
    this.exec(lockTimeouts)
    this.leaveDatabase()
    this.askRoot(`drop database ${templateName}`)
    this.askRoot(`alter database ${worldName} rename to ${templateName}`)
  }

  /** What the next worlds begin with. */
  get template(): Checker {
    const ask = (sql: string): ReadonlyArray<string> => {
      const { id } = this.backends.open(PgWire.startup(parameters(templateName)))
      try {
        return this.cells(id, sql)
      } finally {
        this.backends.end(id)
      }
    }
    return { rows: (row, sql) => rowsOf(row, ask(jsonOf(sql))), exec: (sql) => void ask(sql) }
  }

  /** For a world of another seed. */
  attach(kernel: Kernel): void {
    if (this.eye !== this.root) {
      this.leaveDatabase()
      this.askRoot(`drop database ${worldName} with (force)`)
    }
    this.wrong.clear()
    this.watch = undefined
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
    this.enterDatabase()
  }

  accept(wire: Wire): Peer {
    const session = new Session(this, wire)
    this.sessions.add(session)
    return session
  }

  /** A statement of the checker's own, outside of the simulation. Its columns are JSON's: what is larger than a double is asked for as text. */
  rows<Row>(row: Schema.Codec<Row>, sql: string): ReadonlyArray<Row> {
    return rowsOf(row, this.cells(this.eye, jsonOf(sql)))
  }

  exec(sql: string): void {
    this.cells(this.eye, sql)
  }

  async close(): Promise<void> {
    await this.backends.close()
  }

  isFreeFor(): boolean {
    return !this.faults.hangs
  }

  pumpAll(): void {
    for (const session of this.sessions) session.pump()
  }

  /** It goes away: nothing that was not committed is left. */
  restart(millis: number): void {
    this.faults.awayUntil = this.kernel.nowMillis + millis
    this.isRestarting = true
    for (const session of this.sessions) {
      session.wire.endedByServer(new Error("the server closed the connection unexpectedly"))
    }
    for (const orphan of this.waiting.splice(0)) this.terminate(orphan.place)
    this.isRestarting = false
  }

  hang(millis: number): void {
    this.faults.hangsUntil = this.kernel.nowMillis + millis
    this.kernel.after(millis, undefined, () => this.pumpAll())
  }

  /** All is well again. */
  heal(): void {
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
    this.pumpAll()
  }

  idleTimeoutMillis(session: Session): number {
    return this.places.get(session)?.locals.get("idle_in_transaction_session_timeout") ?? 0
  }

  execute(session: Session, unit: Buffer, text: string): Buffer | undefined {
    this.statements++
    mentionStatement(this.kernel, session, text)
    const place = this.placeOf(session)
    this.hearChannel(session, text)
    const code = this.faults.injected(this.random)
    const isRefused = code !== undefined && text !== "" && !/\bROLLBACK\b/.test(text)
    if (isRefused) {
      this.kernel.tell(`${session.wire.process.name} is refused (${code}): ${inLine(text)}`)
    }
    const [done, seen] = this.carryOut(place, isRefused ? this.refusal(code, text) : [unit])
    if (done === undefined || done.state === "waits") {
      this.setAside(place, text)
      return undefined
    }
    const reply = this.replyOf(place, done, undefined)
    if (seen !== undefined) this.afterwards(seen)
    else if (releases.test(text)) this.afterwards()
    return reply
  }

  leave(session: Session): void {
    this.sessions.delete(session)
    const place = this.places.get(session)
    if (place === undefined) return
    this.places.delete(session)
    const waits = this.waiting.find((each) => each.place === place)
    if (waits !== undefined) {
      // Postgres does not notice: it goes on waiting, and then does what it was asked.
      waits.isOrphan = true
      return
    }
    this.backends.end(place.backend)
    if (!this.isRestarting) this.afterwards()
  }

  /** Fails a statement without doing it; a commit that fails leaves nothing behind. */
  private refusal(code: Trouble, text: string): ReadonlyArray<Buffer> {
    const fail = PgWire.query(`do $$ begin raise exception 'simulated' using errcode = '${code}'; end $$`)
    return /\bCOMMIT\b/.test(text) ? [PgWire.query("rollback"), fail] : [fail]
  }

  /** What the session has on the server; it is made when the first statement comes. */
  private placeOf(session: Session): Place {
    const known = this.places.get(session)
    if (known !== undefined) return known
    const given = session.startup.split("\0")
    const pairs = given.flatMap((name, at) => at % 2 === 0 && name !== "" ? [[name, given[at + 1] ?? ""] as const] : [])
    const kept = pairs.filter(([name]) => !timeouts.has(name) && name !== "database" && name !== "user")
    const { id, pid } = this.backends.open(
      PgWire.startup({ ...Object.fromEntries(kept), ...parameters(worldName) })
    )
    // Numbers of processes differ between runs: who asks is told the connection's.
    this.exec(
      `insert into sim.backends values (${pid}, ${session.wire.id}) on conflict (pid) do update set id = excluded.id`
    )
    const place: Place = {
      session,
      backend: id,
      pid,
      isReadOnly: false,
      defaults: new Map(pairs.filter(([name]) => timeouts.has(name)).map(([name, value]) => [name, millisOf(value)])),
      locals: new Map()
    }
    this.places.set(session, place)
    return place
  }

  /** Who listens is told by the eye: only what it hears has an order. */
  private hearChannel(session: Session, text: string): void {
    const channel = /\bLISTEN "?(\w+)"?/.exec(text)?.[1]
    if (channel === undefined) return
    session.channels.add(channel)
    if (this.channels.has(channel)) return
    this.channels.add(channel)
    this.exec(`listen "${channel}"`)
  }

  /** Does what was asked, and looks around when that has ended a transaction. Nobody else's backend does anything meanwhile: those that wait are stopped. */
  private carryOut(place: Place, units: ReadonlyArray<Buffer>): ReadonlyArray<Done> {
    const settings = this.settingsOf(place)
    return this.backends.walk([
      {
        backend: place.backend,
        ask: Buffer.concat([...settings, ...units]),
        replies: settings.length + units.length,
        skip: settings.length + units.length - 1
      },
      { ...this.look, isForIdle: true }
    ])
  }

  /** The time, as the next statement has it, and what else a transaction begins with. */
  private settingsOf(place: Place): ReadonlyArray<Buffer> {
    const { status } = place.session
    if (status === "E") return []
    const now = Math.floor(this.kernel.nowMillis * 1000)
    const set = (name: string, value: string) => `pg_catalog.set_config('${name}', '${value}', false)`
    if (status === "T") return [PgWire.query(`select ${set("sim.now", `${now}`)}`)]
    const isReadOnly = this.faults.has("25006")
    const changed = isReadOnly === place.isReadOnly
      ? ""
      : `, ${set("default_transaction_read_only", isReadOnly ? "on" : "off")}`
    place.isReadOnly = isReadOnly
    return [PgWire.query(`select ${set("sim.now", `${now}`)}, ${set("sim.began", `${now}`)}${changed}`)]
  }

  private setAside(place: Place, text: string): void {
    this.lockWaits++
    const waits: Waiting = { place, expired: undefined, isOrphan: false }
    this.kernel.tell(`${place.session.wire.process.name} waits for a lock: ${inLine(text)}`)
    this.waiting.push(waits)
    process.kill(place.pid, "SIGSTOP")
    const expire = (name: string, millis: number, code: string, why: string): void => {
      if (millis <= 0) return
      this.kernel.after(millis, undefined, () => {
        if (!this.waiting.includes(waits) || waits.expired !== undefined) return
        waits.expired = [code, why]
        this.kernel.tell(`${place.session.wire.process.name} has waited long enough (${name})`)
        process.kill(place.pid, "SIGINT")
        this.resume(waits)
        this.afterwards()
      })
    }
    const timeout = (name: string): number => place.locals.get(name) ?? place.defaults.get(name) ?? 0
    const lockMillis = ownLockTimeout.test(text) ? ownLockMillis : timeout("lock_timeout")
    expire("lock_timeout", lockMillis, "55P03", "canceling statement due to lock timeout")
    expire("statement_timeout", timeout("statement_timeout"), "57014", "canceling statement due to statement timeout")
  }

  /** Lets one that waited go on, to its answer or to the next lock. */
  private resume(waits: Waiting): void {
    const { place } = waits
    // What it was told of the time was true when it began.
    this.exec(`select pg_catalog.setval('sim.clock', ${Math.floor(this.kernel.nowMillis * 1000)})`)
    process.kill(place.pid, "SIGCONT")
    const [done] = this.backends.walk([{ backend: place.backend, replies: 1 }])
    if (done === undefined || done.state === "waits") {
      process.kill(place.pid, "SIGSTOP")
      return
    }
    this.waiting.splice(this.waiting.indexOf(waits), 1)
    if (waits.isOrphan) return this.backends.end(place.backend)
    const { session } = place
    session.answered(this.replyOf(place, done, waits.expired))
    this.kernel.after(0, undefined, () => session.pump())
  }

  private terminate({ backend, pid }: Place): void {
    process.kill(pid, "SIGTERM")
    process.kill(pid, "SIGCONT")
    this.backends.end(backend)
  }

  /** A statement is through: what was said is told, what is wrong is noted, and who waited for its locks goes on. */
  private afterwards(seen?: Done): void {
    for (let first = seen;; first = undefined) {
      const lines = first === undefined ? this.heard(this.backends.walk([this.look])[0]) : this.heard(first)
      const blocked = new Set(lines.flatMap((line) => line.startsWith("waits ") ? [Number(line.slice(6))] : []))
      for (const line of this.watch?.(lines.filter((each) => !each.startsWith("waits "))) ?? []) {
        if (!this.wrong.has(line)) this.kernel.tell(`WRONG: ${line}`)
        this.wrong.add(line)
      }
      const next = this.waiting.find(({ place: { pid } }) => !blocked.has(pid))
      if (next === undefined) return
      this.resume(next)
    }
  }

  private replyOf(place: Place, done: Done, expired: readonly [string, string] | undefined): Buffer {
    for (const each of done.said) {
      const [name = "", value = "", isLocal] = each.split(" ")
      if (isLocal === "t") place.locals.set(name, millisOf(value))
    }
    const messages = PgWire.messagesOf(Buffer.from(done.reply)).map((message) =>
      PgWire.settled(message, (code, text) => {
        if (text === "deadlock detected") {
          this.deadlocks++
          this.kernel.tell(`${place.session.wire.process.name} is in a deadlock`)
        }
        return code === "57014" ? expired : undefined
      })
    )
    const reply = Buffer.concat(messages)
    if (PgWire.statusOf(reply) === "I") place.locals.clear()
    return reply
  }

  private notify(note: Uint8Array): void {
    const message = Buffer.from(note)
    // The number of the backend that notified differs between runs.
    message.writeInt32BE(1, 5)
    const channel = message.subarray(9, message.indexOf(0, 9)).toString()
    for (const session of this.sessions) if (session.channels.has(channel)) session.wire.toClient(message)
  }

  /** Asks what is wrong, and who waits for a lock. */
  private get look(): Step {
    const waiting = this.waiting.length === 0
      ? ""
      : "; select 'waits ' || pid from pg_catalog.pg_locks where not granted"
    return {
      backend: this.eye,
      ask: PgWire.query(`${this.watch === undefined ? "select ''" : "execute sim_watch"}${waiting}`),
      replies: 1
    }
  }

  private cells(backend: number, sql: string): ReadonlyArray<string> {
    return this.heard(this.backends.walk([{ backend, ask: PgWire.query(sql), replies: 1 }])[0])
  }

  /** What the checker's own session was told. */
  private heard(done: Done | undefined): ReadonlyArray<string> {
    if (done === undefined || done.state !== "done") throw new Error("the checker's own statement waits")
    for (const note of done.notes) this.notify(note)
    return PgWire.cellsOf(Buffer.from(done.reply))
  }

  private askRoot(sql: string): void {
    this.cells(this.root, sql)
  }

  private enterDatabase(): void {
    this.askRoot(`create database ${worldName} template ${templateName}`)
    this.eye = this.backends.open(PgWire.startup(parameters(worldName))).id
  }

  private leaveDatabase(): void {
    for (const { place } of this.waiting.splice(0)) this.terminate(place)
    for (const { backend } of this.places.values()) this.backends.end(backend)
    this.places.clear()
    this.sessions.clear()
    this.channels.clear()
    this.backends.end(this.eye)
    this.eye = this.root
  }
}
