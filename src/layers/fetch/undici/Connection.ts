/**
 * One connection: an undici `Client` that carries one request at a time, and the socket that it is opening. undici alone cannot give up
 * a connection that is still being opened; this can, so that an interrupted request leaves no socket behind.
 */
import type { LookupAddress, LookupOptions } from "node:dns"
import * as net from "node:net"
import * as tls from "node:tls"
import { type buildConnector, Client, type Dispatcher } from "undici"
import { AddressFault, ConnectFault, type TransportWatch } from "../../../services/fetch/TransportWatch.ts"
import * as AddressPolicy from "../AddressPolicy.ts"
import { type Cancel, isOutOfFiles } from "../dns/Answer.ts"
import type { Timers } from "../dns/Timers.ts"
import type { DnsCache } from "./DnsCache.ts"
import type { SocketRoom } from "./SocketRoom.ts"

/** What every connection of a pool shares. */
export interface ConnectionOptions {
  readonly dns: DnsCache
  readonly room: SocketRoom
  readonly timers: Timers
  readonly sessions: TlsSessions
  /** Trust and identity for https. */
  readonly tls: tls.ConnectionOptions | undefined
  /** How long an idle connection is kept when the server does not say. */
  readonly keepAliveMillis: number
  /** Largest response head. */
  readonly headersMaxBytes: number
}

/** TLS sessions by server name, for resumption; the oldest goes when there are too many. */
export class TlsSessions {
  private readonly sessions = new Map<string, Buffer>()

  get(servername: string): Buffer | undefined {
    return this.sessions.get(servername)
  }

  set(servername: string, session: Buffer): void {
    this.sessions.delete(servername)
    if (this.sessions.size >= 1000) {
      const oldest = this.sessions.keys().next()
      if (oldest.done !== true) this.sessions.delete(oldest.value)
    }
    this.sessions.set(servername, session)
  }
}

type Connected = (error: Error | null, socket: net.Socket | null) => void

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error && typeof error.code === "string"
    ? error.code
    : "UNKNOWN"

/** All addresses failed: the code of the first tells why. */
const connectCode = (error: unknown): string =>
  error instanceof AggregateError && error.errors.length > 0 ? codeOf(error.errors[0]) : codeOf(error)

export class Connection {
  readonly client: Client
  readonly origin: string
  readonly denyPrivate: boolean
  /** Who hears of the phases of the connecting that goes on now. */
  watch: TransportWatch | undefined = undefined
  private readonly options: ConnectionOptions
  private giveUp: ((error: Error) => void) | undefined = undefined

  constructor(origin: string, denyPrivate: boolean, options: ConnectionOptions) {
    this.origin = origin
    this.denyPrivate = denyPrivate
    this.options = options
    this.client = new Client(origin, {
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: options.keepAliveMillis,
      keepAliveMaxTimeout: 60_000,
      maxHeaderSize: options.headersMaxBytes,
      // Deadlines are the fetcher's; a client without one uses Effect.timeout.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (to, done) => this.connect(to, done)
    })
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.client.dispatch(options, handler)
  }

  /** Ends it at once, also while it is being opened. */
  destroy(error: Error | null): Promise<void> {
    this.giveUp?.(error ?? new ConnectFault({ phase: "connect", code: "ECANCELED" }))
    return this.client.destroy(error)
  }

  private connect(to: buildConnector.Options, done: buildConnector.Callback): void {
    const isTls = to.protocol === "https:"
    let socket: net.Socket | undefined
    let leave: Cancel = () => {}
    const finish: Connected = (error, connected) => {
      if (this.giveUp !== giveUp) return
      this.giveUp = undefined
      leave()
      if (error !== null || connected === null) {
        socket?.destroy()
        done(error ?? new ConnectFault({ phase: "connect", code: "UNKNOWN" }), null)
      } else done(null, connected)
    }
    const giveUp = (error: Error) => finish(error, null)
    this.giveUp = giveUp
    // Without a file left neither the name nor the server has been asked: this side waits for one and begins again.
    const finishOrWait: Connected = (error, connected) => {
      if (this.giveUp !== giveUp) return
      if (!(error instanceof ConnectFault && isOutOfFiles(error.code))) return finish(error, connected)
      socket?.destroy()
      this.watch?.enter("queue")
      leave = this.options.room.wait((isOver) => isOver ? begin() : finish(error, null))
    }
    const begin = () => {
      if (this.options.room.isFull) return finishOrWait(noRoom, null)
      leave = this.resolve(to.hostname, (error, addresses) => {
        if (this.giveUp !== giveUp) return
        if (error !== null || this.options.room.isFull) return finishOrWait(error ?? noRoom, null)
        const port = Number(to.port === "" ? (isTls ? 443 : 80) : to.port)
        const target = { host: to.hostname, port, lookup: pinned(addresses), autoSelectFamily: addresses.length > 1 }
        this.watch?.enter("connect")
        socket = isTls ? this.openTls(target, to, finishOrWait) : openTcp(target, finishOrWait)
        this.options.room.take(socket)
        socket.setNoDelay(true)
        socket.setKeepAlive(true, 60_000)
      })
    }
    begin()
  }

  /** The addresses that may be connected to; only these are, whatever the name resolves to a moment later. */
  private resolve(
    hostname: string,
    done: (error: Error | null, addresses: ReadonlyArray<LookupAddress>) => void
  ): Cancel {
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

  private permit(
    addresses: ReadonlyArray<LookupAddress>,
    done: (error: Error | null, addresses: ReadonlyArray<LookupAddress>) => void
  ): void {
    if (!this.denyPrivate) return done(null, addresses)
    for (const { address } of addresses) {
      const range = AddressPolicy.forbiddenRange(address)
      // One forbidden address condemns the name: a public answer beside a private one is how rebinding looks.
      if (range !== undefined) return done(new AddressFault({ code: "FORBIDDEN_ADDRESS", address, range }), [])
    }
    done(null, addresses)
  }

  private openTls(target: net.TcpNetConnectOpts, to: buildConnector.Options, finish: Connected): net.Socket {
    const servername = to.servername ?? (net.isIP(to.hostname) === 0 ? to.hostname : "")
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
    socket.once("secureConnect", () => finish(null, socket))
    socket.once("error", (cause) =>
      finish(
        new ConnectFault(
          isConnected
            ? { phase: "tls", code: codeOf(cause), cause }
            : { phase: "connect", code: connectCode(cause), cause }
        ),
        null
      ))
    return socket
  }
}

/** As the system would say it. */
const noRoom = new ConnectFault({ phase: "connect", code: "EMFILE" })

const openTcp = (target: net.TcpNetConnectOpts, finish: Connected): net.Socket => {
  const socket = net.connect(target)
  socket.once("connect", () => finish(null, socket))
  socket.once("error", (cause) => finish(new ConnectFault({ phase: "connect", code: connectCode(cause), cause }), null))
  return socket
}

/** A lookup that answers with what was resolved and permitted before. */
const pinned =
  (addresses: ReadonlyArray<LookupAddress>): net.LookupFunction => (_hostname, options: LookupOptions, done) => {
    const [first] = addresses
    if (options.all === true) done(null, [...addresses])
    else if (first === undefined) done(new ConnectFault({ phase: "dns", code: "ENODATA" }), "", 0)
    else done(null, first.address, first.family)
  }
