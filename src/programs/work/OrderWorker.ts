/** The workers behind orders: who settles, charges and ships. */
import type { Layer } from "effect"
import * as Worker from "../../layers/jobs/worker/Worker.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { JobStore } from "../../services/jobs/JobStore.ts"
import type * as JobWorker from "../../services/jobs/JobWorker.ts"
import * as OrderJobs from "../../services/orders/OrderJobs.ts"
import type { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import type { PaymentProvider } from "../../services/orders/PaymentProvider.ts"

/** How orders are worked on. */
export type Options = OrderJobs.Options

/** A worker of orders; its concurrency is the number of orders that are charged and shipped at the same time. */
export const layer = (
  options: Options & JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError, JobStore | OrderProcessor | PaymentProvider> =>
  Worker.layer(OrderJobs.handlers(options), { label: "orders", concurrency: 5, ...options })
