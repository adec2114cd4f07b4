/**
 * What all dispatchers of one fetcher share: the client, the gates of the hosts, robots.txt, one timer, and the deadlines of the attempts
 * under way.
 */
import type { Clock, Effect, Fiber, Random } from "effect"
import type * as HttpClient from "effect/http/HttpClient"
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import { HostGates } from "../../../services/fetch/HostGates.ts"
import type { HostView } from "../../../services/fetch/HostView.ts"
import { Alarm } from "../../../services/tasks/Alarm.ts"
import type { Attempt } from "./Attempt.ts"
import type { Now } from "./Call.ts"
import type { Limits } from "./Limits.ts"
import { RobotsCache } from "./RobotsCache.ts"

export interface HubOptions {
  readonly client: HttpClient.HttpClient
  readonly clock: Clock.Clock
  readonly random: Random.Random
  /** Runs the timer. */
  readonly fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
}

export class Hub {
  readonly client: HttpClient.HttpClient
  readonly alarm: Alarm
  readonly robots: RobotsCache
  private readonly gates = new HostGates()
  private readonly clock: Clock.Clock
  private readonly random: Random.Random
  private readonly attempts: Array<Attempt> = []

  constructor({ client, clock, fork, random }: HubOptions) {
    this.client = client
    this.clock = clock
    this.random = random
    this.alarm = new Alarm(clock, fork, (nowMillis) => this.expire(nowMillis))
    this.robots = new RobotsCache(() => this.now())
  }

  now(): Now {
    return { nowMillis: this.alarm.now(), wallMillis: this.wallMillis(), chance: this.chance }
  }

  wallMillis(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  /** The gate of a host. */
  gate(host: string, { forgiveMillis }: Limits): HostGate {
    return this.gates.get(host, forgiveMillis, this.alarm.now())
  }

  /** How the hosts are doing that something is on its way to, or that are shut. */
  hosts(): ReadonlyArray<HostView> {
    const nowMillis = this.alarm.now()
    return Array.from(this.gates.awake(nowMillis), (gate) => gate.view(nowMillis))
  }

  /** Ends the attempt when one of its deadlines passes, until `unwatch`. */
  watch(attempt: Attempt): void {
    attempt.index = this.attempts.push(attempt) - 1
    this.alarm.scanBy(attempt.endsAt())
  }

  unwatch(attempt: Attempt): void {
    const last = this.attempts.pop()
    if (last !== undefined && last !== attempt) {
      this.attempts[attempt.index] = last
      last.index = attempt.index
    }
    if (this.attempts.length === 0) this.alarm.noScan()
  }

  /** Ends the attempts that are due, and says when the next is. */
  private expire(nowMillis: number): number {
    let nextMillis = Infinity
    // A copy: an attempt that is ended leaves the list.
    for (const attempt of this.attempts.slice()) {
      attempt.expire(nowMillis)
      if (attempt.expired === undefined) nextMillis = Math.min(nextMillis, attempt.endsAt())
    }
    return nextMillis
  }

  private readonly chance = (): number => this.random.nextDoubleUnsafe()
}
