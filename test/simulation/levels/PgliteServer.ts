/**
 * A Postgres of one real session (PGlite) that many simulated connections share: a transaction has it for itself, everybody else waits.
 * The SQL is real, the time is the simulation's: `now()` and its kin, and what a single session cannot have (session locks, timeouts of
 * other sessions), are shadowed by functions of the schema `sim`, which stands before `pg_catalog` in the search path.
 */
import { PGlite } from "@electric-sql/pglite"
import { Schema } from "effect"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Peer, Server, Wire } from "../kernel/Network.ts"
import type { SeededRandom } from "../kernel/Random.ts"
import type { Trouble } from "./Level.ts"
import { mentionStatement, Session } from "./PgSession.ts"
import { cellsOf, messagesOf, notification, query, statusOf } from "./PgWire.ts"
import { ServerFaults } from "./ServerFaults.ts"

const shadows = `
  create schema sim;
  create table sim.locks (class int, key int, session text);
  create function sim.now() returns timestamptz language sql stable as
    $$ select to_timestamp(current_setting('sim.began')::float8 / 1e6) $$;
  create function sim.clock_timestamp() returns timestamptz language sql stable as
    $$ select to_timestamp(current_setting('sim.now')::float8 / 1e6) $$;
  create function sim.pg_postmaster_start_time() returns timestamptz language sql stable as
    $$ select timestamptz '2000-01-01' $$;
  create function sim.pg_advisory_lock(c int, k int) returns void language sql as
    $$ insert into sim.locks values (c, k, current_setting('sim.session')) $$;
  create function sim.pg_try_advisory_xact_lock(c int, k int) returns bool language sql as
    $$ select not exists (
      select from sim.locks l where l.class = c and l.key = k and l.session <> current_setting('sim.session')) $$;
  create view sim.pg_locks as
    select 'advisory'::text as locktype, true as granted, class::oid as classid, key::oid as objid, session::int as pid,
      null::xid as transactionid, (select oid from pg_database where datname = current_database()) as database
    from sim.locks;
  create function sim.set_config(name text, value text, is_local bool) returns text language sql as
    $$ select case
      when name = 'idle_in_transaction_session_timeout' then pg_catalog.set_config('sim.idle', value, is_local)
      when name in ('lock_timeout', 'statement_timeout') then value
      else pg_catalog.set_config(name, value, is_local) end $$;
`

export class PgliteServer implements Server {
  faults: ServerFaults
  statements = 0
  kernel: Kernel
  random: SeededRandom
  /** What was seen to be wrong between two statements. */
  readonly wrong = new Set<string>()
  /** A prepared statement that names what is wrong now, a line each. */
  watch: ((lines: ReadonlyArray<string>) => ReadonlyArray<string>) | undefined
  private readonly pg: PGlite
  private readonly sessions = new Set<Session>()
  private readonly orphans: Array<number> = []
  private holder: Session | undefined
  private isReadOnly = false

  private constructor(pg: PGlite, kernel: Kernel) {
    this.pg = pg
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
  }

  /** A server with nothing in it. It takes a few seconds: use one for many seeds. */
  static async open(kernel: Kernel): Promise<PgliteServer> {
    const pg = await PGlite.create()
    await pg.exec(shadows)
    await pg.exec("set search_path = sim, pg_catalog, public; set sim.now = 0; set sim.began = 0; set sim.session = 0")
    return new PgliteServer(pg, kernel)
  }

  /** For a world of another seed; the tables are the caller's to empty. */
  attach(kernel: Kernel): void {
    this.holder = undefined
    this.sessions.clear()
    this.orphans.length = 0
    this.wrong.clear()
    this.watch = undefined
    this.raw(query("rollback"))
    this.raw(query("set default_transaction_read_only = off"))
    this.isReadOnly = false
    this.exec("truncate sim.locks")
    // A world of the same seed names its statements alike.
    this.exec("deallocate all")
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
  }

  accept(wire: Wire): Peer {
    const session = new Session(this, wire)
    this.sessions.add(session)
    return session
  }

  /**
   * A statement of the checker's own, outside of the simulation. Its columns are JSON's: what is larger than a double is asked for as
   * text.
   */
  rows<Row>(row: Schema.Codec<Row>, sql: string): ReadonlyArray<Row> {
    const [text] = cellsOf(this.raw(query(`select coalesce(json_agg(t), '[]')::text from (${sql}) t`)))
    return Schema.decodeUnknownSync(Schema.Array(row))(JSON.parse(text ?? "[]"))
  }

