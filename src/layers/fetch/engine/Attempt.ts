/**
 * One attempt: a request under way with its fiber, its place at the gate of its host, its line in the live tree, and its deadlines: where
 * its request is, and which limit passes next.
 */
import type { Fiber } from "effect"
import {
  AttemptTimeout,
  ConnectTimeout,
  DnsTimeout,
  type FetchError,
  HeadersTimeout,
  IdleTimeout,
  TlsTimeout,
  TooSlow,
  TotalTimeout
} from "../../../services/fetch/FetchError.ts"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import type { TransportPhase, TransportWatch } from "../../../services/fetch/TransportWatch.ts"
import type { Alarm } from "../../../services/tasks/Alarm.ts"
import type { TaskNode } from "../../../services/tasks/TaskNode.ts"
import type { BodySink, Wants } from "./BodySink.ts"
import type { Limits } from "./Limits.ts"

/** Which of the limits of a phase is the next to pass. */
type PhaseLimit = "sent" | "dns" | "connect" | "tls" | "headers" | "idle"

/** A limit that has passed, as its error carries it. */
interface Passed {
  readonly url: string
  readonly limitMillis: number
  readonly bytesReceived: number
}

/** What an attempt takes over from its call. */
interface Asked {
  readonly target: FetchTarget
  /** Where redirects have led. */
  readonly current: FetchTarget
  readonly limits: Limits
  readonly wants: Wants
  /** What an earlier attempt has of the body. */
  readonly sink: BodySink | undefined
  /** When the first attempt began. */
  readonly startedAtMillis: number
  /** What earlier hops of a redirect chain have taken of the attempt's time. */
  readonly spentMillis: number
}

/** Where and when an attempt begins. */
export interface AttemptOptions {
  readonly alarm: Alarm
  /** The gate that it has a place at. */
  readonly gate: HostGate
  readonly node: TaskNode
  readonly sinks: Set<BodySink>
  readonly nowMillis: number
  /** When all attempts of its call must be done. */
  readonly totalEndsAtMillis: number
}

export class Attempt implements TransportWatch {
  /** What was asked for, before redirects. */
  readonly asked: FetchTarget
  readonly target: FetchTarget
  readonly limits: Limits
  readonly wants: Wants
  readonly denyPrivate: boolean
  readonly gate: HostGate
  readonly node: TaskNode
  /** Sinks of the dispatcher: whatever is in it when that closes is thrown away. */
  readonly sinks: Set<BodySink>
  /** What an earlier attempt has of the body; later, what this one has when it broke off. */
  sink: BodySink | undefined
  readonly startedAtMillis: number
  /** Which of the requests to its host it is. */
  readonly ticket: number
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Another attempt of the same call was first. */
  isLoser = false
  /** Where it is in the list of those under way. */
  index = -1
  bytesReceived = 0
  phase: TransportPhase = "sent"
  /** The deadline that ended it. */
  expired: FetchError | undefined = undefined
  private readonly alarm: Alarm
  /** When its connecting began, without the waits for this side. */
  private connectsFromMillis: number
  private readonly attemptEndsAtMillis: number
  private readonly totalEndsAtMillis: number
  private readonly totalMillis: number
  private phaseEndsAtMillis: number
  private phaseLimit: PhaseLimit = "sent"
  private isHolding = false
  private heldAtMillis = 0
  private queuedAtMillis = Infinity
  private speedEndsAtMillis = Infinity
  private speedFromBytes = 0

  constructor(asked: Asked, { alarm, gate, node, nowMillis, sinks, totalEndsAtMillis }: AttemptOptions) {
    const { limits } = asked
    this.asked = asked.target
    this.target = asked.current
    this.limits = limits
    this.wants = asked.wants
    this.denyPrivate = limits.denyPrivate
    this.gate = gate
    this.node = node
    this.sinks = sinks
    this.sink = asked.sink
    this.startedAtMillis = nowMillis
    this.ticket = gate.started
    this.alarm = alarm
    this.connectsFromMillis = nowMillis
    this.attemptEndsAtMillis = nowMillis + limits.attemptMillis - asked.spentMillis
    this.totalEndsAtMillis = totalEndsAtMillis
    this.totalMillis = Math.round(totalEndsAtMillis - asked.startedAtMillis)
    this.phaseEndsAtMillis = nowMillis + limits.connectMillis + limits.headersMillis
  }

  /** Ends it. */
  interrupt(): void {
    this.fiber?.interruptUnsafe()
  }

  /** When the earliest of its deadlines passes. */
  endsAt(): number {
    const endsAtMillis = Math.min(this.attemptEndsAtMillis, this.totalEndsAtMillis)
    return this.isHolding ? endsAtMillis : Math.min(endsAtMillis, this.phaseEndsAtMillis, this.speedEndsAtMillis)
  }

