/**
 * The one way of every request, in and out:
 *
 *     request    its id (its own X-Request-Id, or one of ours); its target: a hot route, an address of the router, or nothing that we have
 *        |
 *     refusal    nothing that we have: 404; not open, and the Guard says no: 401, 403; a body that is too large: 413
 *        |
 *     deadline   all that follows ends within it, or 504; a client that leaves interrupts it
 *        |
 *        +--- HotRoutes: orders placed, read, listed ---+
 *        +--- router, builder, handlers ----------------+--- a failure: ProblemOf tells it
 *                                                       |
 *     answer     the request's id on it; counted by RequestMeter, and told to the AccessLog
 */
import { ByteSize, Clock, Context, Duration, Effect, type Layer } from "effect"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { unhandled } from "effect/Types"
import { AccessLog, type Entry } from "../../services/http/AccessLog.ts"
import { ApiSettings, type Settings } from "../../services/http/ApiSettings.ts"
import * as Problem from "../../services/http/Problem.ts"
import * as RequestId from "../../services/http/RequestId.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as Addresses from "./Addresses.ts"
import * as Guard from "./Guard.ts"
import * as HotRoutes from "./HotRoutes.ts"
import * as ProblemOf from "./ProblemOf.ts"
import * as PublicUrl from "./PublicUrl.ts"
import { waitSeconds } from "./RequestHeaders.ts"
import * as RequestMeter from "./RequestMeter.ts"

type Response = HttpServerResponse.HttpServerResponse

/** What a request asks for: a hot route, a route of the router at this address, or nothing that we have. */
interface Target {
  /** Its name for people and counters. */
  readonly route: string
  readonly hot: HotRoutes.HotRoute | undefined
  readonly address: Addresses.Address | undefined
}

/** What the gate works with. */
interface Parts {
  readonly settings: Settings
  readonly hotRouteOf: (request: HttpServerRequest) => HotRoutes.HotRoute | undefined
  readonly count: (route: string, status: number, millis: number) => void
  readonly nextId: () => string
  readonly tell: ((entry: Entry) => void) | undefined
}

/** How long an answer waits, after its deadline, for what is being cancelled: a database that hangs does not even cancel. */
const cleanupGrace = "200 millis"

