/** The contender: `sluice serve` as it is, without workers in its process. Prints its address. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Duration, Effect, Layer } from "effect"
import * as OrdersApp from "../../src/programs/orders/App.ts"
import * as Main from "../../src/programs/process/Main.ts"
import * as Serve from "../../src/programs/serve/Server.ts"

const options = { port: 0, host: undefined, workers: 0, picking: Duration.zero, sharePort: false }

Main.run(
  Serve.serve(options, (address) => Console.log(address)).pipe(
    Effect.provide(Layer.merge(OrdersApp.layerConfig, NodeServices.layer))
  )
)