  exec(sql: string): void {
    cellsOf(this.raw(query(sql)))
  }

  async close(): Promise<void> {
    await this.pg.close()
  }

  isFreeFor(session: Session): boolean {
    return !this.faults.hangs && (this.holder === undefined || this.holder === session)
  }

  pumpAll(): void {
    for (const session of this.sessions) session.pump()
  }

  /** It goes away: nothing that was not committed is left. */
  restart(millis: number): void {
    this.faults.awayUntil = this.kernel.nowMillis + millis
    for (const session of this.sessions) {
      session.wire.endedByServer(new Error("the server closed the connection unexpectedly"))
    }
  }

  hang(millis: number): void {
    this.faults.hangsUntil = this.kernel.nowMillis + millis
    this.kernel.after(millis, undefined, () => this.pumpAll())
  }

  /** All is well again. */
  heal(): void {
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
    if (this.holder === undefined) this.between()
    this.pumpAll()
  }

  execute(session: Session, unit: Buffer, text: string): Buffer {
    this.statements++
    this.tellTime(session)
    mentionStatement(this.kernel, session, text)
    const channel = /\bLISTEN "?(\w+)"?/.exec(text)?.[1]
    if (channel !== undefined) session.channels.add(channel)
    const code = this.faults.injected(this.random)
    const isRefused = code !== undefined && text !== "" && !/\bROLLBACK\b/.test(text)
    if (isRefused) {
      this.kernel.tell(`${session.wire.process.name} is refused (${code}): ${text.slice(0, 100)}`)
    }
    const reply = isRefused ? this.refuse(code, text) : this.route(this.raw(unit))
    this.holder = statusOf(reply) === "I" ? undefined : session
    if (this.holder === undefined) this.between()
    return reply
  }

  idleTimeoutMillis(): number {
    const reply = this.raw(query("select coalesce(nullif(current_setting('sim.idle', true), ''), '0')")).toString(
      "latin1"
    )
    const text = /D[^]{10}(\d+)(ms|s)?/.exec(reply)
    return Number(text?.[1] ?? 0) * (text?.[2] === "s" ? 1000 : 1)
  }

  leave(session: Session): void {
    this.sessions.delete(session)
    this.orphans.push(session.wire.id)
    if (this.holder === session) {
      this.holder = undefined
      this.raw(query("rollback"))
    }
    if (this.holder === undefined) this.between()
    this.pumpAll()
  }

  /** Fails a statement without doing it; a commit that fails leaves nothing behind. */
  private refuse(code: Trouble, text: string): Buffer {
    if (/\bCOMMIT\b/.test(text)) this.raw(query("rollback"))
    return this.raw(query(`do $$ begin raise exception 'simulated' using errcode = '${code}'; end $$`))
  }

  /** Nobody is in a transaction. */
  private between(): void {
    for (const session of this.orphans.splice(0)) {
      this.raw(query(`begin read write; delete from sim.locks where session = '${session}'; commit`))
    }
    const isReadOnly = this.faults.has("25006")
    if (isReadOnly !== this.isReadOnly) {
      this.isReadOnly = isReadOnly
      this.exec(`set default_transaction_read_only = ${isReadOnly ? "on" : "off"}`)
    }
    if (this.watch === undefined) return
    for (const line of this.watch(cellsOf(this.raw(query("execute sim_watch"))))) {
      if (!this.wrong.has(line)) this.kernel.tell(`WRONG: ${line}`)
      this.wrong.add(line)
    }
  }

  private tellTime(session: Session): void {
    const micros = Math.floor(this.kernel.nowMillis * 1000)
    const began = session.status === "I" ? `, pg_catalog.set_config('sim.began', '${micros}', false)` : ""
    this.raw(query(
      `select pg_catalog.set_config('sim.now', '${micros}', false), pg_catalog.set_config('sim.session', '${session.wire.id}', false)${began}`
    ))
  }

  /** Takes the notifications out of a reply and sends each to who listens. */
  private route(reply: Buffer): Buffer {
    const messages = messagesOf(reply)
    for (const message of messages) {
      if (message[0] !== notification) continue
      const channel = message.subarray(9, message.indexOf(0, 9)).toString()
      for (const session of this.sessions) if (session.channels.has(channel)) session.wire.toClient(message)
    }
    return Buffer.concat(messages.filter((message) => message[0] !== notification))
  }

  private raw(message: Buffer): Buffer {
    return Buffer.from(this.pg.execProtocolRawSync(message))
  }
}
