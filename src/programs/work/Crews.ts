/**
 * The workers of this house, composed once: `sluice work` starts all of them or some, `sluice serve` those of its API.
 * A wing that has jobs adds its crew here; nothing else needs to know of it.
 */
import { type Config, Context, Effect, Layer, type Scope } from "effect"
import type { Fetcher } from "../../services/fetch/Fetcher.ts"
import type { Frontier } from "../../services/fetch/Frontier.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { JobStore } from "../../services/jobs/JobStore.ts"
import * as JobWorker from "../../services/jobs/JobWorker.ts"
import type { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import type { PaymentProvider } from "../../services/orders/PaymentProvider.ts"
import * as DemoWorker from "./DemoWorker.ts"
import * as FetchWorker from "./FetchWorker.ts"
import * as OrderWorker from "./OrderWorker.ts"

/** What every crew can be told. */
export type Options = Pick<JobWorker.WorkerOptions, "concurrency">

/** Which crews work here, and how; one that is left out does not. */
export interface Plan {
  readonly demo?: Options | undefined
  readonly orders?: (Options & Pick<OrderWorker.Options, "picking">) | undefined
  readonly fetches?: Options | undefined
}

/** The crews by name, as `sluice work --only` has them. */
export const names = ["demo", "orders", "fetches"] as const satisfies ReadonlyArray<keyof Plan>

/** What the crews need. */
export type Services = JobStore | OrderProcessor | PaymentProvider | Fetcher | Frontier

type Crew = Layer.Layer<JobWorker.JobWorker, JobQueueError | Config.ConfigError, Services>

const crewsOf = ({ demo, fetches, orders }: Plan): ReadonlyArray<Crew> => [
  ...(demo === undefined ? [] : [DemoWorker.layer(demo)]),
  ...(orders === undefined ? [] : [OrderWorker.layer(orders)]),
  ...(fetches === undefined ? [] : [FetchWorker.layerConfig(fetches)])
]

/** Starts the crews of the plan, each with a place of its own in the fleet and in the task tree; they work until the scope closes. */
export const start = (
  plan: Plan
): Effect.Effect<
  ReadonlyArray<JobWorker.JobWorker["Service"]>,
  JobQueueError | Config.ConfigError,
  Services | Scope.Scope
> =>
  Effect.forEach(
    crewsOf(plan),
    // Each is built for itself: they all provide the one JobWorker tag.
    (crew) => Effect.map(Layer.build(crew), (built) => Context.get(built, JobWorker.JobWorker))
  )
