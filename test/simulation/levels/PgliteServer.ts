/**
 * A Postgres of one real session (PGlite) that many simulated connections share: a transaction has it for itself, everybody else waits. The SQL is
 * real, the time is the simulation's: `now()` and its kin, and what a single session cannot have (session locks, timeouts of other sessions), are
 * shadowed by functions of the schema `sim`, which stands before `pg_catalog` in the search path.
 */
import { PGlite } from "@electric-sql/pglite"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Peer, Server, Wire } from "../kernel/Network.ts"
import type { SeededRandom } from "../kernel/Random.ts"

const shadows = `
  create schema sim;
  create sequence sim.clock minvalue 0;
  create table sim.locks (class int, key int, session text);
  create function sim.now() returns timestamptz language sql stable as
    $$ select to_timestamp(last_value::float8 / 1e6) from sim.clock $$;
  create function sim.clock_timestamp() returns timestamptz language sql stable as
    $$ select to_timestamp(last_value::float8 / 1e6) from sim.clock $$;
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

const query = (sql: string): Buffer => {
  const body = Buffer.from(`${sql}\0`)
  const message = Buffer.alloc(5)
  message[0] = 0x51
  message.writeInt32BE(4 + body.length, 1)
  return Buffer.concat([message, body])
}

const authenticationOk = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0])
const backendKey = Buffer.from([0x4b, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1])
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
const welcome = Buffer.concat([authenticationOk, backendKey, readyForQuery])

const sslRequest = 80_877_103

/** Message types that are answered as a whole: Sync, Query, Terminate. */
const closers: ReadonlySet<number> = new Set([0x53, 0x51, 0x58])
const terminate = 0x58
const notification = 0x41
const rowDescription = 0x54

/** The messages of a reply. */
const messagesOf = (bytes: Buffer): ReadonlyArray<Buffer> => {
  const messages: Array<Buffer> = []
  for (let at = 0; at + 5 <= bytes.length;) {
    const end = at + 1 + bytes.readInt32BE(at + 1)
    messages.push(bytes.subarray(at, end))
    at = end
  }
  return messages
}

/** `I` idle, `T` in a transaction, `E` in a failed one: the last byte of ReadyForQuery. */
const statusOf = (bytes: Buffer): string =>
  bytes[bytes.length - 6] === 0x5a ? String.fromCharCode(bytes.at(-1) ?? 0) : "I"

/** How often connections break around a statement; its effect is then there or not, and the caller does not know. */
export interface Breakage {
  readonly before: number
  readonly after: number
}

class Session implements Peer {
  readonly wire: Wire
  readonly channels = new Set<string>()
  status = "I"
  private readonly server: PgliteServer
  private unread: Buffer = Buffer.alloc(0)
  private readonly units: Array<Buffer> = []
  private hasBegun = false
  private hasEnded = false
  private turns = 0

  constructor(server: PgliteServer, wire: Wire) {
    this.server = server
    this.wire = wire
  }

  receive(bytes: Buffer): void {
    this.unread = Buffer.concat([this.unread, bytes])
    for (let unit = this.cut(); unit !== undefined; unit = this.cut()) this.units.push(unit)
    this.pump()
  }

  closed(): void {
    this.hasEnded = true
    this.units.length = 0
    this.server.leave(this)
  }

  /** Answers what can be answered now. */
  pump(): void {
    while (!this.hasEnded && this.server.isFreeFor(this)) {
      const unit = this.units.shift()
      if (unit === undefined) return
      if (!this.hasBegun) {
        this.hasBegun = true
        this.wire.toClient(welcome)
      } else if (unit[0] === terminate) this.wire.endedByServer(undefined)
      else this.answer(unit)
    }
  }

  private answer(unit: Buffer): void {
    const { breakage, random } = this.server
    if (random.chance(breakage.before)) {
      return this.wire.endedByServer(new Error("the connection broke before the statement"))
    }
    const reply = this.server.execute(this, unit)
    this.status = statusOf(reply)
    this.server.kernel.trace(`${this.wire.process.name} ${this.status} ${digest(reply)}`)
    this.watchIdle()
    if (random.chance(breakage.after)) {
      return this.wire.endedByServer(new Error("the connection broke after the statement"))
    }
    this.wire.toClient(reply)
    if (this.status === "I") this.server.pumpAll()
  }

  /** `idle_in_transaction_session_timeout`, as the session has it. */
  private watchIdle(): void {
    const turn = ++this.turns
    if (this.status === "I") return
    const millis = this.server.idleTimeoutMillis()
    if (millis <= 0) return
    this.server.kernel.after(millis, undefined, () => {
      if (this.turns === turn && !this.hasEnded && this.units.length === 0) {
        this.wire.endedByServer(new Error("terminating connection due to idle-in-transaction timeout"))
      }
    })
  }

  /** The next messages that are answered together. */
  private cut(): Buffer | undefined {
    const bytes = this.unread
    let at = 0
    while (true) {
      const isStartup = !this.hasBegun && this.units.length === 0
      const lengthAt = isStartup ? at : at + 1
      if (bytes.length < lengthAt + 4) return undefined
      const end = lengthAt + bytes.readInt32BE(lengthAt)
      if (bytes.length < end) return undefined
      const isWhole = isStartup ? bytes.readInt32BE(lengthAt + 4) !== sslRequest : closers.has(bytes[at] ?? 0)
      at = end
      if (isWhole) {
        this.unread = bytes.subarray(at)
        return bytes.subarray(0, at)
      }
    }
  }
}

/** Without row descriptions: the numbers of tables differ between databases. */
const digest = (reply: Buffer): string => {
  let hash = 0x811c9dc5
  for (const message of messagesOf(reply)) {
    if (message[0] !== rowDescription) { for (const byte of message) hash = Math.imul(hash ^ byte, 0x01000193) }
  }
  return (hash >>> 0).toString(16)
}

export class PgliteServer implements Server {
  breakage: Breakage = { before: 0, after: 0 }
  statements = 0
  kernel: Kernel
  random: SeededRandom
  private readonly pg: PGlite
  private readonly sessions = new Set<Session>()
  private holder: Session | undefined
  private told = { micros: 0, session: 0 }

  private constructor(pg: PGlite, kernel: Kernel) {
    this.pg = pg
    this.kernel = kernel
    this.random = kernel.random.fork()
  }

  /** A server with nothing in it. It takes a few seconds: use one for many seeds. */
  static async open(kernel: Kernel): Promise<PgliteServer> {
    const pg = await PGlite.create()
    await pg.exec(shadows)
    await pg.exec("set search_path = sim, pg_catalog, public")
    return new PgliteServer(pg, kernel)
  }

  /** For a world of another seed; the tables are the caller's to empty. */
  attach(kernel: Kernel): void {
    this.holder = undefined
    this.sessions.clear()
    this.raw(query("rollback"))
    this.raw(query("truncate sim.locks"))
    // A world of the same seed names its statements alike.
    this.raw(query("deallocate all"))
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.told = { micros: 0, session: 0 }
    this.breakage = { before: 0, after: 0 }
  }

  accept(wire: Wire): Peer {
    const session = new Session(this, wire)
    this.sessions.add(session)
    return session
  }

  /** A statement of the checker's own, outside of the simulation. */
  async rows<Row>(sql: string): Promise<ReadonlyArray<Row>> {
    const { rows } = await this.pg.query<Row>(sql)
    return rows
  }

  async exec(sql: string): Promise<void> {
    await this.pg.exec(sql)
  }

  async close(): Promise<void> {
    await this.pg.close()
  }

  isFreeFor(session: Session): boolean {
    return this.holder === undefined || this.holder === session
  }

  pumpAll(): void {
    for (const session of this.sessions) session.pump()
  }

  execute(session: Session, unit: Buffer): Buffer {
    this.statements++
    this.tellTime(session)
    const channel = /\bLISTEN "?(\w+)"?/.exec(unit.toString("latin1"))?.[1]
    if (channel !== undefined) session.channels.add(channel)
    const reply = this.route(this.raw(unit))
    this.holder = statusOf(reply) === "I" ? undefined : session
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
    if (this.holder === session) {
      this.holder = undefined
      this.raw(query("rollback"))
    }
    this.raw(query(`delete from sim.locks where session = '${session.wire.id}'`))
    this.pumpAll()
  }

  private tellTime(session: Session): void {
    const micros = Math.floor(this.kernel.nowMillis * 1000)
    if (micros === this.told.micros && session.wire.id === this.told.session) return
    this.told = { micros, session: session.wire.id }
    this.raw(query(
      `select pg_catalog.setval('sim.clock', ${micros}), pg_catalog.set_config('sim.session', '${session.wire.id}', false)`
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
