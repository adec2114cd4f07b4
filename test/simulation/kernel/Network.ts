/**
 * Connections between simulated processes and a server: bytes of one direction arrive late and in order, are held while the link is cut,
 * and are lost when the connection breaks.
 */
import { EventEmitter } from "node:events"
import type { Kernel } from "./Kernel.ts"
import type { Process } from "./Process.ts"
import type { SeededRandom } from "./Random.ts"

/** The server's end of a connection. */
export interface Peer {
  readonly receive: (bytes: Buffer) => void
  /** The other side has ended it, or it is broken. */
  readonly closed: () => void
}

export interface Server {
  readonly accept: (wire: Wire) => Peer
}

/** A process' way to the others. What arrives while it is cut waits until it is healed. */
interface Link {
  isCut: boolean
  held: Array<() => void>
  /** What every message takes longer, at most. */
  delayMillis: number
}

/** Messages of one lane arrive in the order in which they were sent. */
export interface Lane {
  arrivesAt: number
}

/** What @effect/sql-pg needs of a Duplex: everything happens at once. */
export class SimulatedSocket extends EventEmitter {
  writable = true
  destroyed = false
  private readonly wire: Wire

  constructor(wire: Wire) {
    super()
    this.wire = wire
  }

  write(bytes: Uint8Array): boolean {
    if (!this.destroyed) this.wire.toServer(Buffer.from(bytes))
    return !this.destroyed
  }

  end(bytes?: Uint8Array): this {
    if (bytes !== undefined) this.write(bytes)
    return this.destroy()
  }

  destroy(): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.writable = false
    this.wire.endedByClient()
    return this
  }

  pause(): this {
    return this
  }

  resume(): this {
    return this
  }
}

/** One connection. */
export class Wire {
  readonly process: Process
  readonly socket = new SimulatedSocket(this)
  readonly id: number
  private readonly network: Network
  private readonly peer: Peer
  private readonly lanes = { server: { arrivesAt: 0 }, client: { arrivesAt: 0 } }
  private isOpen = true
  private readonly forget: () => void

  constructor(network: Network, process: Process, server: Server, id: number) {
    this.network = network
    this.process = process
    this.id = id
    this.peer = server.accept(this)
    this.forget = process.onKill(() => this.killed())
  }

  toServer(bytes: Buffer): void {
    this.arrive("server", () => {
      if (this.isOpen) this.peer.receive(bytes)
    })
  }

  toClient(bytes: Buffer): void {
    this.arrive("client", () => this.deliver(() => this.socket.emit("data", bytes)))
  }

  endedByClient(): void {
    this.arrive("server", () => this.shut())
  }

  /** The server ends it: the client hears of it later. */
  endedByServer(why: Error | undefined): void {
    if (!this.isOpen) return
    this.shut()
    this.arrive("client", () =>
      this.deliver(() => {
        this.socket.destroyed = true
        this.socket.writable = false
        if (why !== undefined) this.socket.emit("error", why)
        this.socket.emit("close")
      }))
  }

  /** Its kernel still sends what was written, and then the end. */
  private killed(): void {
    this.socket.destroyed = true
    this.endedByClient()
  }

  private shut(): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.forget()
    this.network.wires.delete(this)
    this.peer.closed()
  }

  private deliver(work: () => void): void {
    if (this.socket.destroyed) return
    this.network.hand(this.process, () => this.socket.destroyed || work())
  }

  private arrive(end: "server" | "client", work: () => void): void {
    this.network.send(this.process, this.lanes[end], work)
  }
}

export class Network {
  readonly kernel: Kernel
  readonly wires = new Set<Wire>()
  private readonly random: SeededRandom
  private readonly links = new Map<string, Link>()
  private made = 0

  constructor(kernel: Kernel) {
    this.kernel = kernel
    this.random = kernel.random.fork()
  }

  connect(process: Process, server: Server): SimulatedSocket {
    const wire = new Wire(this, process, server, ++this.made)
    this.wires.add(wire)
    return wire.socket
  }

  /** Nothing passes for so long, in either direction; nobody is told. */
  cut(process: Process, millis: number): void {
    const link = this.linkOf(process)
    link.isCut = true
    this.kernel.after(millis, undefined, () => this.heal(process))
  }

  /** What it sends and gets takes up to so much longer. */
  slow(process: Process, delayMillis: number, millis: number): void {
    const link = this.linkOf(process)
    link.delayMillis = delayMillis
    this.kernel.after(millis, undefined, () => {
      link.delayMillis = 0
    })
  }

  heal(process: Process): void {
    const link = this.linkOf(process)
    link.isCut = false
    link.delayMillis = 0
    for (const land of link.held.splice(0)) land()
  }

  /** Does it where it arrives, later; while the process is cut off it is held. */
  send(process: Process, lane: Lane, work: () => void): void {
    const { kernel } = this
    lane.arrivesAt = Math.max(lane.arrivesAt, kernel.nowMillis + this.latencyMillis(this.linkOf(process)))
    kernel.after(lane.arrivesAt - kernel.nowMillis, undefined, () => this.pass(process, work))
  }

  /** Does it now, or when the process is not cut off any more. */
  pass(process: Process, work: () => void): void {
    const link = this.linkOf(process)
    if (link.isCut) link.held.push(() => this.pass(process, work))
    else work()
  }

  /** Does it as the process, as soon as it is not frozen; a process that is dead does nothing. */
  hand(process: Process, work: () => void): void {
    if (!process.isAlive) return
    const frozenMillis = process.frozenUntil - this.kernel.nowMillis
    if (frozenMillis === Infinity) return
    if (frozenMillis > 0) this.kernel.after(frozenMillis, process, work)
    else process.enter(work)
  }

  /** Usually a fraction of a millisecond, once in a hundred times up to a fifth of a second. */
  private latencyMillis({ delayMillis }: Link): number {
    return 0.05 + this.random.float() * ((this.random.chance(0.01) ? 200 : 0.6) + delayMillis)
  }

  private linkOf(process: Process): Link {
    const known = this.links.get(process.name)
    if (known !== undefined) return known
    const link = { isCut: false, held: [], delayMillis: 0 }
    this.links.set(process.name, link)
    return link
  }
}
