/** The API on a real port, on the memory layers or on a database of the test's own, with its workers in the same process. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Duration, Effect, Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as MemoryFrontier from "../../src/layers/fetch/MemoryFrontier.ts"
import * as ApiRoutes from "../../src/layers/http/ApiRoutes.ts"
import * as HttpListener from "../../src/layers/http/HttpListener.ts"
import * as MemoryFetchKeys from "../../src/layers/http/MemoryFetchKeys.ts"
import * as MemoryShop from "../../src/layers/orders/MemoryShop.ts"
import { ApiSettings, defaults, type Settings } from "../../src/services/http/ApiSettings.ts"
import { Readiness } from "../../src/services/http/Readiness.ts"

export const settings: Settings = { ...defaults, deadline: Duration.seconds(10) }

export const memory = Layer.mergeAll(MemoryShop.layer, MemoryFrontier.layer, MemoryFetchKeys.layer)

/** What the API needs besides {@link serve}'s own: of memory, or of a database. */
export type App = Exclude<ApiRoutes.Services, Readiness | ApiSettings>

export const ready = Layer.succeed(Readiness, Readiness.of({ problem: Effect.undefined }))

/** Serves the API of the given services on a free port of the loopback interface, and perhaps further routes. */
export const serve = (
  options: Partial<Settings> = {},
  further: Layer.Layer<never, never, HttpRouter.HttpRouter> = Layer.empty
) =>
  HttpRouter.serve(Layer.merge(ApiRoutes.layer, further), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(Layer.succeed(ApiSettings, { ...settings, ...options })),
    Layer.provideMerge(
      NodeHttpServer.layer(() => HttpListener.make({ ...settings, ...options }.deadline), {
        port: 0,
        host: "127.0.0.1",
        gracefulShutdownTimeout: "1 second",
        websocket: HttpListener.webSocket
      })
    )
  )

/** Where the server of the test listens. */
export const baseUrl = HttpServer.addressFormattedWith((address) => Effect.succeed(address))
