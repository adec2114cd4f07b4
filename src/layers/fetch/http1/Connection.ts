/**
 * A line to an origin: a socket that carries one request at a time, opened when it is first needed and again when it was lost. While
 * nobody has it, whatever comes over it (bytes, an end, an error) ends it.
 */
import type * as net from "node:net"
import type { TransportWatch } from "../../../services/fetch/TransportWatch.ts"
import type { BoundedMap } from "../../../services/tasks/BoundedMap.ts"
import type { Timers } from "../dns/Timers.ts"
import { type Destination, Dial, type DialOptions } from "./Dial.ts"
import { ConnectionLost } from "./WireFault.ts"

/** What every connection of a pool shares. */
export interface ConnectionOptions extends DialOptions {
  /** How long an idle connection is kept when the server does not say. */
  readonly keepAliveMillis: number
  /** Largest response head. */
  readonly headersMaxBytes: number
  /** Origins that were seen to leave: to end a connection that they had let be kept, soon after an answer. */
  readonly leavers: BoundedMap<string, true>
  readonly timers: Timers
}

/** Who has the line. */
export interface Rider {
  readonly watch: TransportWatch | undefined
  /** Bytes of an answer have come. */
  readonly hasAnswer: boolean
  /** It is open: the request may be written. */
  readonly onOpen: () => void
  readonly onBytes: (piece: Buffer) => void
  /** Nothing has come or gone for as long as `quietAfter` said. */
  readonly onQuiet: () => void
  /** What was written has gone out. */
  readonly onDrain: () => void
  /** The server has closed its side, and nothing went wrong. */
  readonly onFinish: () => void
  readonly onLost: (error: Error) => void
}

/** The longest that a server's own hint keeps an idle connection. */
const keepAliveMaxMillis = 60_000
/** A connection is given up this much before the server would: a request under way then would meet its end. */
const keepAliveMarginMillis = 500
/** An end so soon after an answer is no idle timeout. */
const soonMillis = 1000

export class Connection {
  readonly origin: string
  readonly denyPrivate: boolean
  readonly options: ConnectionOptions
  /** The socket has carried a request before: the server may be about to close it. */
  isReused = false
  private readonly destination: Destination
  private socket: net.Socket | undefined = undefined
  private dial: Dial | undefined = undefined
  private rider: Rider | undefined = undefined
  private idleMillis = 0
  private restedAtMillis = 0

  constructor(origin: string, denyPrivate: boolean, options: ConnectionOptions) {
    this.origin = origin
    this.denyPrivate = denyPrivate
    this.options = options
    const { hostname, port, protocol } = new URL(origin)
    const isTls = protocol === "https:"
    this.destination = {
      isTls,
      hostname: hostname.startsWith("[") ? hostname.slice(1, -1) : hostname,
      port: port === "" ? (isTls ? 443 : 80) : Number(port),
      denyPrivate
    }
  }

  /** Carries this rider's request: `onOpen` follows, at once when the line is open. */
  board(rider: Rider): void {
    this.rider = rider
    if (this.socket === undefined) this.open(rider)
    else rider.onOpen()
  }

  /** Opens the line anew for who has it. */
  reopen(): void {
    this.drop()
    if (this.rider !== undefined) this.open(this.rider)
  }

  /** The request has ended well and the line may carry another, if the server keeps it for long enough: whether it does. */
  rest(hintMillis: number | undefined): boolean {
    this.rider = undefined
    this.isReused = true
    this.restedAtMillis = this.options.timers.nowMillis()
    const millis = hintMillis === undefined
      ? this.options.keepAliveMillis
      : Math.min(hintMillis - keepAliveMarginMillis, keepAliveMaxMillis)
    this.quietAfter(millis)
    return millis > 0
  }

  /** How long a stillness is long. */
  quietAfter(millis: number): void {
    if (millis > 0 && millis !== this.idleMillis) this.socket?.setTimeout(this.idleMillis = millis)
  }

  /** The server may well end this connection under the next request, by what it has done before. */
  get isDoubtful(): boolean {
    return this.isReused && this.options.leavers.get(this.origin) === true
  }

  /** Writes; `false` when it waits to go out. */
  write(data: string | Uint8Array): boolean {
    const { socket } = this
    if (socket === undefined) return false
    return typeof data === "string" ? socket.write(data, "latin1") : socket.write(data)
  }

  /** Several writes that go out as one. */
  together(write: () => void): void {
    this.socket?.cork()
    write()
    this.socket?.uncork()
  }

  /** Everything that was written has gone out. */
  get isFlushed(): boolean {
    return this.socket?.writableLength === 0
  }

  pause(): void {
    this.socket?.pause()
  }

  resume(): void {
    this.socket?.resume()
  }

  /** Ends it at once, also while it is being opened; resolves when its socket is closed. */
  destroy(why: Error | null): Promise<void> {
    const { rider, socket } = this
    this.rider = undefined
    this.drop()
    rider?.onLost(why ?? new ConnectionLost({ code: "ECANCELED" }))
    if (socket === undefined || socket.closed) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    socket.once("close", () => resolve())
    return promise
  }

  private drop(): void {
    this.isReused = false
    const { dial, socket } = this
    this.dial = undefined
    this.socket = undefined
    dial?.giveUp()
    socket?.destroy()
  }

  /** The server has ended it. */
  private left(): void {
    const isBetween = this.isReused && this.rider?.hasAnswer !== true
    if (isBetween && this.options.timers.nowMillis() - this.restedAtMillis < soonMillis) {
      this.options.leavers.set(this.origin, true)
    }
    this.drop()
  }

  private open(rider: Rider): void {
    const dial = this.dial = new Dial(this.destination, this.options, rider.watch, (error, socket) => {
      this.dial = undefined
      if (socket === undefined) return this.rider?.onLost(error ?? new ConnectionLost({ code: "UNKNOWN" }))
      this.socket = socket
      this.listen(socket)
      this.rider?.onOpen()
    })
    dial.start()
  }

  private listen(socket: net.Socket): void {
    socket.on("data", (piece: Buffer) => {
      if (this.socket !== socket) return
      if (this.rider === undefined) this.drop()
      else this.rider.onBytes(piece)
    })
    // The timer starts again with whatever comes or goes, and means something only when it has stood still with nobody on the line.
    socket.setTimeout(this.idleMillis = this.options.keepAliveMillis)
    socket.on("timeout", () => {
      if (this.socket !== socket) return
      if (this.rider === undefined) this.drop()
      else this.rider.onQuiet()
    })
    socket.on("drain", () => {
      if (this.socket === socket) this.rider?.onDrain()
    })
    socket.on("end", () => {
      if (this.socket !== socket) return
      this.left()
      this.rider?.onFinish()
    })
    const lost = (code: string) => {
      if (this.socket !== socket) return
      this.left()
      this.rider?.onLost(new ConnectionLost({ code }))
    }
    socket.on("error", (error: NodeJS.ErrnoException) => lost(error.code ?? "UNKNOWN"))
    socket.on("close", () => lost("CLOSED"))
  }
}
