/**
 * What every request passes: its id, its address, the guard, the size of its body, its deadline; and what every answer becomes on the way out: a problem document when it is
 * an error, with the request's id on it.
 */
import { Cause, Clock, Context, Duration, Effect, type Layer } from "effect"
import * as ByteSize from "effect/ByteSize"
import * as HttpApiError from "effect/http-api/HttpApiError"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { unhandled } from "effect/Types"
import { ApiSettings, type Settings } from "../../services/http/ApiSettings.ts"
import * as Problem from "../../services/http/Problem.ts"
import * as RequestId from "../../services/http/RequestId.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Uuid from "../orders/Uuid.ts"
import * as Addresses from "./Addresses.ts"
import * as Guard from "./Guard.ts"
import * as HotRoutes from "./HotRoutes.ts"
import * as ProblemOf from "./ProblemOf.ts"
import { waitSeconds } from "./RequestHeaders.ts"
import * as RequestMeter from "./RequestMeter.ts"

type Response = HttpServerResponse.HttpServerResponse

/** The problem behind a failure; undefined when it is a fault of ours. */
const problemIn = (request: HttpServerRequest, error: unknown) => {
  if (HttpApiError.HttpApiSchemaError.is(error) && error.kind !== "Body" && error.kind !== "ResponseHeaders") {
    return ProblemOf.ofSchema(error)
  }
  if (error instanceof Deadline.DeadlineExceeded) return new Problem.DeadlineExceeded({ detail: error.message })
  if (error instanceof HttpServerError) {
    if (error.reason._tag === "RouteNotFound") {
      // An address and method that we have, and the router does not find: its path does not decode.
      return Addresses.of(request.url)?.methods.includes(request.method) === true
        ? new Problem.InvalidRequest({ detail: "the path cannot be read" })
        : new Problem.MethodNotAllowed()
    }
    if (error.reason._tag === "RequestParseError") return ProblemOf.ofBody(error)
  }
  return undefined
}

/** The answer to a failed request. Interruption stays what it is: the client has gone. */
const recover = (request: HttpServerRequest, cause: Cause.Cause<unknown>): Effect.Effect<Response> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  for (const reason of cause.reasons) {
    const error = reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined
    const problem = problemIn(request, error)
    if (problem !== undefined) return HttpServerRespondable.toResponse(problem)
    if (reason._tag === "Fail" && HttpServerRespondable.isRespondable(error)) {
      return HttpServerRespondable.toResponse(error)
    }
  }
  return Effect.andThen(
    Effect.logError(`${request.method} ${Addresses.of(request.url)?.route ?? "unknown"} failed`, cause),
    HttpServerRespondable.toResponse(new Problem.Internal())
  )
}

/** Errors that routes answer without a problem document get one. */
const asProblem = (response: Response): Effect.Effect<Response> | undefined => {
  if (response.status < 400 || response.headers["content-type"] === "application/problem+json") return undefined
  if (response.status === 415) return HttpServerRespondable.toResponse(new Problem.UnsupportedMediaType())
  if (response.status === 413) return HttpServerRespondable.toResponse(new Problem.PayloadTooLarge())
  return undefined
}

/** Whether the same request may succeed soon. Of the conflicts only that of a key whose first request is still under way. */
const mayRetry = ({ body, status }: Response): boolean =>
  status === 503 ||
  status === 409 && body._tag === "Uint8Array" && body.text?.includes(Problem.keyInFlightType) === true

const finish = (request: HttpServerRequest, id: string, response: Response): Effect.Effect<Response> => {
  if (response.status < 400) return Effect.succeed(HttpServerResponse.setHeader(response, "x-request-id", id))
  const headers: Record<string, string> = { "x-request-id": id }
  if (response.status === 405) headers["allow"] = (Addresses.of(request.url)?.methods ?? []).join(", ")
  if (response.status === 401) headers["www-authenticate"] = "Bearer"
  if (mayRetry(response)) headers["retry-after"] = "1"
  return Effect.succeed(HttpServerResponse.setHeaders(response, headers))
}

/** What a request asks for: a hot route, a route of the router at this address, or nothing that we have. */
interface Target {
  /** Its name for people and counters. */
  readonly route: string
  readonly hot: HotRoutes.HotRoute | undefined
  readonly address: Addresses.Address | undefined
}

const targetOf = (
  request: HttpServerRequest,
  hotRouteOf: (request: HttpServerRequest) => HotRoutes.HotRoute | undefined
): Target => {
  const hot = hotRouteOf(request)
  if (hot !== undefined) return { route: hot.name, hot, address: undefined }
  const address = Addresses.of(request.url)
  return { route: `${request.method} ${address?.route ?? "unknown"}`, hot, address }
}

/** How long an answer waits, after its deadline, for what is being cancelled: a database that hangs does not even cancel. */
const cleanupGrace = "200 millis"

const makeGate = (
  settings: Settings,
  hotRouteOf: (request: HttpServerRequest) => HotRoutes.HotRoute | undefined,
  observe: (route: string, status: number, millis: number) => void,
  nextId: () => string
) => {
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

  const withDeadline = (request: HttpServerRequest, route: string, next: Effect.Effect<Response, unknown>) => {
    const millis = baseMillis + waitSeconds(request.headers["prefer"]) * 1000
    // A client that leaves interrupts its request: whatever it waits for is let go, in the database too.
    return Effect.interruptible(Deadline.within(millis, { name: route, grace: cleanupGrace })(next))
  }

  const answer = (
    request: HttpServerRequest,
    id: string,
    target: Target,
    next: Effect.Effect<Response, unhandled>
  ): Effect.Effect<Response, unknown> => {
    const refusal = refusalOf(request, target)
    if (refusal !== undefined) return HttpServerRespondable.toResponse(refusal)
    const { hot, route } = target
    if (hot !== undefined) {
      const told = hot.answer(request, id)
      return hot.heedsDeadline && request.headers["prefer"] === undefined
        ? Effect.interruptible(Deadline.marked(baseMillis)(told))
        : withDeadline(request, route, told)
    }
    return withDeadline(request, route, next).pipe(
      Effect.provideService(RequestId.RequestId, id),
      Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBody),
      Effect.annotateLogs("requestId", id)
    )
  }

  return (next: Effect.Effect<Response, unhandled>): Effect.Effect<Response, unhandled, HttpServerRequest> =>
    Effect.withFiber((fiber) => {
      const request = Context.getUnsafe(fiber.context, HttpServerRequest)
      const clock = fiber.getRef(Clock.Clock)
      const startedAt = clock.currentTimeMillisUnsafe()
      const target = targetOf(request, hotRouteOf)
      const given = request.headers["x-request-id"]
      const id = given !== undefined && RequestId.pattern.test(given) ? given : nextId()
      const close = (response: Response) => {
        observe(target.route, response.status, clock.currentTimeMillisUnsafe() - startedAt)
        return finish(request, id, response)
      }
      return Effect.matchCauseEffect(answer(request, id, target, next), {
        onSuccess: (response) => {
          const problem = asProblem(response)
          return problem === undefined ? close(response) : Effect.flatMap(problem, close)
        },
        onFailure: (cause) => Effect.flatMap(Effect.annotateLogs(recover(request, cause), "requestId", id), close)
      })
    })
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
    const hotRouteOf = HotRoutes.make(yield* Orders, settings.maxBodyBytes)
    const observe = RequestMeter.make(yield* Effect.context())
    yield* router.addGlobalMiddleware(makeGate(settings, hotRouteOf, observe, makeIds(yield* Uuid.next)))
  })
)
