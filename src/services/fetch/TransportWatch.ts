/**
 * What a transport is asked to enforce for one request, and what it reports of it: the thread between a fetcher's deadlines and
 * the client that carries its requests.
 */
import { Context, Data } from "effect"
import type { FetchTarget } from "./FetchRequest.ts"

/**
 * Where a request is. Under a transport that does not report it is `sent` until its response comes. `queue` is a wait for this side (a turn
 * at the resolver, a free file): nothing that the server could be blamed for.
 */
export type TransportPhase = "sent" | "queue" | "dns" | "connect" | "tls" | "headers" | "body"

/**
 * One request as its transport sees it. A fetcher hands it down through the fiber's context; a client that knows nothing of it works
 * too, its connect and headers phases are then one.
 */
export interface TransportWatch {
  /** The target of the request as the fetcher wrote it. */
  readonly target: FetchTarget
  /** Whether private, loopback, link-local and metadata addresses are to be refused at connect time. */
  readonly denyPrivate: boolean
  /** The request has entered a phase. */
  readonly enter: (phase: TransportPhase) => void
  /** Bytes of the body have come, as sent (not decoded). */
  readonly received: (bytes: number) => void
}

/** The watch of the request that this fiber sends; `undefined` when a request is sent by someone else than a fetcher. */
export const TransportWatch = Context.Reference<TransportWatch | undefined>("sluice/services/fetch/TransportWatch", {
  defaultValue: () => undefined
})

/**
 * Why a connection did not come about: the phase it failed in and the system's code. Travels as the `cause` of a client's transport error.
 */
export class ConnectFault extends Data.TaggedError("ConnectFault")<{
  readonly phase: "dns" | "connect" | "tls"
  readonly code: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.phase} failed (${this.code})`
  }
}

/** The address policy refused every address of a host. Travels as the `cause` of a client's transport error. */
export class AddressFault extends Data.TaggedError("AddressFault")<{
  readonly code: "FORBIDDEN_ADDRESS"
  readonly address: string
  readonly range: string
}> {
  override get message(): string {
    return `address ${this.address} is ${this.range}`
  }
}

/** The property under which a response offers its whole body, as sent, when it already has it. */
export const WholeBody = Symbol.for("sluice/services/fetch/WholeBody")

/** A response whose whole body is here: reading it costs no stream and no fiber. */
export interface WholeBody {
  readonly [WholeBody]: {
    readonly body: Uint8Array
    /** By lower-case name. */
    readonly headers: Readonly<Record<string, string | Array<string> | undefined>>
  } | undefined
}

/** The property under which a response offers to be given up: its body will not be read, its connection may close. */
export const Abandon = Symbol.for("sluice/services/fetch/Abandon")

/** A response that can be given up at once, without waiting for the next piece of its body. */
export interface Abandon {
  readonly [Abandon]: () => void
}
