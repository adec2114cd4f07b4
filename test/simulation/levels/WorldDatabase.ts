/**
 * The database of a world on a real Postgres: a fresh copy for each. Beside the backends of simulated connections it
 * has one of the checker's own, the eye, which also hears what is notified: only what it hears has an order.
 */
import { Schema } from "effect"
import { Backends, type Done, type Step } from "./Backends.ts"
import type { Checker } from "./PgliteInspection.ts"
import * as PgWire from "./PgWire.ts"
import { lockTimeouts, parameters, shadows } from "./PostgresShadows.ts"

const templateName = "sim_template"
const worldName = "sim_world"

const jsonOf = (sql: string): string => `select coalesce(json_agg(t), '[]')::text from (${sql}) t`

const rowsOf = <Row>(row: Schema.Codec<Row>, [text]: ReadonlyArray<string>): ReadonlyArray<Row> =>
  Schema.decodeUnknownSync(Schema.Array(row))(JSON.parse(text ?? "[]"))

export class WorldDatabase {
  readonly backends: Backends
  /** What to do with a notification. */
  onNote: (note: Uint8Array) => void = () => {}
  private readonly root: number
  private seeing: number
  private readonly channels = new Set<string>()

  /** Behind the socket of a server that runs. `prepare` fills it. */
  constructor(socketPath: string) {
    this.backends = new Backends(socketPath)
    this.root = this.backends.open(PgWire.startup({ ...parameters("postgres"), search_path: "pg_catalog" })).id
    this.seeing = this.root
    this.askRoot(`drop database if exists ${worldName} with (force)`)
    this.askRoot(`drop database if exists ${templateName} with (force)`)
    this.askRoot(`create database ${templateName}`)
    this.template.exec(shadows)
  }

  get eye(): number {
    return this.seeing
  }

  /** What every world begins with, made by whoever connects. */
  prepare(fill: () => void, leave: () => void): void {
    this.enter()
    fill()
    this.exec(lockTimeouts)
    leave()
    this.leave(false)
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

  enter(): void {
    this.askRoot(`create database ${worldName} template ${templateName}`)
    this.seeing = this.backends.open(PgWire.startup(parameters(worldName))).id
  }

  /** When nobody else is there any more. */
  leave(isOver = true): void {
    if (this.seeing === this.root) return
    this.channels.clear()
    this.backends.end(this.seeing)
    this.seeing = this.root
    if (isOver) this.askRoot(`drop database ${worldName} with (force)`)
  }

  /** A backend for a simulated connection. Numbers of processes differ between runs: who asks is told the connection's. */
  open(passed: Readonly<Record<string, string>>, connection: number): { readonly id: number; readonly pid: number } {
    const opened = this.backends.open(PgWire.startup({ ...passed, ...parameters(worldName) }))
    this.exec(`insert into sim.backends values (${opened.pid}, ${connection})
      on conflict (pid) do update set id = excluded.id`)
    return opened
  }

  listen(channel: string): void {
    if (this.channels.has(channel)) return
    this.channels.add(channel)
    this.exec(`listen "${channel}"`)
  }

  rows<Row>(row: Schema.Codec<Row>, sql: string): ReadonlyArray<Row> {
    return rowsOf(row, this.cells(this.seeing, jsonOf(sql)))
  }

  exec(sql: string): void {
    this.cells(this.seeing, sql)
  }

  /** What the eye saw, line by line; it looks now, unless it has. */
  seen(look: Step, done: Done | undefined): ReadonlyArray<string> {
    return this.heard(done ?? this.backends.walk([look])[0])
  }

  private cells(backend: number, sql: string): ReadonlyArray<string> {
    return this.heard(this.backends.walk([{ backend, ask: PgWire.query(sql), replies: 1 }])[0])
  }

  private heard(done: Done | undefined): ReadonlyArray<string> {
    if (done === undefined || done.state !== "done") throw new Error("the checker's own statement waits")
    for (const note of done.notes) this.onNote(note)
    return PgWire.cellsOf(Buffer.from(done.reply))
  }

  private askRoot(sql: string): void {
    this.cells(this.root, sql)
  }
}
