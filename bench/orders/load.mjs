/** The load, in a process of its own: autocannon, where there is no wrk, with keys that are never the same. Prints its figures as JSON. */
import { createRequire } from "node:module"

const peer = createRequire(new URL("../peers/package.json", import.meta.url))
const autocannon = peer("autocannon")
const { connections, ids, kind, run, seconds, url } = JSON.parse(process.argv[2])

let count = 0
const post = {
  method: "POST",
  path: "/v1/orders",
  headers: { "content-type": "application/json" },
  setupRequest: (request) => {
    count += 1
    request.headers = { ...request.headers, "idempotency-key": `${run}-${count}` }
    request.body = JSON.stringify({
      customerId: `customer-${1 + count % 1000}`,
      items: [{ sku: `sku-${1 + count % 100}`, quantity: 1 }]
    })
    return request
  }
}
const requests = kind === "POST"
  ? [post]
  : kind === "GET"
  ? ids.map((id) => ({ method: "GET", path: `/v1/orders/${id}` }))
  : Array.from(
    { length: 100 },
    (_, index) => ({ method: "GET", path: `/v1/orders?customerId=customer-${1 + index}&limit=20` })
  )

const result = await autocannon({ url, connections, duration: seconds, requests })
console.log(JSON.stringify({
  requests: result.requests.total,
  seconds: result.duration,
  p50: result.latency.p50,
  p99: result.latency.p99,
  failed: result.non2xx + result.errors
}))
