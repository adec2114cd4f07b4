/**
 * A real Postgres that simulated connections share, each with a backend of its own: transactions run beside each other,
 * lock each other out, and deadlock. One statement is carried out at a time. One that waits for a lock is set aside,
 * its backend stopped (SIGSTOP), until whoever holds the lock is through; of several that could go on, the one that has
 * waited longest does. So nothing depends on how fast a machine is.
 *
 * Each world has a fresh copy of one database. Its time is the simulation's, by functions of the schema `sim` that
 * stand before `pg_catalog` in the search path. Timeouts are kept here, and not told to the server: they are of virtual
 * time.
 */
import type { Schema } from "effect"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Peer, Server, Wire } from "../kernel/Network.ts"
import type { SeededRandom } from "../kernel/Random.ts"
import type { Backends, Done, Step } from "./Backends.ts"
import type { Trouble } from "./Level.ts"
import { LockWaits, type Place, type Waiting } from "./LockWaits.ts"
import type { Checker } from "./PgliteInspection.ts"
import { inLine, mentionStatement, Session, type SessionServer } from "./PgSession.ts"
import * as PgWire from "./PgWire.ts"
import * as Shadows from "./PostgresShadows.ts"
import { ServerFaults } from "./ServerFaults.ts"
import { WorldDatabase } from "./WorldDatabase.ts"

/** What lets go of locks inside of a transaction. */
const releases = /ROLLBACK TO|pg_advisory_unlock/i

export class PostgresServer implements Server, SessionServer {
  faults: ServerFaults
  statements = 0
  deadlocks = 0
  kernel: Kernel
  random: SeededRandom
  readonly wrong = new Set<string>()
  /** A prepared statement that names what is wrong now, a line each. */
  watch: ((lines: ReadonlyArray<string>) => ReadonlyArray<string>) | undefined
  private readonly database: WorldDatabase
  private readonly backends: Backends
  private readonly sessions = new Set<Session>()
  private readonly places = new Map<Session, Place>()
  private readonly waits: LockWaits
  private isRestarting = false

  /** A server with nothing in it, behind the socket of one that runs. `prepare` fills it. */
  constructor(socketPath: string, kernel: Kernel) {
    this.database = new WorldDatabase(socketPath)
    this.database.onNote = (note) => this.notify(note)
    this.backends = this.database.backends
    this.waits = new LockWaits(this.backends)
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
  }

  /** What every world begins with, made by whoever connects. */
  prepare(fill: () => void): void {
    this.database.prepare(fill, () => this.dismiss())
  }

  /** What the next worlds begin with. */
  get template(): Checker {
    return this.database.template
  }

  /** For a world of another seed. */
  attach(kernel: Kernel): void {
    this.dismiss()
    this.database.leave()
    this.wrong.clear()
    this.watch = undefined
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.faults = new ServerFaults(() => this.kernel.nowMillis)
    this.database.enter()
  }

  accept(wire: Wire): Peer {
    const session = new Session(this, wire)
    this.sessions.add(session)
    return session
  }

  /**
   * A statement of the checker's own, outside of the simulation. Its columns are JSON's: what is larger than a double
   * is asked for as text.
   */
  rows<Row>(row: Schema.Codec<Row>, sql: string): ReadonlyArray<Row> {
    return this.database.rows(row, sql)
  }

  exec(sql: string): void {
    this.database.exec(sql)
  }

  async close(): Promise<void> {
    await this.backends.close()
  }

  get lockWaits(): number {
    return this.waits.count
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
    this.waits.terminate()
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
    const channel = /\bLISTEN "?(\w+)"?/.exec(text)?.[1]
    if (channel !== undefined) {
      session.channels.add(channel)
      this.database.listen(channel)
    }
    const code = this.faults.injected(this.random)
    const isRefused = code !== undefined && text !== "" && !/\bROLLBACK\b/.test(text)
    if (isRefused) {
      this.kernel.tell(`${session.wire.process.name} is refused (${code}): ${inLine(text)}`)
    }
    const [done, seen] = this.carryOut(place, isRefused ? this.refusal(code, text) : [unit])
    if (done === undefined || done.state === "waits") {
      this.waits.add(this.kernel, place, text, (waits) => {
        this.resume(waits)
        this.afterwards()
      })
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
    const waits = this.waits.find(place)
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
    const { passed, timeouts } = Shadows.startupOf(session.startup)
    const { id, pid } = this.database.open(passed, session.wire.id)
    const place: Place = { session, backend: id, pid, isReadOnly: false, defaults: timeouts, locals: new Map() }
    this.places.set(session, place)
    return place
  }

  /**
   * Does what was asked, and looks around when that has ended a transaction. Nobody else's backend does anything
   * meanwhile: those that wait are stopped.
   */
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

  /** Lets one that waited go on. */
  private resume(waits: Waiting): void {
    // What it was told of the time was true when it began.
    this.exec(`select pg_catalog.setval('sim.clock', ${Math.floor(this.kernel.nowMillis * 1000)})`)
    const done = this.waits.resume(waits)
    if (done === undefined) return
    const { expired, isOrphan, place } = waits
    if (isOrphan) return this.backends.end(place.backend)
    const { session } = place
    session.answered(this.replyOf(place, done, expired))
    this.kernel.after(0, undefined, () => session.pump())
  }

  /** A statement is through: what was said is told, what is wrong is noted, and who waited for its locks goes on. */
  private afterwards(seen?: Done): void {
    for (let first = seen;; first = undefined) {
      const lines = this.database.seen(this.look, first)
      const blocked = new Set(lines.flatMap((line) => line.startsWith("waits ") ? [Number(line.slice(6))] : []))
      for (const line of this.watch?.(lines.filter((each) => !each.startsWith("waits "))) ?? []) {
        if (!this.wrong.has(line)) this.kernel.tell(`WRONG: ${line}`)
        this.wrong.add(line)
      }
      const next = this.waits.next(blocked)
      if (next === undefined) return
      this.resume(next)
    }
  }

  private replyOf(place: Place, done: Done, expired: readonly [string, string] | undefined): Buffer {
    for (const [name, millis] of Shadows.localTimeouts(done.said)) place.locals.set(name, millis)
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
    const waiting = this.waits.isEmpty
      ? ""
      : "; select 'waits ' || pid from pg_catalog.pg_locks where not granted"
    return {
      backend: this.database.eye,
      ask: PgWire.query(`${this.watch === undefined ? "select ''" : "execute sim_watch"}${waiting}`),
      replies: 1
    }
  }

  /** Nobody is left. */
  private dismiss(): void {
    for (const { session } of this.waits.terminate()) this.places.delete(session)
    for (const { backend } of this.places.values()) this.backends.end(backend)
    this.places.clear()
    this.sessions.clear()
  }
}
