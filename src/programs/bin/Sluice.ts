/**
 * The command line `sluice`: every command with what it needs. The only place where layers of the whole app are provided.
 */
import { Effect, Layer, Option } from "effect"
import * as Command from "effect/cli/Command"
import * as FileBodyStore from "../../layers/fetch/FileBodyStore.ts"
import * as Http1Client from "../../layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../layers/fetch/HttpFetcher.ts"
import * as MemoryFrontier from "../../layers/fetch/MemoryFrontier.ts"
import * as PostgresFrontier from "../../layers/fetch/PostgresFrontier.ts"
import * as UnrulyOrigin from "../../layers/fetch/UnrulyOrigin.ts"
import * as PostgresFetchKeys from "../../layers/http/PostgresFetchKeys.ts"
import * as PostgresReadiness from "../../layers/http/PostgresReadiness.ts"
import * as WorkerReadiness from "../../layers/http/WorkerReadiness.ts"
import * as PostgresJobQueue from "../../layers/jobs/PostgresJobQueue.ts"
import * as Database from "../../layers/postgres/Database.ts"
import * as Demo from "../demo/Command.ts"
import * as Fetch from "../fetch/Command.ts"
import type { Values } from "../fetch/Flags.ts"
import * as Jobs from "../jobs/Command.ts"
import * as Migrate from "../migrate/Command.ts"
import * as OrdersApp from "../orders/App.ts"
import * as Orders from "../orders/Command.ts"
import * as LoopWatch from "../process/LoopWatch.ts"
import * as Runs from "../runs/Command.ts"
import * as Serve from "../serve/Command.ts"
import * as Server from "../serve/Server.ts"
import * as Work from "../work/Command.ts"
import * as Retention from "../work/Retention.ts"

const database = Database.layerConfig()
const fetcher = Layer.provide(HttpFetcher.layer, Http1Client.layer())
const frontier = Layer.provide(PostgresFrontier.layerConfig, database)
const shop = Layer.provide(OrdersApp.layer, database)

/** What crews work with. */
const workplace = ({ listen }: { readonly listen: boolean }) =>
  Layer.mergeAll(OrdersApp.layerWith({ listen }), fetcher, Retention.layer).pipe(
    Layer.provideMerge(PostgresFrontier.layerConfig),
    Layer.provideMerge(database)
  )

/** What the API answers from, and the workers of its process. */
const api = (options: Server.Workers & { readonly listen: boolean; readonly publicUrl: Option.Option<string> }) =>
  Layer.mergeAll(
    Layer.provide(WorkerReadiness.layer, [PostgresReadiness.layer, Server.workers(options)]),
    PostgresFetchKeys.layer,
    Server.settings(options)
  ).pipe(Layer.provideMerge(workplace(options)))

/** A dry run that has no run to look at needs no database. */
const runsOf = ({ dryRun, run }: Values) => dryRun && Option.isNone(run) ? MemoryFrontier.layer : frontier
const fetch = Fetch.fetch.pipe(
  Command.provide((values) => Layer.mergeAll(fetcher, runsOf(values), FileBodyStore.layerStores, LoopWatch.layer))
)
const serve = Serve.serve.pipe(Command.provide((values) => Layer.merge(api(values), LoopWatch.layer)))
const work = Work.work.pipe(Command.provide((values) => Layer.merge(workplace(values), LoopWatch.layer)))
const jobs = Command.provide(Jobs.jobs, Layer.provide(PostgresJobQueue.layer, database))
const orders = Orders.orders.pipe(
  Command.withSubcommands([
    Command.provide(Orders.seed, shop),
    Command.provide(Orders.load, Http1Client.layer()),
    Command.provide(Orders.audit, shop)
  ])
)
const migrate = Command.provide(Migrate.migrate, Database.layerConfig({ schema: "ignore" }))
const play = Effect.provide(Demo.play, Layer.mergeAll(UnrulyOrigin.layer, fetcher, frontier))

/** The command line. With no command: the demo. */
export const sluice = Command.make("sluice").pipe(
  Command.withDescription(
    "Pulls very many requests through typed limits, retries and deadlines, keeps what must not be lost in Postgres, and cancels everything it started when it stops. With no command: the demo."
  ),
  Command.withHandler(() => play),
  Command.withSubcommands([
    fetch,
    Command.provide(Runs.runs, frontier),
    serve,
    work,
    jobs,
    orders,
    migrate,
    Command.make("demo", {}, () => play).pipe(
      Command.withDescription("The whole system on a loopback origin that misbehaves on purpose")
    )
  ])
)
