/**
 * One socket being opened: the name, the address policy, TCP and TLS. It may be given up at any time, and then leaves nothing behind.
 */
import type { LookupAddress, LookupOptions } from "node:dns"
import * as net from "node:net"
import * as tls from "node:tls"
import { AddressFault, ConnectFault, type TransportWatch } from "../../../services/fetch/TransportWatch.ts"
import type { BoundedMap } from "../../../services/tasks/BoundedMap.ts"
import * as AddressPolicy from "../AddressPolicy.ts"
import { type Cancel, isOutOfFiles } from "../dns/Answer.ts"
import type { DnsCache } from "./DnsCache.ts"
import type { SocketRoom } from "./SocketRoom.ts"

/** What all that is dialled for a pool shares. */
export interface DialOptions {
  readonly dns: DnsCache
  readonly room: SocketRoom
  /** TLS sessions by server name, for resumption. */
  readonly sessions: BoundedMap<string, Buffer>
  /** Trust and identity for https. */
  readonly tls: tls.ConnectionOptions | undefined
}

/** Where to. */
export interface Destination {
  readonly isTls: boolean
  /** Without the brackets of an IPv6 address. */
  readonly hostname: string
  readonly port: number
  readonly denyPrivate: boolean
}

type Done = (error: Error | undefined, socket: net.Socket | undefined) => void

type Resolved = (error: AddressFault | ConnectFault | undefined, addresses: ReadonlyArray<LookupAddress>) => void

/** As the system would say it. */
const noRoom = new ConnectFault({ phase: "connect", code: "EMFILE" })

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error && typeof error.code === "string"
    ? error.code
    : "UNKNOWN"

/** All addresses failed: the code of the first tells why. */
const connectCode = (error: unknown): string =>
  error instanceof AggregateError && error.errors.length > 0 ? codeOf(error.errors[0]) : codeOf(error)

export class Dial {
  private readonly to: Destination
  private readonly options: DialOptions
  private readonly watch: TransportWatch | undefined
  private readonly done: Done
  private socket: net.Socket | undefined = undefined
  /** Ends the lookup, or the wait for room. */
  private leave: Cancel = () => {}
  private isOver = false

  constructor(to: Destination, options: DialOptions, watch: TransportWatch | undefined, done: Done) {
    this.to = to
    this.options = options
    this.watch = watch
    this.done = done
  }

  /** Begins; `done` is called once, never before this returns. */
  start(): void {
    if (this.options.room.isFull) return this.waitForRoom(noRoom)
    this.leave = this.resolve((error, addresses) => {
      if (this.isOver) return
      if (error !== undefined) return this.fail(error)
      if (this.options.room.isFull) return this.waitForRoom(noRoom)
      const { hostname, isTls, port } = this.to
      const target = { host: hostname, port, lookup: pinned(addresses), autoSelectFamily: addresses.length > 1 }
      this.watch?.enter("connect")
      const socket = this.socket = isTls ? this.openTls(target) : this.openTcp(target)
      this.options.room.take(socket)
      socket.setNoDelay(true)
      socket.setKeepAlive(true, 60_000)
    })
  }

  /** Ends it without a word. */
  giveUp(): void {
    this.isOver = true
    this.leave()
    this.socket?.destroy()
  }

  private fail(error: AddressFault | ConnectFault): void {
    if (error instanceof ConnectFault && isOutOfFiles(error.code)) this.waitForRoom(error)
    else this.finish(error)
  }

  /** Without a file left neither the name nor the server has been asked: this side waits for one and begins again. */
  private waitForRoom(error: ConnectFault): void {
    if (this.isOver) return
    this.socket?.destroy()
    this.socket = undefined
    this.watch?.enter("queue")
    this.leave = this.options.room.wait((isOver) => isOver ? this.start() : this.finish(error))
  }

  private finish(error: Error | undefined): void {
    if (this.isOver) return
    this.isOver = true
    if (error !== undefined) this.socket?.destroy()
    this.done(error, error === undefined ? this.socket : undefined)
  }

  /** The addresses that may be connected to; only these are, whatever the name resolves to a moment later. */
  private resolve(done: Resolved): Cancel {
    const { hostname } = this.to
    const family = net.isIP(hostname)
    if (family !== 0) {
      this.permit([{ address: hostname, family }], done)
      return () => {}
    }
    this.watch?.enter("dns")
    return this.options.dns.resolve(hostname, (answer) => {
      if ("code" in answer) done(new ConnectFault({ phase: "dns", code: answer.code }), [])
      else this.permit(answer.addresses, done)
    }, (isHeld) => this.watch?.enter(isHeld ? "queue" : "dns"))
  }

  private permit(addresses: ReadonlyArray<LookupAddress>, done: Resolved): void {
    if (!this.to.denyPrivate) return done(undefined, addresses)
    for (const { address } of addresses) {
      const range = AddressPolicy.forbiddenRange(address)
      // One forbidden address condemns the name: a public answer beside a private one is how rebinding looks.
      if (range !== undefined) return done(new AddressFault({ code: "FORBIDDEN_ADDRESS", address, range }), [])
    }
    done(undefined, addresses)
  }

  private openTcp(target: net.TcpNetConnectOpts): net.Socket {
    const socket = net.connect(target)
    socket.once("connect", () => this.finish(undefined))
    socket.once(
      "error",
      (cause) => this.fail(new ConnectFault({ phase: "connect", code: connectCode(cause), cause }))
    )
    return socket
  }

  private openTls(target: net.TcpNetConnectOpts): net.Socket {
    const { hostname } = this.to
    // A name in SNI has no dot at its end (RFC 6066 section 3), and certificates name none.
    const servername = net.isIP(hostname) === 0 ? hostname.replace(/\.$/, "") : ""
    const session = this.options.sessions.get(servername)
    const socket = tls.connect({
      ...this.options.tls,
      ...target,
      servername,
      ALPNProtocols: ["http/1.1"],
      ...(session === undefined ? undefined : { session })
    })
    let isConnected = false
    socket.once("connect", () => {
      isConnected = true
      this.watch?.enter("tls")
    })
    socket.on("session", (session: Buffer) => this.options.sessions.set(servername, session))
    socket.once("secureConnect", () => this.finish(undefined))
    socket.once("error", (cause) => {
      const phase = isConnected ? "tls" : "connect"
      this.fail(new ConnectFault({ phase, code: isConnected ? codeOf(cause) : connectCode(cause), cause }))
    })
    return socket
  }
}

/** A lookup that answers with what was resolved and permitted before. */
const pinned =
  (addresses: ReadonlyArray<LookupAddress>): net.LookupFunction => (_hostname, options: LookupOptions, done) => {
    const [first] = addresses
    if (options.all === true) done(null, [...addresses])
    else if (first === undefined) done(new ConnectFault({ phase: "dns", code: "ENODATA" }), "", 0)
    else done(null, first.address, first.family)
  }
