/** Health and metrics in the API's document: they are open to everybody, and routed beside the API. */

/** Their group. */
export const tag = { name: "health", description: "Whether this process lives and can serve, and what it counts." }

const json = (properties: Record<string, unknown>) => ({
  "application/json": {
    schema: { type: "object", properties, required: Object.keys(properties), additionalProperties: false }
  }
})

const status = (...values: ReadonlyArray<string>) => ({ type: "string", enum: values })

const read = (operationId: string, summary: string, description: string, responses: Record<string, unknown>) => ({
  get: { tags: [tag.name], operationId, summary, description, parameters: [], security: [], responses }
})

/** Their paths. */
export const paths = {
  "/livez": read("getLiveness", "Whether the process lives", "For a probe that restarts what does not answer.", {
    200: { description: "The process lives.", content: json({ status: status("alive") }) }
  }),
  "/readyz": read(
    "getReadiness",
    "Whether the process can serve",
    "For a probe that sends requests elsewhere: not while it drains, while the database is away or read only, " +
      "or while workers of this process cannot claim jobs.",
    {
      200: { description: "It can serve.", content: json({ status: status("ready") }) },
      503: {
        description: "It cannot serve now; `problem` says why.",
        headers: {
          "retry-after": { schema: { type: "string" }, description: "Seconds until it is worth asking again." }
        },
        content: json({ status: status("draining", "unavailable"), problem: { type: "string" } })
      }
    }
  ),
  "/metrics": read(
    "getMetrics",
    "Metrics for Prometheus",
    "Requests and their latency by route, long connections, jobs of each queue by state, live tasks.",
    {
      200: {
        description: "Metrics in Prometheus' text form.",
        content: { "text/plain": { schema: { type: "string" } } }
      }
    }
  )
}
