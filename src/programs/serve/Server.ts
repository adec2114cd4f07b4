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
  SchemaTransformation,
  Stdio
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
import { Outage } from "../../services/postgres/Outage.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as Setting from "../../services/tasks/Setting.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import * as ShortSize from "../../services/tasks/ShortSize.ts"
import * as Shutdown from "../../services/tasks/Shutdown.ts"
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
  /** How long it goes on serving after it was told to stop, with `/readyz` failing: what whoever sends it requests needs to notice. */
  readonly drainDelay: Duration.Duration
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

/** An empty one is a secret that went missing, and no wish for a server without a token. */
const tokenConfig = Effect.gen(function*() {
  const name = "SLUICE_API_TOKEN"
  const expected = "a token; unset it for a server that only its own machine reaches"
  if (yield* Setting.isEmpty(name)) return yield* Effect.fail(Setting.wrong(name, "", expected))
  const read = Setting.read(name, expected, (text) => text.trim() === "" ? undefined : Redacted.make(text))
  return Option.getOrUndefined(yield* Config.option(read))
})

const publicUrlForm = "an address like https://example.com or https://example.com/shop"

/** An address of this server as people outside of it know it; `undefined` for one with a query, a fragment or a user. */
const parsePublicUrl = (text: string): string | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url !== undefined && /^https?:$/.test(url.protocol) &&
    url.search + url.hash + url.username + url.password === ""
  return isPlain ? text.replace(/\/+$/, "") : undefined
}

/** The same as a schema: without a slash at its end. */
export const PublicUrl = Schema.String.check(
  Schema.makeFilter((text: string) => parsePublicUrl(text) !== undefined, { expected: publicUrlForm })
).pipe(Schema.decodeTo(
  Schema.String,
  SchemaTransformation.transform({ decode: (text) => parsePublicUrl(text) ?? text, encode: (text) => text })
))

const publicUrlConfig = Setting.read("SLUICE_PUBLIC_URL", publicUrlForm, parsePublicUrl).pipe(
  Config.option,
  Config.map(Option.getOrUndefined)
)

const connectionsConfig = Config.all({
  max: Setting.whole("SLUICE_MAX_STREAMS", { least: 1, most: 1_000_000, example: 2000 }).pipe(
    Config.withDefault(LongConnections.defaults.max)
  ),
  maxPerClient: Setting.whole("SLUICE_MAX_STREAMS_PER_CLIENT", { least: 1, most: 1_000_000, example: 200 }).pipe(
    Config.withDefault(LongConnections.defaults.maxPerClient)
  )
}).pipe(Config.map((limits) => ({ ...LongConnections.defaults, ...limits })))

/** How the API treats requests, as the command line and the environment say. */
export const settings = (
  given: { readonly publicUrl: Option.Option<string> }
): Layer.Layer<ApiSettings, Config.ConfigError> =>
  Layer.effect(
    ApiSettings,
    Effect.all({
      token: tokenConfig,
      deadline: ShortDuration.config("SLUICE_REQUEST_DEADLINE").pipe(Config.withDefault(Duration.seconds(30))),
      maxBodyBytes: ShortSize.configBytes("SLUICE_MAX_BODY_BYTES").pipe(Config.withDefault(65_536)),
      publicUrl: Option.match(given.publicUrl, { onNone: () => publicUrlConfig, onSome: Effect.succeed }),
      connections: connectionsConfig
    })
  )

/** The port when the command line names none. */
export const portConfig = Setting.whole("PORT", { least: 0, most: 65_535, example: 3000 }).pipe(
  Config.withDefault(3000)
)

/** The drain delay when the command line names none: at a terminal none, so that Ctrl-C is quick. */
export const drainDelayConfig: Effect.Effect<Duration.Duration, Config.ConfigError, Stdio.Stdio> = Effect.gen(
  function*() {
    const given = yield* Config.option(ShortDuration.config("SLUICE_DRAIN_DELAY"))
    const stdio = yield* Stdio.Stdio
    const isAtTerminal = yield* stdio.stderrIsTerminal
    return Option.getOrElse(given, () => isAtTerminal ? Duration.zero : Duration.seconds(5))
  }
)

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

/** Whether each request is logged when the command line does not say. */
export const accessLogConfig = Setting.toggle("SLUICE_ACCESS_LOG").pipe(Config.withDefault(false))

/** A connection that was quiet for so long is closed when the server leaves, or sooner when its delay is shorter. */
const quietMax = Duration.seconds(1)

/** Leaves as its clients need it: see {@link HttpListener}. What still runs on its connections has the grace of the shutdown. */
const leaving = (listener: HttpListener.HttpListener, { drainDelay }: Options) =>
  Effect.andThen(
    Shutdown.goOnFor(drainDelay),
    Shutdown.onDrain("http", listener.leave(Duration.min(quietMax, drainDelay)))
  )

const server = (options: Options) =>
  Layer.unwrap(Effect.gen(function*() {
    const { deadline, token } = yield* ApiSettings
    const host = options.host ?? (token === undefined ? "127.0.0.1" : "0.0.0.0")
    if (token === undefined && !loopback.has(host)) return yield* new HostNeedsToken({ host })
    const listener = HttpListener.make(deadline)
    const listening = NodeHttpServer.layer(() => listener, {
      port: options.port,
      host,
      reusePort: options.sharePort,
      gracefulShutdownTimeout: "10 seconds",
      websocket: HttpListener.webSocket
    })
    return Layer.provideMerge(Layer.effectDiscard(leaving(listener, options)), explained(listening, host, options.port))
  }))

/** Pending transfers whose time is over are looked for every few seconds; several processes may do so. */
const expiry = Layer.effectDiscard(Effect.gen(function*() {
  const ledger = yield* Ledger
  const outage = new Outage("pending transfers do not expire")
  yield* Effect.matchEffect(ledger.expireDue, {
    onFailure: (error) => outage.failed("expiring transfers", error),
    onSuccess: () => outage.worked
  }).pipe(
    Effect.delay("5 seconds"),
    Effect.forever,
    Effect.ensuring(Effect.sync(() => outage.forget())),
    Tasks.named("expiry of pending transfers"),
    Effect.forkScoped
  )
}))

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
