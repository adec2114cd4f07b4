#!/usr/bin/env -S node --min-semi-space-size=16 --max-semi-space-size=16 --heap-growing-percent=10
/**
 * The command line `sluice`: every program under one root. The only place where the whole app is provided and run.
 *
 * The flags (as in `npm start`) keep a run of any length in flat memory: left to itself, V8 lets garbage double the heap before it collects.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, type Stdio } from "effect"
import * as Command from "effect/cli/Command"
import { readFileSync } from "node:fs"
import * as Http1Client from "../../layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../layers/fetch/HttpFetcher.ts"
import * as PostgresFrontier from "../../layers/fetch/PostgresFrontier.ts"
import * as UnrulyOrigin from "../../layers/fetch/UnrulyOrigin.ts"
import * as Database from "../../layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../layers/postgres/EmbeddedPostgres.ts"
import { demo } from "../demo/Command.ts"
import { fetch } from "../fetch/Command.ts"
import { jobs } from "../jobs/Command.ts"
import { migrate } from "../migrate/Command.ts"
import * as OrdersApp from "../orders/App.ts"
import { orders } from "../orders/Command.ts"
import * as ExitCode from "../process/ExitCode.ts"
import * as Logging from "../process/Logging.ts"
import * as Main from "../process/Main.ts"
import { runs } from "../runs/Command.ts"
import { serve } from "../serve/Command.ts"
import { say } from "../terminal/Say.ts"
import { dim } from "../terminal/Style.ts"
import * as Usage from "../terminal/Usage.ts"
import { work } from "../work/Command.ts"
import * as Work from "../work/Crews.ts"
import * as FetchWorker from "../work/FetchWorker.ts"
import * as OrderWorker from "../work/OrderWorker.ts"

const { version }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../../../package.json", import.meta.url), "utf8")
)

const fetcher = HttpFetcher.layer.pipe(Layer.provide(Http1Client.layer()))

const frontier = PostgresFrontier.layerConfig.pipe(Layer.provide(Database.layerConfig()))

const playDemo = Effect.provide(demo, Layer.mergeAll(UnrulyOrigin.layer, fetcher, frontier))

/** Everything that `sluice work` can do; `sluice serve` does the orders and the fetch runs by itself. */
const crews: ReadonlyArray<Work.Crew<OrdersApp.Services | Database.Services>> = [
  Work.demo,
  { name: "orders", worker: (options) => OrderWorker.layer({ concurrency: 5, ...options }) },
  {
    name: "fetches",
    worker: (options) => FetchWorker.layerConfig(options).pipe(Layer.provide([fetcher, PostgresFrontier.layerConfig]))
  }
]

const sluice = Command.make("sluice").pipe(
  Command.withDescription(
    "Pulls very many requests through typed limits, retries and deadlines, keeps what must not be lost in Postgres, and cancels everything it started when it stops. With no command: the demo."
  ),
  Command.withHandler(() => playDemo),
  Command.withSubcommands([
    Command.provide(fetch, Layer.merge(fetcher, frontier)),
    Command.provide(runs, frontier),
    serve,
    work(crews).pipe(Command.provide(OrdersApp.layerConfig)),
    jobs.pipe(Command.provide(Database.layerConfig())),
    orders,
    migrate,
    Command.make("demo", {}, () => playDemo).pipe(
      Command.withDescription("The whole system on a loopback origin that misbehaves on purpose")
    )
  ])
)

/** What takes a moment says so; everything for people goes to standard error. */
const tellProgress = Effect.provideServiceEffect(
  EmbeddedPostgres.Progress,
  Effect.map(Effect.context<Stdio.Stdio>(), (context) => (text: string) => Effect.provide(say([dim(text)]), context))
)

Main.run(
  Command.run(sluice, { version }).pipe(
    tellProgress,
    Effect.provide(Layer.mergeAll(NodeServices.layer, Logging.layer, Usage.layer))
  ),
  {
    exitCode: ExitCode.of,
    describe: ExitCode.describe
  }
)
