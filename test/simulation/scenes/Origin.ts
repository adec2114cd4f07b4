/**
 * The web as a fetch process meets it, on virtual time: hosts that are slow, dead, unknown, that reset connections, cut bodies short,
 * send elsewhere, and those that ask not to be asked for a while. It counts who asks what, and when.
 */
import { Effect, Layer, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Process } from "../kernel/Process.ts"
import type { SeededRandom } from "../kernel/Random.ts"

export const temperaments = [
  "good",
  "slow",
  "dead",
  "refusing",
  "unknown",
  "throttling",
  "flaky",
  "elsewhere"
] as const
export type Temperament = typeof temperaments[number]

interface Host {
  readonly temperament: Temperament
  /** Answers until it asks for a rest. */
  patience: number
  /** Until when it has asked not to be asked. */
  shutUntil: number
}

/** What is promised to a host by each process. */
export interface Politeness {
  readonly perHost: number
  readonly perSecond: number
}

/** One process at one host. */
interface Visitor {
  inFlight: number
  /** When it asked, the last few times. */
  readonly startedAt: Array<number>
  /** Until when it has been told not to ask. */
  shutUntil: number
}

type Answer = Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>

export class Origin {
  requests = 0
  readonly wrong = new Set<string>()
  private readonly kernel: Kernel
  private readonly random: SeededRandom
  private readonly politeness: Politeness
  private readonly hosts = new Map<string, Host>()
  private readonly visitors = new Map<string, Visitor>()
  /** URLs of runs that were told to be done. */
  private readonly done = new Set<string>()
  /** Hosts that a run knows to be shut, and until when. */
  private readonly known = new Map<string, number>()

  constructor(kernel: Kernel, politeness: Politeness) {
    this.kernel = kernel
    this.random = kernel.random.fork()
    this.politeness = politeness
  }

  /** A host that is new. */
  add(name: string, temperament: Temperament): void {
    this.hosts.set(name, { temperament, patience: 4, shutUntil: 0 })
  }

  /**
   * A run has recorded an outcome: what is done is not asked for again, and what it knows of the host is known to whoever works on it
   * next.
   */
  told(run: string, url: string, isDone: boolean, isShut: boolean): void {
    if (isDone) this.done.add(`${run} ${url}`)
    const { host } = new URL(url)
    if (isShut) this.known.set(`${run} ${host}`, this.hosts.get(host)?.shutUntil ?? 0)
  }

