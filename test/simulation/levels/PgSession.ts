/** One connection as the server has it: what was sent is cut into what is answered together, and waits for its turn. */
import type { Kernel } from "../kernel/Kernel.ts"
import type { Peer, Wire } from "../kernel/Network.ts"
import type { SeededRandom } from "../kernel/Random.ts"
import {
  bind,
  closers,
  digest,
  fatal,
  messagesOf,
  parse,
  simpleQuery,
  sslRequest,
  statusOf,
  terminate,
  welcome
} from "./PgWire.ts"
import type { ServerFaults } from "./ServerFaults.ts"

/** What a session needs of its server. */
export interface SessionServer {
  readonly kernel: Kernel
  readonly random: SeededRandom
  readonly faults: ServerFaults
  readonly isFreeFor: (session: Session) => boolean
  /** The reply; undefined when it waits for a lock: `answered` is called when it does no longer. */
  readonly execute: (session: Session, unit: Buffer, text: string) => Buffer | undefined
  /** What the transaction says; zero when it says nothing. */
  readonly idleTimeoutMillis: (session: Session) => number
  readonly leave: (session: Session) => void
  readonly pumpAll: () => void
}

/** A statement in a line of the story. */
export const inLine = (text: string): string => text.replaceAll(/\s+/g, " ").trim().slice(0, 100)

export const mentionStatement = (kernel: Kernel, { wire }: Session, text: string): void => {
  if (kernel.story === undefined || text === "") return
  kernel.mention(`${wire.process.name}, connection ${wire.id}: ${inLine(text)}`)
}

export class Session implements Peer {
  readonly wire: Wire
  readonly channels = new Set<string>()
  status = "I"
  /** The parameters that it began with. */
  startup = ""
  private readonly server: SessionServer
  private unread: Buffer = Buffer.alloc(0)
  private readonly units: Array<Buffer> = []
  private hasBegun = false
  private hasEnded = false
  private isWaiting = false
  /** How much likelier than elsewhere the connection breaks around what is asked now. */
  private weight = 1
  private turns = 0
  /** The SQL of prepared statements, by name. */
  private readonly prepared = new Map<string, string>()
  /** What the session asked for when it began; zero for no limit. */
  private idleMillis = 0

  constructor(server: SessionServer, wire: Wire) {
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
    while (!this.hasEnded && !this.isWaiting && this.server.isFreeFor(this)) {
      const unit = this.units.shift()
      if (unit === undefined) return
      if (!this.hasBegun) {
        this.hasBegun = true
        this.startup = unit.toString("latin1", 8)
        this.idleMillis = Number(/idle_in_transaction_session_timeout\0(\d+)/.exec(this.startup)?.[1] ?? 0)
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
    this.weight = text === "COMMIT" ? 10 : 1
    if (random.chance(this.weight * breakage.before)) {
      return this.wire.endedByServer(new Error("the connection broke before the statement"))
    }
    const reply = this.server.execute(this, unit, text)
    if (reply === undefined) this.isWaiting = true
    else this.answered(reply)
  }

  /** What it waited for has come. */
  answered(reply: Buffer): void {
    this.isWaiting = false
    this.status = statusOf(reply)
    this.server.kernel.trace(`${this.wire.process.name} ${this.status} ${digest(reply)}`)
    this.watchIdle()
    if (this.server.random.chance(this.weight * this.server.faults.breakage.after)) {
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
    const millis = this.server.idleTimeoutMillis(this) || this.idleMillis
    if (millis <= 0) return
    this.server.kernel.after(millis, undefined, () => {
      if (this.turns === turn && !this.hasEnded && !this.isWaiting && this.units.length === 0) {
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