/** The path of a request, without what it asks there. */
const pathOf = (request: HttpServerRequest): string => request.url.split(/[?#]/, 1)[0] ?? ""

/** What the log of a client says that left before its answer; the number that nginx writes. */
const leftStatus = 499

const idOf = (request: HttpServerRequest, nextId: () => string): string => {
  const given = request.headers["x-request-id"]
  return given !== undefined && RequestId.pattern.test(given) ? given : nextId()
}

const targetOf = (request: HttpServerRequest, hot: HotRoutes.HotRoute | undefined): Target => {
  if (hot !== undefined) return { route: hot.name, hot, address: undefined }
  const address = Addresses.of(request.url)
  return { route: `${request.method} ${address?.route ?? "unknown"}`, hot, address }
}

const bytesOf = ({ body }: Response): number | null => body._tag === "Empty" ? 0 : body.contentLength ?? null

/** What the access log says of a request; of one without a response, that its client has left. */
const entryOf = (
  request: HttpServerRequest,
  { route }: Target,
  { millis, requestId, response, startedAt }: {
    readonly requestId: string
    readonly response: Response | undefined
    readonly startedAt: number
    readonly millis: number
  }
): Entry => ({
  requestId,
  method: request.method,
  path: pathOf(request),
  route,
  status: response?.status ?? leftStatus,
  millis,
  bytes: response === undefined ? 0 : bytesOf(response),
  answeredAt: startedAt + millis
})

const make = ({ count, hotRouteOf, nextId, settings, tell }: Parts) => {
  const guard = Guard.make(settings)
  const maxBody = ByteSize.fromInputUnsafe(settings.maxBodyBytes)
  const baseMillis = Duration.toMillis(settings.deadline)

  const refusalOf = (request: HttpServerRequest, { address, hot }: Target) => {
    if (hot === undefined && address === undefined) return new Problem.NotFound()
    const refusal = address?.isOpen === true ? undefined : guard(request)
    if (refusal !== undefined) return refusal
    return Number(request.headers["content-length"] ?? 0) > settings.maxBodyBytes
      ? new Problem.PayloadTooLarge()
      : undefined
  }

  const withDeadline = (request: HttpServerRequest, route: string, routed: Effect.Effect<Response, unknown>) => {
    const millis = baseMillis + waitSeconds(request.headers["prefer"]) * 1000
    // A client that leaves interrupts its request: whatever it waits for is let go, in the database too.
    const answer = Effect.interruptible(Deadline.within(millis, { name: route, grace: cleanupGrace })(routed))
    // In the live tree by its path, without the query. The hot routes are not: it would be a tenth of a small GET.
    return Tasks.named(() => `${request.method} ${pathOf(request)}`)(answer)
  }

  const routeHot = (request: HttpServerRequest, id: string, hot: HotRoutes.HotRoute) => {
    const routed = hot.answer(request, id)
    return hot.isDeadlineAware && request.headers["prefer"] === undefined
      ? Effect.interruptible(Deadline.marked(baseMillis)(routed))
      : withDeadline(request, hot.name, routed)
  }

  return (router: Effect.Effect<Response, unhandled>): Effect.Effect<Response, unhandled, HttpServerRequest> => {
    const route = (request: HttpServerRequest, id: string, target: Target): Effect.Effect<Response, unknown> => {
      const refusal = refusalOf(request, target)
      if (refusal !== undefined) return ProblemOf.answer(refusal)
      if (target.hot !== undefined) return routeHot(request, id, target.hot)
      return withDeadline(request, target.route, Effect.flatMap(router, ProblemOf.ofResponse)).pipe(
        Effect.provideService(RequestId.RequestId, id),
        Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBody),
        Effect.annotateLogs("requestId", id)
      )
    }
    return Effect.withFiber((fiber) => {
      const request = Context.getUnsafe(fiber.context, HttpServerRequest)
      const clock = fiber.getRef(Clock.Clock)
      const startedAt = clock.currentTimeMillisUnsafe()
      const id = idOf(request, nextId)
      const target = targetOf(request, hotRouteOf(request))
      const close = (response: Response): Effect.Effect<Response> => {
        const millis = clock.currentTimeMillisUnsafe() - startedAt
        count(target.route, response.status, millis)
        tell?.(entryOf(request, target, { requestId: id, response, startedAt, millis }))
        return Effect.succeed(HttpServerResponse.setHeader(response, "x-request-id", id))
      }
      const closed = Effect.matchCauseEffect(route(request, id, target), {
        onSuccess: close,
        onFailure: (cause) =>
          Effect.flatMap(Effect.annotateLogs(ProblemOf.ofCause(request, cause), "requestId", id), close)
      })
      if (tell === undefined) return closed
      return Effect.onInterrupt(closed, () =>
        Effect.sync(() => {
          const millis = clock.currentTimeMillisUnsafe() - startedAt
          tell(entryOf(request, target, { requestId: id, response: undefined, startedAt, millis }))
        }))
    })
  }
}

/** Ids of requests: this server's own name, and a number. A random id for each would cost more than the rest of the gate. */
const makeIds = (server: string) => {
  let count = 0
  return () => `${server}-${(count += 1).toString(36)}`
}

/** Puts the gate before every route, and answers the hot ones. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | ApiSettings | Orders> = HttpRouter.use((router) =>
  Effect.gen(function*() {
    const settings = yield* ApiSettings
    const gate = make({
      settings,
      hotRouteOf: HotRoutes.make(yield* Orders, settings.maxBodyBytes),
      count: RequestMeter.make(yield* Effect.context()),
      tell: yield* AccessLog,
      nextId: makeIds(yield* Uuid.next)
    })
    yield* router.addGlobalMiddleware(PublicUrl.below(settings.publicUrl, gate))
  })
)
