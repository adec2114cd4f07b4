/** The contender: `sluice serve` as it is, without workers in its process. Prints its address. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Duration, Effect, Layer, Option } from "effect"
import * as PostgresFrontier from "../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresFetchKeys from "../../src/layers/http/PostgresFetchKeys.ts"
import * as PostgresReadiness from "../../src/layers/http/PostgresReadiness.ts"
import * as Database from "../../src/layers/postgres/Database.ts"
import * as OrdersApp from "../../src/programs/orders/App.ts"
import * as Main from "../../src/programs/process/Main.ts"
import * as Server from "../../src/programs/serve/Server.ts"

const api = Layer.mergeAll(
  OrdersApp.layer,
  PostgresFrontier.layer,
  PostgresFetchKeys.layer,
  PostgresReadiness.layer,
  Server.settings({ publicUrl: Option.none() })
).pipe(Layer.provide(Database.layerConfig()))

Main.run(
  Server.serve(
    { port: 0, host: undefined, sharePort: false, drainDelay: Duration.zero },
    (address) => Console.log(address)
  ).pipe(
    Effect.provide(Layer.merge(api, NodeServices.layer))
  )
)
