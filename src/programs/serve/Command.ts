/** `sluice serve`: the HTTP API, with its order workers in the same process. */
import { Console, Duration, Effect, Option, Schema } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { ShortDuration } from "../../services/tasks/ShortDuration.ts"
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
  publicUrl: Flag.String("public-url").pipe(
    Flag.withDescription(
      "where people and clients reach the server, like https://example.com/shop (default: SLUICE_PUBLIC_URL, else where a request came to)"
    ),
    Flag.withSchema(Server.PublicUrl),
    Flag.optional
  ),
  listen
}

/** `sluice serve`. */
export const serve = Command.make("serve", flags, ({ host, port, sharePort }) =>
  Effect.gen(function*() {
    const fallback = yield* Server.portConfig
    return yield* Server.serve(
      { port: Option.getOrElse(port, () => fallback), host: Option.getOrUndefined(host), sharePort },
      (address) => Console.error(`listening on ${address}  (API: ${address}/docs, ready: ${address}/readyz)`)
    )
  })).pipe(
    Command.withDescription("The HTTP API and, unless told otherwise, order workers in the same process")
  )
