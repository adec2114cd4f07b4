/** `sluice serve`: the HTTP API, with its order workers in the same process. */
import { Duration, Effect, Option, Schema } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { AccessLog } from "../../services/http/AccessLog.ts"
import { ApiSettings } from "../../services/http/ApiSettings.ts"
import { ShortDuration } from "../../services/tasks/ShortDuration.ts"
import * as Logging from "../process/Logging.ts"
import * as Place from "../process/Place.ts"
import { listen } from "../work/ListenFlag.ts"
import * as Server from "./Server.ts"

const whole = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const flags = {
  port: Flag.Int("port").pipe(
    Flag.withAlias("p"),
    Flag.withDescription("the port to listen on; 0 takes a free one (default: PORT, else 3000)"),
    Flag.withSchema(whole(0, 65_535)),
    Flag.optional
  ),
  host: Flag.String("host").pipe(
    Flag.withDescription("the address to listen on; more than loopback needs SLUICE_API_TOKEN"),
    Flag.optional
  ),
  workers: Flag.Int("workers").pipe(
    Flag.withDescription("orders that are charged and shipped at the same time; 0 for none in this process"),
    Flag.withSchema(whole(0, 10_000)),
    Flag.withDefault(5)
  ),
  picking: Flag.String("picking").pipe(
    Flag.withDescription("how long picking one order takes, like 500ms"),
    Flag.withSchema(ShortDuration),
    Flag.withDefault(Duration.zero)
  ),
  sharePort: Flag.Boolean("share-port").pipe(
    Flag.withDescription("let further processes listen on the same port, one for each core, say (not on macOS)"),
    Flag.withDefault(false)
  ),
  drainDelay: Flag.String("drain-delay").pipe(
    Flag.withDescription(
      "how long to go on serving after SIGTERM, with /readyz failing (default: SLUICE_DRAIN_DELAY, else 0 at a terminal, 5s elsewhere)"
    ),
    Flag.withSchema(ShortDuration),
    Flag.optional
  ),
  accessLog: Flag.Boolean("access-log").pipe(
    Flag.withDescription("write a line for each request on standard error (default: SLUICE_ACCESS_LOG, else not)"),
    Flag.optional
  ),
  publicUrl: Flag.String("public-url").pipe(
    Flag.withDescription(
      "where people and clients reach the server, like https://example.com/shop (default: SLUICE_PUBLIC_URL, else where a request came to)"
    ),
    Flag.withSchema(Server.PublicUrl),
    Flag.optional
  ),
  listen
}

/** Says where it listens, and what with: a container without its secret is to be seen on its first line. */
const announced = (
  address: string,
  { drainDelay, workers }: { readonly workers: number; readonly drainDelay: Duration.Duration }
) =>
  Effect.gen(function*() {
    const { connections, database } = yield* Place.here
    const hasToken = (yield* ApiSettings).token !== undefined
    const crew = workers === 0 ? "no workers here" : `${workers} order workers`
    const token = hasToken ? "token needed" : "no token: programs of this machine only"
    yield* Logging.announce(
      [
        `listening on ${address}  (API: ${address}/docs, ready: ${address}/readyz)`,
        `  database ${database}, pool of ${connections}; ${crew}; ${token}; drain delay ${Duration.format(drainDelay)}`
      ],
      { address, database, connections, workers, hasToken, drainDelayMillis: Duration.toMillis(drainDelay) }
    )
  })

/** `sluice serve`. */
export const serve = Command.make(
  "serve",
  flags,
  ({ accessLog, drainDelay, host, port, sharePort, workers }) =>
    Effect.gen(function*() {
      const fallback = {
        port: yield* Server.portConfig,
        drainDelay: yield* Server.drainDelayConfig,
        accessLog: yield* Server.accessLogConfig
      }
      const options = {
        port: Option.getOrElse(port, () => fallback.port),
        host: Option.getOrUndefined(host),
        sharePort,
        drainDelay: Option.getOrElse(drainDelay, () => fallback.drainDelay)
      }
      const serving = Server.serve(
        options,
        (address) => announced(address, { workers, drainDelay: options.drainDelay })
      )
      return yield* Option.getOrElse(accessLog, () => fallback.accessLog)
        ? Effect.provideServiceEffect(serving, AccessLog, Logging.access)
        : serving
    })
).pipe(
  Command.withDescription("The HTTP API and, unless told otherwise, order workers in the same process")
)
