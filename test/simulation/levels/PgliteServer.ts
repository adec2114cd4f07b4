/**
 * A Postgres of one real session (PGlite) that many simulated connections share: a transaction has it for itself, everybody else waits. The SQL is
 * real, the time is the simulation's: `now()` and its kin, and what a single session cannot have (session locks, timeouts of other sessions), are
 * shadowed by functions of the schema `sim`, which stands before `pg_catalog` in the search path.
 */
import { PGlite } from "@electric-sql/pglite"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Peer, Server, Wire } from "../kernel/Network.ts"
import type { SeededRandom } from "../kernel/Random.ts"
import type { Trouble } from "./Level.ts"

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
const dataRow = 0x44
const simpleQuery = 0x51
const parse = 0x50
const bind = 0x42
const errorResponse = 0x45

/** FATAL, before the session has begun. */
const fatal = (code: string, text: string): Buffer => {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${text}\0\0`)
  const head = Buffer.alloc(5)
  head[0] = errorResponse
  head.writeInt32BE(4 + fields.length, 1)
  return Buffer.concat([head, fields])
}

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

/** The first column of every row, as text; an error is thrown. */
const cellsOf = (reply: Buffer): ReadonlyArray<string> =>
  messagesOf(reply).flatMap((message) => {
    if (message[0] === errorResponse) {
      throw new Error(`the checker's own statement failed: ${message.toString("latin1")}`)
    }
    return message[0] === dataRow ? [message.subarray(11, 11 + message.readInt32BE(7)).toString()] : []
  })

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
  /** The SQL of prepared statements, by name. */
  private readonly prepared = new Map<string, string>()
  /** What the session asked for when it began; zero for no limit. */
  private idleMillis = 0

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
        this.idleMillis = Number(/idle_in_transaction_session_timeout\0(\d+)/.exec(unit.toString("latin1"))?.[1] ?? 0)
        this.greet()
      } else if (unit[0] === terminate) this.wire.endedByServer(undefined)
      else this.answer(unit)
    }
  }

  private greet(): void {
    const { faults } = this.server
    if (faults.isAway) {
      return this.wire.endedByServer(Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }))
    }
    const isFull = faults.has("53300")
    this.wire.toClient(isFull ? fatal("53300", "sorry, too many clients already") : welcome)
    if (isFull) this.wire.endedByServer(undefined)
  }

  private answer(unit: Buffer): void {
    const { faults: { breakage }, random } = this.server
    const text = this.textOf(unit)
    // Around a commit it hurts most.
    const weight = text === "COMMIT" ? 10 : 1
    if (random.chance(weight * breakage.before)) {
      return this.wire.endedByServer(new Error("the connection broke before the statement"))
    }
    const reply = this.server.execute(this, unit, text)
    this.status = statusOf(reply)
    this.server.kernel.trace(`${this.wire.process.name} ${this.status} ${digest(reply)}`)
    this.watchIdle()
    if (random.chance(weight * breakage.after)) {
      return this.wire.endedByServer(new Error("the connection broke after the statement"))
    }
    this.wire.toClient(reply)
    if (this.status === "I") this.server.pumpAll()
  }

  /** The SQL of a unit, also when it was prepared earlier. */
  private textOf(unit: Buffer): string {
    const strings = (message: Buffer) => message.subarray(5).toString("latin1").split("\0", 2)
    return messagesOf(unit).flatMap((message) => {
      const [first = "", second = ""] = strings(message)
      if (message[0] === parse) this.prepared.set(first, second)
      if (message[0] === bind) return [this.prepared.get(second) ?? ""]
      return message[0] === simpleQuery ? [first] : []
    }).join("; ")
  }

  /** `idle_in_transaction_session_timeout`, as the session has it. */
  private watchIdle(): void {
    const turn = ++this.turns
    if (this.status === "I") return
    const millis = this.server.idleTimeoutMillis() || this.idleMillis
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

/** What is wrong with the server now. */
class ServerFaults {
  breakage: Breakage = { before: 0, after: 0 }
  awayUntil = 0
  hangsUntil = 0
  private readonly troubles = new Map<Trouble, number>()
  private readonly nowMillis: () => number

  constructor(nowMillis: () => number) {
    this.nowMillis = nowMillis
  }

  get isAway(): boolean {
    return this.nowMillis() < this.awayUntil
  }

  get hangs(): boolean {
    return this.nowMillis() < this.hangsUntil
  }

  begin(trouble: Trouble, millis: number): void {
    this.troubles.set(trouble, this.nowMillis() + millis)
  }

  has(trouble: Trouble): boolean {
    return this.nowMillis() < (this.troubles.get(trouble) ?? 0)
  }

  /** The code that a statement fails with instead of being done. */
  injected(random: SeededRandom): Trouble | undefined {
    return injectable.find((trouble) => this.has(trouble) && random.chance(0.2))
  }
}

/** Told apart from a server that only reads: that one says it by itself. */
const injectable: ReadonlyArray<Trouble> = ["53100", "40001", "40P01"]

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

  /** A statement of the checker's own, outside of the simulation. Its columns are JSON's: what is larger than a double is asked for as text. */
  rows<Row>(sql: string): ReadonlyArray<Row> {
    const [text] = cellsOf(this.raw(query(`select coalesce(json_agg(t), '[]')::text from (${sql}) t`)))
    return JSON.parse(text ?? "[]")
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
    for (const line of this.watch(cellsOf(this.raw(query("execute sim_watch"))))) this.wrong.add(line)
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
