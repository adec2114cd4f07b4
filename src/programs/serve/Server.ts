/** The API server of `sluice serve`, and the workers that it has in its process unless told otherwise. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import {
  Config,
  type Context,
  Duration,
  Effect,
  Layer,
  Option,
  Predicate,
  Redacted,
  Runtime,
  Schema,
  SchemaTransformation
} from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import * as ApiRoutes from "../../layers/http/ApiRoutes.ts"
import * as HttpListener from "../../layers/http/HttpListener.ts"
import { ApiSettings } from "../../services/http/ApiSettings.ts"
import * as LongConnections from "../../services/http/LongConnections.ts"
import { ServedWorkers } from "../../services/http/ServedWorkers.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import { Ledger } from "../../services/orders/Ledger.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as HeapPace from "../process/HeapPace.ts"
import * as Crews from "../work/Crews.ts"

/** Where to listen. */
export interface Options {
  /** 0 takes a free one. */
  readonly port: number
  /** The address to listen on; loopback when there is no token. */
  readonly host: string | undefined
  /** Whether further processes may listen on the same port: the kernel deals the connections out among them (SO_REUSEPORT). */
  readonly sharePort: boolean
}

/** A server without a token must not be reachable from elsewhere. */
export class HostNeedsToken extends Schema.TaggedError<HostNeedsToken>()("HostNeedsToken", { host: Schema.String }) {
  override get message(): string {
    return `listening on ${this.host} needs SLUICE_API_TOKEN: without it anybody who reaches the port may move money`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** What a listen error means to who runs the server; by its code, as Node and libuv name them. */
const listenAdvice: Record<string, string> = {
  EADDRINUSE: "another program listens there, and not each of the two was started with --share-port",
  EACCES: "this user may not listen there; ports below 1024 are privileged",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "there is no host of that name",
  ENOTSUP: "this system cannot share a port (SO_REUSEPORT with load balancing): leave out --share-port"
}

/** The address cannot be listened on. */
export class CannotListen extends Schema.TaggedError<CannotListen>()("CannotListen", {
  host: Schema.String,
  port: Schema.Int,
  /** The system's name of the reason, such as EADDRINUSE. */
  code: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const address = this.host.includes(":") ? `[${this.host}]:${this.port}` : `${this.host}:${this.port}`
    const why = listenAdvice[this.code] ?? (this.cause instanceof Error ? this.cause.message : this.code)
    return `cannot listen on ${address}: ${why} (${this.code})`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

const codeOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : "unknown"

/** An address of this server as people outside of it know it: without a query, a user or a slash at its end. */
export const PublicUrl = Schema.String.check(
  Schema.makeFilter((text: string) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    return url !== undefined && /^https?:$/.test(url.protocol) &&
      url.search + url.hash + url.username + url.password === ""
  }, { expected: "an address like https://example.com or https://example.com/shop" })
).pipe(Schema.decodeTo(
  Schema.String,
  SchemaTransformation.transform({
    decode: (text) => text.replace(/\/+$/, ""),
    encode: (text) => text
  })
))

const publicUrlConfig = Config.schema(PublicUrl, "SLUICE_PUBLIC_URL").pipe(
  Config.option,
  Config.map(Option.getOrUndefined)
)

const place = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))

const connectionsConfig = Config.all({
  max: Config.schema(place, "SLUICE_MAX_STREAMS").pipe(Config.withDefault(LongConnections.defaults.max)),
  maxPerClient: Config.schema(place, "SLUICE_MAX_STREAMS_PER_CLIENT").pipe(
    Config.withDefault(LongConnections.defaults.maxPerClient)
  )
}).pipe(Config.map((limits) => ({ ...LongConnections.defaults, ...limits })))

/** How the API treats requests, as the command line and the environment say. */
export const settings = (
  given: { readonly publicUrl: Option.Option<string> }
): Layer.Layer<ApiSettings, Config.ConfigError> =>
  Layer.effect(
    ApiSettings,
    Config.all({
      token: Config.option(Config.Redacted("SLUICE_API_TOKEN")).pipe(
        Config.map((token) =>
          Option.getOrUndefined(Option.filter(token, (value) => Redacted.value(value).trim() !== ""))
        )
      ),
      deadline: ShortDuration.config("SLUICE_REQUEST_DEADLINE").pipe(Config.withDefault(Duration.seconds(30))),
      maxBodyBytes: Config.Int("SLUICE_MAX_BODY_BYTES").pipe(Config.withDefault(65_536)),
      publicUrl: Option.match(given.publicUrl, { onNone: () => publicUrlConfig, onSome: Config.succeed }),
      connections: connectionsConfig
    })
  )

/** The port when the command line names none. */
export const portConfig = Config.Port("PORT").pipe(Config.withDefault(3000))

const loopback = new Set(["127.0.0.1", "::1", "localhost"])

const explained = <A, R>(
  listening: Layer.Layer<A, ServeError, R>,
  host: string,
  port: number
): Layer.Layer<A, CannotListen, R> =>
  Layer.catchTag(listening, "ServeError", ({ cause }) => {
    const failure: Effect.Effect<Context.Context<A>, CannotListen> = new CannotListen({
      host,
      port,
      code: codeOf(cause),
      cause
    })
    return Layer.effectContext(failure)
  })

const server = (options: Options) =>
  Layer.unwrap(Effect.gen(function*() {
    const { deadline, token } = yield* ApiSettings
    const host = options.host ?? (token === undefined ? "127.0.0.1" : "0.0.0.0")
    if (token === undefined && !loopback.has(host)) return yield* new HostNeedsToken({ host })
    const listening = NodeHttpServer.layer(() => HttpListener.make(deadline), {
      port: options.port,
      host,
      reusePort: options.sharePort,
      gracefulShutdownTimeout: "10 seconds",
      websocket: HttpListener.webSocket
    })
    return explained(listening, host, options.port)
  }))

/** Pending transfers whose time is over are looked for every few seconds; several processes may do so. */
const expiry = Layer.effectDiscard(Effect.flatMap(Ledger, (ledger) =>
  ledger.expireDue.pipe(
    Effect.catchTag("OrdersStoreError", (error) => Effect.logDebug("cannot expire transfers now", error)),
    Effect.delay("5 seconds"),
    Effect.forever,
    Tasks.named("expiry of pending transfers"),
    Effect.forkScoped
  )))

/** Which of this process's workers serve the API: orders, and the fetch runs that came over it. */
export interface Workers {
  /** Orders that are charged and shipped at the same time; 0 leaves all work to `sluice work`. */
  readonly workers: number
  /** How long picking one order takes. */
  readonly picking: Duration.Duration
}

/** Starts them. */
export const workers = (
  { picking, workers }: Workers
): Layer.Layer<ServedWorkers, JobQueueError | Config.ConfigError, Crews.Services> =>
  Layer.effect(
    ServedWorkers,
    Crews.start(workers === 0 ? {} : { orders: { concurrency: workers, picking }, fetches: {} })
  )

/** Serves the API until it is interrupted; `onListen` is told the address. */
export const serve = Effect.fnUntraced(function*<E, R>(
  options: Options,
  onListen: (address: string) => Effect.Effect<void, E, R>
) {
  yield* HeapPace.relaxed
  const api = HttpRouter.serve(ApiRoutes.layer, { disableLogger: true, disableListenLog: true })
  return yield* HttpServer.addressFormattedWith(onListen).pipe(
    Effect.andThen(Effect.never),
    Effect.provide(Layer.merge(api, expiry).pipe(Layer.provideMerge(server(options))))
  )
})
