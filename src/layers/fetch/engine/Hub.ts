/**
 * What all the work of one fetcher shares: its client, the gates of its hosts, one timer, and the list of attempts under way.
 */
import { type Clock, type Effect, type Fiber, type Random, Result } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import { HostGates } from "../../../services/fetch/HostGates.ts"
import { Alarm } from "../../../services/tasks/Alarm.ts"
import type { Attempt } from "./Attempt.ts"
import { acceptEncoding } from "./BodyDecoder.ts"
import type { Now } from "./Call.ts"
import { RobotsCache } from "./RobotsCache.ts"

export class Engine {
  readonly client: HttpClient.HttpClient
  readonly gates = new HostGates()
  readonly alarm: Alarm
  readonly robots: RobotsCache
  private readonly headers = new Map<string, Headers.Headers>()
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
    this.robots = new RobotsCache(() => this.now())
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
  requestOf(
    target: FetchTarget,
    userAgent: string,
    resume: Readonly<Record<string, string>> | undefined
  ): HttpClientRequest.HttpClientRequest {
    const { body, headers, method } = target.request
    let all = this.defaultHeaders(userAgent)
    // A user and password in the URL are what curl sends them as.
    if (target.url.length !== target.origin.length + target.path.length) {
      all = Headers.setAll(all, basicAuth(target.url))
    }
    if (headers !== undefined) all = Headers.setAll(all, headers)
    // What is resumed is counted in bytes as they are stored: no coding may be put on it.
    if (resume !== undefined) all = Headers.setAll(all, { ...resume, "accept-encoding": "identity" })
    return HttpClientRequest.makeWith(
      method ?? "GET",
      target.url,
      HttpClientRequest.empty.urlParams,
      HttpClientRequest.empty.hash,
      all,
      body === undefined ? HttpBody.empty : HttpBody.raw(body)
    )
  }

  /** Sent with every request that does not set them itself. */
  private defaultHeaders(userAgent: string): Headers.Headers {
    const known = this.headers.get(userAgent)
    if (known !== undefined) return known
    if (this.headers.size > 100) this.headers.clear()
    const headers = Headers.fromRecordUnsafe({
      accept: "*/*",
      "accept-encoding": acceptEncoding,
      "user-agent": userAgent
    })
    this.headers.set(userAgent, headers)
    return headers
  }
}

/** RFC 7617, from the user information of a URL. */
const basicAuth = (text: string): Record<string, string> => {
  const { password, username } = new URL(text)
  if (username === "" && password === "") return {}
  const plain = `${decode(username)}:${decode(password)}`
  return { authorization: `Basic ${Buffer.from(plain).toString("base64")}` }
}

const decode = (part: string): string => Result.getOrElse(Result.try(() => decodeURIComponent(part)), () => part)