  enter(phase: TransportPhase): void {
    this.phase = phase
    if (phase === "queue") return this.queue()
    this.unqueue()
    const { connectMillis, dnsMillis, headersMillis, idleMillis, speedOverMillis, tlsMillis } = this.limits
    // DNS, TCP and TLS share one limit, and two of them have one of their own.
    const connectedBy = this.connectsFromMillis + connectMillis
    if (phase === "connect" || phase === "sent") this.phaseIs("connect", connectedBy)
    else {
      const nowMillis = this.alarm.now()
      if (phase === "headers") this.phaseIs("headers", nowMillis + headersMillis)
      else if (phase === "body") {
        this.phaseIs("idle", nowMillis + idleMillis)
        this.speedEndsAtMillis = nowMillis + speedOverMillis
      } else {
        const own = nowMillis + (phase === "dns" ? dnsMillis : tlsMillis)
        this.phaseIs(own < connectedBy ? phase : "connect", Math.min(own, connectedBy))
      }
    }
    this.alarm.scanBy(this.endsAt())
  }

  /** It waits for this side: of its limits only those of the attempt and of the whole go on. */
  private queue(): void {
    if (this.queuedAtMillis === Infinity) this.queuedAtMillis = this.alarm.now()
    this.phaseEndsAtMillis = Infinity
  }

  private unqueue(): void {
    if (this.queuedAtMillis === Infinity) return
    this.connectsFromMillis += this.alarm.now() - this.queuedAtMillis
    this.queuedAtMillis = Infinity
  }

  received(bytes: number): void {
    this.bytesReceived += bytes
    this.phaseEndsAtMillis = this.alarm.now() + this.limits.idleMillis
  }

  /**
   * The body waits for this side (decoding, hashing, a slow disk), or does not any more: its standing still is not the server's doing, and
   * that time counts for no limit of its own.
   */
  hold(isHolding: boolean): void {
    if (this.isHolding === isHolding) return
    this.isHolding = isHolding
    const nowMillis = this.alarm.now()
    if (isHolding) {
      this.heldAtMillis = nowMillis
      return
    }
    this.phaseEndsAtMillis = nowMillis + this.limits.idleMillis
    this.speedEndsAtMillis += nowMillis - this.heldAtMillis
    this.alarm.scanBy(this.endsAt())
  }

  /** Ends it if a deadline has passed. */
  expire(nowMillis: number): void {
    if (this.expired !== undefined || this.endsAt() > nowMillis) return
    this.expired = this.timeout(nowMillis)
    if (this.expired !== undefined) this.interrupt()
  }

  private phaseIs(limit: PhaseLimit, endsAtMillis: number): void {
    this.phaseLimit = limit
    this.phaseEndsAtMillis = endsAtMillis
  }

  private judgeSpeedFrom(nowMillis: number): void {
    this.speedEndsAtMillis = nowMillis + this.limits.speedOverMillis
    this.speedFromBytes = this.bytesReceived
  }

  private timeout(nowMillis: number): FetchError | undefined {
    const { bytesReceived, limits } = this
    const url = Redact.url(this.target.url)
    const of = (limitMillis: number) => ({ url, limitMillis, bytesReceived })
    if (this.totalEndsAtMillis <= nowMillis) return new TotalTimeout(of(this.totalMillis))
    if (this.attemptEndsAtMillis <= nowMillis) return new AttemptTimeout(of(limits.attemptMillis))
    if (this.phaseEndsAtMillis > nowMillis) {
      if (bytesReceived - this.speedFromBytes < limits.speedBytes) {
        const bytesPerSecond = limits.speedBytes / limits.speedOverMillis * 1000
        return new TooSlow({ ...of(limits.speedOverMillis), bytesPerSecond })
      }
      this.judgeSpeedFrom(nowMillis)
      return undefined
    }
    return this.phaseTimeout(of)
  }

  private phaseTimeout(of: (limitMillis: number) => Passed): FetchError {
    const { limits, phaseLimit } = this
    if (phaseLimit === "idle") return new IdleTimeout(of(limits.idleMillis))
    if (phaseLimit === "headers") return new HeadersTimeout(of(limits.headersMillis))
    if (phaseLimit === "sent") return new HeadersTimeout(of(limits.connectMillis + limits.headersMillis))
    if (phaseLimit === "dns") return new DnsTimeout(of(limits.dnsMillis))
    return phaseLimit === "tls"
      ? new TlsTimeout(of(limits.tlsMillis))
      : new ConnectTimeout(of(limits.connectMillis))
  }
}
