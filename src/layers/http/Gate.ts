/**
 * What every request passes: its id, the bearer token, the size of its body, its deadline; and what every answer becomes on the way out: a problem document when it is an
 * error, with the request's id on it.
 */
import { Cause, Clock, Duration, Effect, type Layer, Metric, Redacted } from "effect"
import * as ByteSize from "effect/ByteSize"
import * as HttpApiError from "effect/http-api/HttpApiError"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerError } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as SchemaIssue from "effect/SchemaIssue"
import type { unhandled } from "effect/Types"
import { createHash, timingSafeEqual } from "node:crypto"
import { ApiSettings, type Settings } from "../../services/http/ApiSettings.ts"
import * as Problem from "../../services/http/Problem.ts"
import * as RequestId from "../../services/http/RequestId.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Uuid from "../orders/Uuid.ts"
import * as Addresses from "./Addresses.ts"
import { waitSeconds } from "./OrderHandlers.ts"

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

const isBodyTooLarge = (error: unknown) =>
  error instanceof HttpServerError && error.reason._tag === "RequestParseError" &&
  error.reason.reason === "BodyTooLarge"

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

/** What a request that does not fit its route's schema is told. */
const invalid = (error: HttpApiError.HttpApiSchemaError) => {
  const slot = error.kind.toLowerCase()
  const errors = formatIssues(error.cause.issue).issues.slice(0, 50).map((issue) => ({
    path: [
      slot,
      ...(issue.path ?? []).map((segment) => {
        const key = typeof segment === "object" ? segment.key : segment
        return typeof key === "number" ? key : String(key)
      })
    ],
    message: issue.message.slice(0, 500)
  }))
  const isKeyMissing = error.kind === "Headers" && errors.some(({ path }) => path[1] === "idempotency-key")
  return isKeyMissing
    ? new Problem.IdempotencyKeyMissing()
    : new Problem.InvalidRequest({ detail: "Request validation failed", errors })
}

/** The problem behind a failure; undefined when it is a fault of ours. */
const problemIn = (request: HttpServerRequest, error: unknown) => {
  if (HttpApiError.HttpApiSchemaError.is(error) && error.kind !== "Body" && error.kind !== "ResponseHeaders") {
    return invalid(error)
  }
  if (isBodyTooLarge(error)) return new Problem.PayloadTooLarge()
  if (error instanceof Deadline.DeadlineExceeded) return new Problem.DeadlineExceeded({ detail: error.message })
  if (error instanceof HttpServerError) {
    if (error.reason._tag === "RouteNotFound") {
      const methods = Addresses.methodsOf(request.url)
      // An address and method that we have, and the router does not find: its path does not decode.
      if (methods.includes(request.method)) return new Problem.InvalidRequest({ detail: "the path cannot be read" })
      return methods.length === 0 ? new Problem.NotFound() : new Problem.MethodNotAllowed()
    }
    if (error.reason._tag === "RequestParseError") {
      return new Problem.InvalidRequest({ detail: "the body cannot be read" })
    }
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

const finish = (request: HttpServerRequest, id: string, response: Response): Effect.Effect<Response> => {
  const headers: Record<string, string> = { "x-request-id": id }
  if (response.status === 405) headers["allow"] = Addresses.methodsOf(request.url).join(", ")
  if (response.status === 401) headers["www-authenticate"] = "Bearer"
  if (response.status === 503 || response.status === 409) headers["retry-after"] = "1"
  return Effect.succeed(HttpServerResponse.setHeaders(response, headers))
}

const requests = Metric.counter("sluice_http_requests_total", {
  description: "HTTP requests by route and status",
  incremental: true
})

const latency = Metric.histogram("sluice_http_request_seconds", {
  description: "Time until the answer's head was ready, by route",
  boundaries: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})

/** Series are made once: naming one costs more than counting in it. Bounded by the routes and the statuses there are. */
const seriesOf = <I, S>(metric: Metric.Metric<I, S>) => {
  const known = new Map<string, Metric.Metric<I, S>>()
  return (route: string, status: string): Metric.Metric<I, S> => {
    const key = `${route} ${status}`
    let series = known.get(key)
    if (series === undefined) {
      series = Metric.withAttributes(metric, status === "" ? { route } : { route, status })
      known.set(key, series)
    }
    return series
  }
}

const hotRead = "GET /v1/orders/:id"

const makeGate = (settings: Settings) => {
  const isAllowed = makeGuard(settings)
  const countOf = seriesOf(requests)
  const timeOf = seriesOf(latency)
  const maxBody = ByteSize.fromInputUnsafe(settings.maxBodyBytes)
  const baseMillis = Duration.toMillis(settings.deadline)

  const admit = (request: HttpServerRequest, route: string, next: Effect.Effect<Response, unknown>) => {
    if (request.url.startsWith("/v1") && !isAllowed(request)) {
      return HttpServerRespondable.toResponse(new Problem.Unauthorized())
    }
    if (Number(request.headers["content-length"] ?? 0) > settings.maxBodyBytes) {
      return HttpServerRespondable.toResponse(new Problem.PayloadTooLarge())
    }
    // The hot read has the statement timeout of its pool; a stream has no end to wait for.
    if (route === hotRead || route === "GET /v1/orders/:id/events") return next
    const millis = baseMillis + waitSeconds(request.headers["prefer"]) * 1000
    return Deadline.within(millis, { name: route })(next)
  }

  return (next: Effect.Effect<Response, unhandled>): Effect.Effect<Response, unhandled, HttpServerRequest> =>
    Effect.withFiber((fiber) => {
      const request = fiber.context.mapUnsafe.get(HttpServerRequest.key) as HttpServerRequest
      const clock = fiber.getRef(Clock.Clock)
      const startedAt = clock.currentTimeMillisUnsafe()
      const route = `${request.method} ${Addresses.routeOf(request.url)}`
      const given = request.headers["x-request-id"]
      const id = given !== undefined && RequestId.pattern.test(given) ? Effect.succeed(given) : Uuid.next
      const close = (id: string) => (response: Response) => {
        const context = fiber.context
        // Counted in place: a metric that is updated as an effect costs the hot read more than what it does.
        countOf(route, String(response.status)).updateUnsafe(1, context)
        timeOf(route, "").updateUnsafe((clock.currentTimeMillisUnsafe() - startedAt) / 1000, context)
        return finish(request, id, response)
      }
      const told = (id: string, answer: Effect.Effect<Response, unknown>) =>
        Effect.matchCauseEffect(answer, {
          onSuccess: (response) => {
            const problem = asProblem(response)
            return problem === undefined ? close(id)(response) : Effect.flatMap(problem, close(id))
          },
          onFailure: (cause) => Effect.flatMap(Effect.annotateLogs(recover(request, cause), "requestId", id), close(id))
        })
      return Effect.flatMap(id, (id) => {
        const answer = told(id, admit(request, route, next))
        // The hot read has no body, enqueues nothing, and logs only what is wrong with it.
        if (route === hotRead) return answer
        return answer.pipe(
          Effect.provideService(RequestId.RequestId, id),
          Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBody),
          Effect.annotateLogs("requestId", id)
        )
      })
    })
}

/** Puts the gate before every route. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | ApiSettings> = HttpRouter.use((router) =>
  Effect.flatMap(ApiSettings, (settings) => router.addGlobalMiddleware(makeGate(settings)))
)
