/**
 * What every request passes: its id, the bearer token, the size of its body, its deadline; and what every answer becomes on the way out: a problem document when it is an
 * error, with the request's id on it.
 */
import { Cause, Clock, Context, Duration, Effect, type Layer, Redacted } from "effect"
import * as ByteSize from "effect/ByteSize"
import * as HttpApiError from "effect/http-api/HttpApiError"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { unhandled } from "effect/Types"
import { createHash, timingSafeEqual } from "node:crypto"
import { ApiSettings, type Settings } from "../../services/http/ApiSettings.ts"
import * as Problem from "../../services/http/Problem.ts"
import * as RequestId from "../../services/http/RequestId.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Uuid from "../orders/Uuid.ts"
import * as Addresses from "./Addresses.ts"
import * as HotRoutes from "./HotRoutes.ts"
import * as Problems from "./Problems.ts"
import { waitSeconds } from "./RequestHeaders.ts"
import * as RequestMeter from "./RequestMeter.ts"

type Response = HttpServerResponse.HttpServerResponse

const digest = (text: string) => createHash("sha256").update(text).digest()

const bearer = /^bearer +(\S+)\s*$/i

/** Names that reach only this machine; a page elsewhere whose name was bent to 127.0.0.1 sends its own. */
const loopbackHost = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

/** Whether the request may use `/v1`. */
const makeGuard = ({ token }: Settings) => {
  if (token === undefined) return (request: HttpServerRequest) => loopbackHost.test(request.headers["host"] ?? "")
  const expected = digest(Redacted.value(token))
  return (request: HttpServerRequest) => {
    const given = bearer.exec(request.headers["authorization"] ?? "")?.[1]
    return given !== undefined && timingSafeEqual(digest(given), expected)
  }
}

/** The problem behind a failure; undefined when it is a fault of ours. */
const problemIn = (request: HttpServerRequest, error: unknown) => {
  if (HttpApiError.HttpApiSchemaError.is(error) && error.kind !== "Body" && error.kind !== "ResponseHeaders") {
    return Problems.ofSchema(error)
  }
  if (error instanceof Deadline.DeadlineExceeded) return new Problem.DeadlineExceeded({ detail: error.message })
  if (error instanceof HttpServerError) {
    if (error.reason._tag === "RouteNotFound") {
      const methods = Addresses.methodsOf(request.url)
      // An address and method that we have, and the router does not find: its path does not decode.
      if (methods.includes(request.method)) return new Problem.InvalidRequest({ detail: "the path cannot be read" })
      return methods.length === 0 ? new Problem.NotFound() : new Problem.MethodNotAllowed()
    }
    if (error.reason._tag === "RequestParseError") return Problems.ofBody(error)
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
    Effect.logError(`${request.method} ${Addresses.routeOf(request.url)} failed`, cause),
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
  if (response.status === 405) headers["allow"] = Addresses.methodsOf(request.url).join(", ")
  if (response.status === 401) headers["www-authenticate"] = "Bearer"
  if (mayRetry(response)) headers["retry-after"] = "1"
  return Effect.succeed(HttpServerResponse.setHeaders(response, headers))
}

const isStream = (route: string) => route === "GET /v1/orders/:id/events"

const makeGate = (
  settings: Settings,
  hotRouteOf: (request: HttpServerRequest) => HotRoutes.HotRoute | undefined,
  observe: (route: string, status: number, millis: number) => void,
  nextId: () => string
) => {
  const isAllowed = makeGuard(settings)
  const maxBody = ByteSize.fromInputUnsafe(settings.maxBodyBytes)
  const baseMillis = Duration.toMillis(settings.deadline)

  const refusalOf = (request: HttpServerRequest) => {
    if (request.url.startsWith("/v1") && !isAllowed(request)) return new Problem.Unauthorized()
    return Number(request.headers["content-length"] ?? 0) > settings.maxBodyBytes
      ? new Problem.PayloadTooLarge()
      : undefined
  }

  const withDeadline = (request: HttpServerRequest, route: string, next: Effect.Effect<Response, unknown>) => {
    const millis = baseMillis + waitSeconds(request.headers["prefer"]) * 1000
    return Deadline.within(millis, { name: route })(next)
  }

  const answer = (
    request: HttpServerRequest,
    id: string,
    hot: HotRoutes.HotRoute | undefined,
    route: string,
    next: Effect.Effect<Response, unhandled>
  ): Effect.Effect<Response, unknown> => {
    const refusal = refusalOf(request)
    if (refusal !== undefined) return HttpServerRespondable.toResponse(refusal)
    if (hot !== undefined) {
      const told = hot.answer(request, id)
      return hot.heedsDeadline && request.headers["prefer"] === undefined
        ? Effect.interruptible(Deadline.marked(baseMillis)(told))
        : withDeadline(request, route, told)
    }
    return (isStream(route) ? next : withDeadline(request, route, next)).pipe(
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
      const hot = hotRouteOf(request)
      const route = hot?.name ?? `${request.method} ${Addresses.routeOf(request.url)}`
      const given = request.headers["x-request-id"]
      const id = given !== undefined && RequestId.pattern.test(given) ? given : nextId()
      const close = (response: Response) => {
        observe(route, response.status, clock.currentTimeMillisUnsafe() - startedAt)
        return finish(request, id, response)
      }
      return Effect.matchCauseEffect(answer(request, id, hot, route, next), {
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
