/** `serve` as a simulated process: the routes of the API without a socket. What would be a connection is a call through the network. */
import * as NodeHttpPlatform from "@effect/platform-node/NodeHttpPlatform"
import { Duration, Effect, FileSystem, Layer, Path, Schedule } from "effect"
import * as Etag from "effect/http/Etag"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ApiRoutes from "../../../src/layers/http/ApiRoutes.ts"
import { ApiSettings, defaults } from "../../../src/services/http/ApiSettings.ts"
import { Readiness } from "../../../src/services/http/Readiness.ts"
import type { Process } from "../kernel/Process.ts"
import type { Store } from "../levels/Level.ts"

/** What a client sends. */
export interface Request {
  readonly method: "GET" | "POST"
  readonly path: string
  readonly key?: string
  readonly body?: unknown
}

/** What it gets. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly json: Readonly<Record<string, unknown>>
}

type App = (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<HttpServerResponse.HttpServerResponse>

const settings = { ...defaults, deadline: Duration.seconds(10) }

const files = FileSystem.layerNoop({})

/** What does not come up is started again. */
const again = Schedule.spaced("500 millis")

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null

const answerOf = ({ body, headers, status }: HttpServerResponse.HttpServerResponse): Answer => {
  const text = body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : ""
  const json: unknown = text === "" ? {} : JSON.parse(text)
  return { status, headers, json: isRecord(json) ? json : {} }
}

export class ApiServer {
  private app: App | undefined

  /** Starts it; until it is up it takes no requests. */
  constructor(store: Store, process: Process) {
    const routes = ApiRoutes.layer.pipe(
      Layer.provide([store.shop(process), store.fetches(process)]),
      Layer.provide(Layer.succeed(ApiSettings, settings)),
      Layer.provide(Layer.succeed(Readiness, Readiness.of({ problem: Effect.undefined }))),
      // Nothing is served from files.
      Layer.provide([Layer.provide(NodeHttpPlatform.layer, files), Etag.layerWeak, files, Path.layer])
    )
    const serving = Effect.scoped(Effect.gen({ self: this }, function*() {
      const app = yield* HttpRouter.toHttpEffect(routes)
      this.app = (request) =>
        Effect.scoped(app).pipe(Effect.provideService(HttpServerRequest.HttpServerRequest, request), Effect.orDie)
      return yield* Effect.never
    }))
    process.run(Effect.retry(serving, again))
  }

  /** To be run by the server's process; undefined while it is not up. */
  answer({ body, key, method, path }: Request): Effect.Effect<Answer | undefined> {
    return Effect.suspend(() => {
      if (this.app === undefined) return Effect.undefined
      const request = HttpClientRequest.make(method)(`http://localhost${path}`, {
        headers: { host: "localhost", ...(key === undefined ? undefined : { "idempotency-key": key }) },
        ...(body === undefined ? undefined : { body: HttpBody.text(JSON.stringify(body), "application/json") })
      })
      return Effect.map(this.app(HttpServerRequest.fromClientRequest(request)), answerOf)
    })
  }
}
