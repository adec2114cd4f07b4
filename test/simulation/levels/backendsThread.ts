/**
 * The thread that talks with the backends of a real Postgres. It does one thing after another for who waits for it
 * (`Backends.ts`), so that nothing of what the sockets do in between is seen by the simulation.
 */
import { connect, type Socket } from "node:net"
import { type MessagePort, workerData } from "node:worker_threads"
import type { Done, FromThread, Step, ToThread } from "./Backends.ts"
import * as PgWire from "./PgWire.ts"

/** `reply` is what `ReadyForQuery`s end; a notice that it waits for a lock ends the waiting here as well. */
class Backend {
  pid = 0
  isClosed = false
  private readonly socket: Socket
  private unread: Buffer = Buffer.alloc(0)
  private reply: Array<Buffer> = []
  private notes: Array<Buffer> = []
  private said: Array<string> = []
  private due = 1
  private skip = 0
  private isWaiting = false
  private changed: () => void = () => {}

  constructor(path: string, startup: Uint8Array) {
    this.socket = connect(path)
    this.socket.on("data", (bytes) => this.receive(typeof bytes === "string" ? Buffer.from(bytes) : bytes))
    this.socket.on("error", () => {})
    this.socket.on("close", () => {
      this.isClosed = true
      this.changed()
    })
    this.socket.write(startup)
  }

  /** Asks something that is answered with so many `ReadyForQuery`. */
  ask(bytes: Uint8Array, replies: number, skip: number): void {
    this.due = replies
    this.skip = skip
    this.socket.write(bytes)
  }

  /** Until it has answered, waits for a lock, or is gone. */
  async done(): Promise<Done> {
    this.isWaiting = false
    while (this.due > 0 && !this.isWaiting && !this.isClosed) await this.change()
    if (this.due > 0 && this.isWaiting) return { state: "waits", reply: none, notes: [], said: this.told() }
    const state = this.due > 0 ? "closed" : "done"
    const done = { state, reply: Buffer.concat(this.reply), notes: this.notes, said: this.told() } as const
    this.reply = []
    this.notes = []
    return done
  }

  /** Until nothing is left of it, its locks neither. */
  async end(): Promise<void> {
    this.socket.end(PgWire.goodbye)
    while (!this.isClosed) await this.change()
  }

  private told(): ReadonlyArray<string> {
    const { said } = this
    this.said = []
    return said
  }

  private change(): Promise<void> {
    return new Promise((resolve) => {
      this.changed = resolve
    })
  }

  private receive(bytes: Buffer): void {
    this.unread = this.unread.length === 0 ? bytes : Buffer.concat([this.unread, bytes])
    const messages = PgWire.messagesOf(this.unread)
    let length = 0
    for (const message of messages) {
      length += message.length
      this.take(message)
    }
    this.unread = this.unread.subarray(length)
    this.changed()
  }

  private take(message: Buffer): void {
    if (message[0] === PgWire.notification) return void this.notes.push(message)
    if (message[0] === PgWire.notice) {
      const text = message.toString("latin1")
      if (text.includes(" still waiting for ")) this.isWaiting = true
      const said = /\0Msimulated ([^\0]*)/.exec(text)?.[1]
      if (said !== undefined) this.said.push(said)
      return
    }
    if (message[0] === PgWire.keyData) this.pid = message.readInt32BE(5)
    if (message[0] === PgWire.ready) this.due--
    if (this.skip === 0) this.reply.push(message)
    else if (message[0] === PgWire.ready) this.skip--
  }
}

const none = Buffer.alloc(0)

const { path, port, signal }: { path: string; port: MessagePort; signal: Int32Array } = workerData
const backends = new Map<number, Backend>()
let made = 0

const backendOf = (id: number): Backend => {
  const backend = backends.get(id)
  if (backend === undefined) throw new Error(`there is no backend ${id}`)
  return backend
}

const open = async (startup: Uint8Array): Promise<FromThread> => {
  const backend = new Backend(path, startup)
  const { reply, state } = await backend.done()
  if (state !== "done") {
    return { type: "failed", why: Buffer.from(reply).toString("latin1") || "the server is not there" }
  }
  const id = ++made
  backends.set(id, backend)
  return { type: "opened", id, pid: backend.pid }
}

/** Stops where one waits, or is gone. */
const walk = async (steps: ReadonlyArray<Step>): Promise<FromThread> => {
  const done: Array<Done> = []
  for (const { ask, backend, isForIdle = false, replies, skip = 0 } of steps) {
    if (isForIdle && PgWire.statusOf(Buffer.from(done.at(-1)?.reply ?? none)) !== "I") break
    if (ask !== undefined) backendOf(backend).ask(ask, replies, skip)
    const last = await backendOf(backend).done()
    done.push(last)
    if (last.state !== "done") break
  }
  return { type: "walked", done }
}

const finish = async (id: number): Promise<FromThread> => {
  await backendOf(id).end()
  backends.delete(id)
  return { type: "ended" }
}

const handle = (told: ToThread): Promise<FromThread> => {
  if (told.type === "open") return open(told.startup)
  return told.type === "walk" ? walk(told.steps) : finish(told.backend)
}

const answer = async (told: ToThread): Promise<void> => {
  port.postMessage(await handle(told).catch((error): FromThread => ({ type: "failed", why: String(error) })))
  Atomics.add(signal, 0, 1)
  Atomics.notify(signal, 0)
}

port.on("message", (told: ToThread) => {
  void answer(told)
})
