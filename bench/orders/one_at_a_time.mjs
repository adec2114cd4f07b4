/** The same in Node: `node:http` and one connection of `pg`, and a request is looked at when the one before it has its answer. Prints its address. */
import { createServer } from "node:http"
import { createRequire } from "node:module"

const peer = createRequire(new URL("../peers/package.json", import.meta.url))
const [socketDirectory] = process.argv.slice(2)
const db = new (peer("pg").Client)({ host: socketDirectory, port: 5432, user: "sluice", database: "postgres" })
await db.connect()

const text =
  `select id, customer_id as "customerId", status, items, total::text, currency, payment, note, failure, version, accepted_at as "acceptedAt", charging_at as "chargingAt", paid_at as "paidAt", ended_at as "endedAt"
  from sluice.orders where id = $1`

const answer = async (request, response) => {
  const id = request.url.slice(request.url.lastIndexOf("/") + 1)
  const [order] = (await db.query({ name: "read", text, values: [id] })).rows
  const body = JSON.stringify(order ?? { title: "no such order" })
  response.writeHead(order === undefined ? 404 : 200, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    ...(order !== undefined && { etag: `"${order.version}"` })
  })
  response.end(body)
}

let last = Promise.resolve()
const server = createServer((request, response) => {
  last = last.then(() => answer(request, response)).catch((error) => response.writeHead(500).end(String(error)))
})
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`))
process.on("SIGTERM", () => process.exit(0))
