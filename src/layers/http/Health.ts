import { Effect, type Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { Readiness } from "../../services/http/Readiness.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { QueueStats } from "../../services/jobs/JobStore.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import * as Shutdown from "../../services/tasks/Shutdown.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as Bodies from "./Bodies.ts"

const ready = Effect.fnUntraced(function*(readiness: Readiness["Service"]) {
  const isLeaving = yield* Shutdown.isLeaving
  const problem = isLeaving ? "draining: this process is about to stop" : yield* readiness.problem
  return problem === undefined
    ? Bodies.json({ status: "ready" })
    : Bodies.json({ status: isLeaving ? "draining" : "unavailable", problem }, {
      status: 503,
      headers: { "retry-after": "1" }
    })
})

const quoted = (value: string): string =>
  `"${value.replaceAll("\\", "\\\\").replaceAll("\"", "\\\"").replaceAll("\n", "\\n")}"`

const states = ["ready", "scheduled", "blocked", "waiting", "running", "dead"] as const

/** The queues' counters in Prometheus' text form; they are read from the database when they are asked for. */
const queueLines = (queues: ReadonlyArray<QueueStats>): string => {
  const lines = [
    "# HELP sluice_queue_jobs Jobs of a queue by state.",
    "# TYPE sluice_queue_jobs gauge",
    ...queues.flatMap((queue) =>
      states.map((state) => `sluice_queue_jobs{queue=${quoted(queue.queue)},state="${state}"} ${queue[state]}`)
    ),
    "# HELP sluice_queue_oldest_ready_seconds Age of the job that would be claimed next.",
    "# TYPE sluice_queue_oldest_ready_seconds gauge",
    ...queues.map((queue) =>
      `sluice_queue_oldest_ready_seconds{queue=${quoted(queue.queue)}} ${(queue.oldestReadyMillis ?? 0) / 1000}`
    )
  ]
  return `${lines.join("\n")}\n`
}

const metrics = Effect.fnUntraced(function*(admin: JobAdmin["Service"]) {
  const own = yield* PrometheusMetrics.format()
  const live = yield* Tasks.liveCount
  const queues = yield* Effect.match(Deadline.within("1 second", { name: "the database", grace: 0 })(admin.stats), {
    // The counters of this process are worth having while the database is away.
    onFailure: (error) => `# the queues cannot be read: ${error.message}\n`,
    onSuccess: queueLines
  })
  const tasks =
    `# HELP sluice_tasks_live Tasks that run in this process now.\n# TYPE sluice_tasks_live gauge\nsluice_tasks_live ${live}\n`
  return HttpServerResponse.text(`${own}\n${queues}${tasks}`, {
    contentType: "text/plain; version=0.0.4; charset=utf-8"
  })
})

/** `/livez`, `/readyz` and `/metrics`, without a token. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | Readiness | JobAdmin> = HttpRouter.use(
  Effect.fnUntraced(function*(router) {
    const readiness = yield* Readiness
    const admin = yield* JobAdmin
    yield* router.add("GET", "/livez", Effect.sync(() => Bodies.json({ status: "alive" })))
    yield* router.add("GET", "/readyz", ready(readiness))
    yield* router.add("GET", "/metrics", metrics(admin))
  })
)
