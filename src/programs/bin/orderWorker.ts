#!/usr/bin/env node
/** A process that only works on orders: for the demo and for tests that kill it. `sluice work` does this and more. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Config, Console, Duration, Effect, Layer } from "effect"
import * as Database from "../../layers/postgres/Database.ts"
import * as Setting from "../../services/tasks/Setting.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import * as OrdersApp from "../orders/App.ts"
import * as Main from "../process/Main.ts"
import * as OrderWorker from "../work/OrderWorker.ts"

const worker = Layer.unwrap(Effect.gen(function*() {
  const picking = yield* ShortDuration.config("SLUICE_PICKING").pipe(Config.withDefault(Duration.zero))
  const concurrency = yield* Setting.whole("SLUICE_WORKERS", { least: 1, most: 10_000, example: 5 }).pipe(
    Config.withDefault(5)
  )
  // Orders that are picked one by one are taken one by one: what waits in this process cannot be picked by another.
  return OrderWorker.layer({ picking, concurrency, ...(Duration.isZero(picking) ? {} : { maxClaim: concurrency }) })
}))

const program = Layer.launch(
  Layer.effectDiscard(Console.log(JSON.stringify({ ready: true }))).pipe(
    Layer.provide(worker),
    Layer.provide(Layer.provide(OrdersApp.layer, Database.layerConfig()))
  )
)

Main.run(Effect.provide(program, NodeServices.layer))