  /** The client of a process; what it sends says in `x-run` for which run. */
  client(process: Process, hasRightClock: boolean): Layer.Layer<HttpClient.HttpClient> {
    return Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request, url) =>
        Effect.suspend(() => {
          const visitor = this.visit(process, url, request.headers["x-run"] ?? "", hasRightClock)
          return Effect.onExit(this.answer(request, url, visitor), () =>
            Effect.sync(() => {
              visitor.inFlight--
            }))
        })
      )
    )
  }

  private visit(process: Process, url: URL, run: string, hasRightClock: boolean): Visitor {
    const { nowMillis } = this.kernel
    const { perHost, perSecond } = this.politeness
    const place = `${process.name} ${url.host}`
    const visitor = this.visitors.get(place) ?? { inFlight: 0, startedAt: [], shutUntil: 0 }
    this.visitors.set(place, visitor)
    this.requests++
    this.kernel.trace(`${place} ${url.pathname}`)
    visitor.inFlight++
    visitor.startedAt.push(nowMillis)
    while ((visitor.startedAt[0] ?? nowMillis) <= nowMillis - 1000) visitor.startedAt.shift()
    if (visitor.inFlight > perHost) {
      this.wrong.add(`${place}: ${visitor.inFlight} requests at once, and ${perHost} are promised`)
    }
    // What stood still between the gate and the wire may catch up with what follows.
    if (visitor.startedAt.length > perSecond + 2) {
      this.wrong.add(`${place}: ${visitor.startedAt.length} requests within a second, and ${perSecond} are promised`)
    }
    if (visitor.shutUntil > nowMillis) {
      this.wrong.add(`${place}: asked, and had been told not to for ${visitor.shutUntil - nowMillis} ms more`)
    }
    if (this.done.has(`${run} ${url.href}`)) {
      this.wrong.add(`${process.name} asks for ${url.href}, which is done in ${run}`)
    }
    const shutMillis = (this.known.get(`${run} ${url.host}`) ?? 0) - nowMillis
    if (hasRightClock && shutMillis > 50) {
      this.wrong.add(`${process.name} asks ${url.host}, which ${run} knows to be shut for ${shutMillis} ms more`)
    }
    return visitor
  }

  private answer(request: HttpClientRequest.HttpClientRequest, url: URL, visitor: Visitor): Answer {
    const host = this.hosts.get(url.host)
    const page = url.pathname.slice(1)
    if (host === undefined) return failure(request, "ENOTFOUND")
    const { random } = this
    const soon = Effect.suspend(() => Effect.sleep(5 + random.float() * 150))
    switch (host.temperament) {
      case "good":
        return Effect.andThen(soon, ok(request, page))
      case "slow":
        return random.chance(0.15)
          ? Effect.never
          : Effect.andThen(Effect.sleep(300 + random.float() * 2500), ok(request, page))
      case "dead":
        return Effect.never
      case "refusing":
        return Effect.andThen(soon, failure(request, "ECONNREFUSED"))
      case "unknown":
        return Effect.andThen(soon, failure(request, random.chance(0.7) ? "ENOTFOUND" : "EAI_AGAIN"))
      case "throttling":
        return Effect.andThen(soon, Effect.suspend(() => this.throttled(request, page, host, visitor)))
      case "flaky":
        return Effect.andThen(soon, Effect.suspend(() => flaky(request, page, random)))
      case "elsewhere":
        return Effect.andThen(soon, Effect.suspend(() => this.sentOn(request, url)))
      default:
        return host.temperament satisfies never
    }
  }

  private throttled(
    request: HttpClientRequest.HttpClientRequest,
    page: string,
    host: Host,
    visitor: Visitor
  ): Answer {
    const { kernel: { nowMillis }, random } = this
    if (host.shutUntil <= nowMillis && --host.patience <= 0) {
      host.patience = 2 + random.below(10)
      host.shutUntil = nowMillis + 1000 * (random.chance(0.6) ? 1 + random.below(4) : 8 + random.below(8))
    }
    if (host.shutUntil <= nowMillis) return ok(request, page)
    const seconds = Math.ceil((host.shutUntil - nowMillis) / 1000)
    // It takes a moment to be read, and what is at the gate already goes on.
    this.kernel.after(60, undefined, () => {
      visitor.shutUntil = Math.max(visitor.shutUntil, nowMillis + seconds * 1000 - 60)
    })
    host.shutUntil = nowMillis + seconds * 1000
    return respond(request, random.chance(0.5) ? 503 : 429, "", { "retry-after": String(seconds) })
  }

  private sentOn(request: HttpClientRequest.HttpClientRequest, url: URL): Answer {
    const hops = Number(url.searchParams.get("hop") ?? 0)
    if (hops >= 2) return ok(request, url.pathname.slice(1))
    const location = this.random.chance(0.1) ? url.href : `${url.origin}${url.pathname}?hop=${hops + 1}`
    return respond(request, 302, "", { location })
  }
}

const encoder = new TextEncoder()

const respond = (
  request: HttpClientRequest.HttpClientRequest,
  status: number,
  body: string,
  headers: Record<string, string> = {}
): Answer => Effect.sync(() => withBody(request, status, headers, Stream.succeed(encoder.encode(body))))

/** A body of Effect's own: that of a `Response` would come on promises, past the simulation. */
const withBody = (
  request: HttpClientRequest.HttpClientRequest,
  status: number,
  headers: Record<string, string>,
  stream: Stream.Stream<Uint8Array, HttpClientError.HttpClientError>
): HttpClientResponse.HttpClientResponse =>
  Object.create(HttpClientResponse.fromWeb(request, new Response(null, { status, headers })), {
    stream: { value: stream }
  })

const ok = (request: HttpClientRequest.HttpClientRequest, page: string): Answer =>
  respond(request, 200, `the page ${page}`, { "content-type": "text/plain" })

const errorOf = (request: HttpClientRequest.HttpClientRequest, code: string) =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause: { code } }) })

const failure = (request: HttpClientRequest.HttpClientRequest, code: string): Answer =>
  Effect.fail(errorOf(request, code))

const flaky = (request: HttpClientRequest.HttpClientRequest, page: string, random: SeededRandom): Answer => {
  const luck = random.float()
  if (luck < 0.2) return failure(request, "ECONNRESET")
  if (luck < 0.35) return respond(request, 500, "no")
  if (luck > 0.5) return ok(request, page)
  const cut = Stream.concat(Stream.succeed(encoder.encode("the pa")), Stream.fail(errorOf(request, "ECONNRESET")))
  return Effect.sync(() => withBody(request, 200, { "content-length": "500" }, cut))
}
