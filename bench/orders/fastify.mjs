/** The peers: fastify with `postgres` or with `pg`, one statement for one request, over the same tables. Prints its address. */
import { randomUUID } from "node:crypto"
import { createRequire } from "node:module"

const peer = createRequire(new URL("../peers/package.json", import.meta.url))
const [socketDirectory, driver] = process.argv.slice(2)
const fastify = peer("fastify")()
const connections = 10

const client = () => {
  if (driver === "postgres") {
    const sql = peer("postgres")({
      path: `${socketDirectory}/.s.PGSQL.5432`,
      username: "sluice",
      database: "postgres",
      max: connections
    })
    return {
      one: async (text, values) => (await sql.unsafe(text, values, { prepare: true }))[0],
      many: (text, values) => sql.unsafe(text, values, { prepare: true })
    }
  }
  const pool = new (peer("pg").Pool)({
    host: socketDirectory,
    port: 5432,
    user: "sluice",
    database: "postgres",
    max: connections
  })
  const many = async (text, values) => (await pool.query({ name: text.slice(0, 60), text, values })).rows
  return { one: async (text, values) => (await many(text, values))[0], many }
}
const db = client()

const columns =
  "id, customer_id, status, items, total::text, currency, payment, note, failure, version, accepted_at, charging_at, paid_at, ended_at"
const toJson = (row) => ({
  id: row.id,
  customerId: row.customer_id,
  status: row.status,
  items: row.items,
  total: row.total,
  currency: row.currency,
  payment: row.payment,
  note: row.note,
  failure: row.failure,
  version: row.version,
  acceptedAt: row.accepted_at,
  chargingAt: row.charging_at,
  paidAt: row.paid_at,
  endedAt: row.ended_at
})

fastify.get("/v1/orders/:id", async (request, reply) => {
  const row = await db.one(`select ${columns} from sluice.orders where id = $1`, [request.params.id])
  if (row === undefined) return reply.code(404).send({ title: "no such order" })
  return reply.header("etag", `"${row.version}"`).send(toJson(row))
})

const listed = `select ${columns} from sluice.orders where customer_id = $1 order by id desc limit 20`
const listOrders = (request) =>
  db.many(listed, [request.query.customerId]).then((rows) => ({ orders: rows.map(toJson) }))
fastify.get("/v1/orders", listOrders)

// The order and its job in one durable statement: what a careful service does for each request.
const insert = `with p as (select price, currency, seller, is_shipped from sluice.products where sku = $4),
  o as (insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment)
    select $1::uuid, $2, $3, 'accepted', jsonb_build_array(jsonb_build_object('sku', $4::text, 'quantity', $5::int, 'unitPrice', p.price::text, 'seller', p.seller, 'isShipped', p.is_shipped)),
      p.price * $5::int, p.currency, 'account' from p on conflict (key) do nothing returning ${columns}),
  j as (insert into bench_jobs (payload) select jsonb_build_object('orderId', o.id) from o)
  select * from o`

fastify.post("/v1/orders", async (request, reply) => {
  const key = request.headers["idempotency-key"]
  if (key === undefined) return reply.code(400).send({ title: "no key" })
  const [item] = request.body.items
  const row = await db.one(insert, [randomUUID(), key, request.body.customerId, item.sku, item.quantity])
  if (row === undefined) return reply.code(409).send({ title: "known key" })
  return reply.code(202).header("location", `/v1/orders/${row.id}`).send(toJson(row))
})

console.log(await fastify.listen({ port: 0, host: "127.0.0.1" }))
process.on("SIGTERM", () => process.exit(0))
