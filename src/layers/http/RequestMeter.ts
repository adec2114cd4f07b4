import { type Context, Metric } from "effect"

const requests = Metric.counter("sluice_http_requests_total", {
  description: "HTTP requests by route and status",
  incremental: true
})

const latency = Metric.histogram("sluice_http_request_seconds", {
  description: "Time until the answer's head was ready, by route",
  boundaries: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})

/** Series are made once: naming one costs more than counting in it. Bounded by the routes and the statuses there are. */
const seriesOf = <I, S>(metric: Metric.Metric<I, S>) => {
  const known = new Map<string, Metric.Metric<I, S>>()
  return (route: string, status: string): Metric.Metric<I, S> => {
    const key = `${route} ${status}`
    let series = known.get(key)
    if (series === undefined) {
      series = Metric.withAttributes(metric, status === "" ? { route } : { route, status })
      known.set(key, series)
    }
    return series
  }
}

/**
 * Counts answered requests by route, and how long they took: what `/metrics` tells of them. It counts in place and in one context for all:
 * a metric that is updated as an effect, in the context of each request, costs a hot route more than what it does.
 */
export const make = (context: Context.Context<never>) => {
  const countOf = seriesOf(requests)
  const timeOf = seriesOf(latency)
  return (route: string, status: number, millis: number): void => {
    countOf(route, String(status)).updateUnsafe(1, context)
    timeOf(route, "").updateUnsafe(millis / 1000, context)
  }
}
