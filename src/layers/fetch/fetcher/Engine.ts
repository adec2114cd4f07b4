/**
 * What all the work of one fetcher shares: its client, the gates of its hosts, one timer, and the list of attempts under way.
 */
import type { Clock, Effect, Fiber, Random } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import { HostGates } from "../../../services/fetch/HostGate.ts"
import { Alarm } from "./Alarm.ts"
import type { Attempt } from "./Attempt.ts"
import { acceptEncoding } from "./BodyDecoder.ts"
import type { Now } from "./Task.ts"

/** Sent with every request that does not set them itself. */
const defaultHeaders = Headers.fromRecordUnsafe({
  accept: "*/*",
  "accept-encoding": acceptEncoding,
  "user-agent": "sluice/0.1"
})

export class Engine {
  readonly client: HttpClient.HttpClient
  readonly gates = new HostGates()
  readonly alarm: Alarm
  private readonly clock: Clock.Clock
  private readonly random: Random.Random
  private readonly attempts: Array<Attempt> = []

  constructor(
    client: HttpClient.HttpClient,
    clock: Clock.Clock,
    random: Random.Random,
    fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  ) {
    this.client = client
    this.clock = clock
    this.random = random
    this.alarm = new Alarm(clock, fork, (nowMillis) => this.scan(nowMillis))
  }

  now(): Now {
    return { nowMillis: this.alarm.now(), wallMillis: this.clock.currentTimeMillisUnsafe(), chance: this.chance }
  }

  wallMillis(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  private readonly chance = (): number => this.random.nextDoubleUnsafe()

  /** Watches the deadlines of an attempt until `left`. */
  entered(attempt: Attempt): void {
    attempt.index = this.attempts.push(attempt) - 1
    this.alarm.scanBy(attempt.endsAt())
  }

  left(attempt: Attempt): void {
    const last = this.attempts.pop()
    if (last !== undefined && last !== attempt) {
      this.attempts[attempt.index] = last
      last.index = attempt.index
    }
    if (this.attempts.length === 0) this.alarm.noScan()
  }

  private scan(nowMillis: number): number {
    let nextMillis = Infinity
    // A copy: an attempt that is ended leaves the list.
    for (const attempt of this.attempts.slice()) {
      attempt.expire(nowMillis)
      if (attempt.expired === undefined) nextMillis = Math.min(nextMillis, attempt.endsAt())
    }
    return nextMillis
  }

  /** The request of a target as the client takes it. */
  requestOf(target: FetchTarget): HttpClientRequest.HttpClientRequest {
    const { body, headers, method } = target.request
    return HttpClientRequest.makeWith(
      method ?? "GET",
      target.url,
      HttpClientRequest.empty.urlParams,
      HttpClientRequest.empty.hash,
      headers === undefined ? defaultHeaders : Headers.setAll(defaultHeaders, headers),
      body === undefined ? HttpBody.empty : HttpBody.raw(body)
    )
  }
}
