"""The peer in Python: aiohttp with asyncpg as tutorials have them, one statement for one request, the same routes, bodies and statements as
fastify.mjs. On uvloop where it is installed. Prints its address."""
import asyncio, json, os, signal, sys, uuid
import asyncpg
from aiohttp import web

try:
    import uvloop
    uvloop.install()
except ImportError:
    pass

COLUMNS = (
    "id, customer_id, status, items, total::text, currency, payment, note, failure, version, accepted_at, charging_at, paid_at, ended_at"
)
READ = f"select {COLUMNS} from sluice.orders where id = $1"
LIST = f"select {COLUMNS} from sluice.orders where customer_id = $1 order by id desc limit 20"
# The order and its job in one durable statement: what a careful service does for each request.
INSERT = f"""with p as (select price, currency, seller, is_shipped from sluice.products where sku = $4),
  o as (insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment)
    select $1::uuid, $2, $3, 'accepted', jsonb_build_array(jsonb_build_object('sku', $4::text, 'quantity', $5::int, 'unitPrice', p.price::text, 'seller', p.seller, 'isShipped', p.is_shipped)),
      p.price * $5::int, p.currency, 'account' from p on conflict (key) do nothing returning {COLUMNS}),
  j as (insert into bench_jobs (payload) select jsonb_build_object('orderId', o.id) from o)
  select * from o"""

routes = web.RouteTableDef()


def at(time):
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(row):
    return {
        "id": str(row["id"]),
        "customerId": row["customer_id"],
        "status": row["status"],
        "items": row["items"],
        "total": row["total"],
        "currency": row["currency"],
        "payment": row["payment"],
        "note": row["note"],
        "failure": row["failure"],
        "version": row["version"],
        "acceptedAt": at(row["accepted_at"]),
        "chargingAt": at(row["charging_at"]),
        "paidAt": at(row["paid_at"]),
        "endedAt": at(row["ended_at"]),
    }


@routes.get("/v1/orders/{id}")
async def read_order(request):
    row = await request.app["pool"].fetchrow(READ, uuid.UUID(request.match_info["id"]))
    if row is None:
        return web.json_response({"title": "no such order"}, status=404)
    return web.json_response(to_json(row), headers={"etag": f'"{row["version"]}"'})


@routes.get("/v1/orders")
async def list_orders(request):
    rows = await request.app["pool"].fetch(LIST, request.query["customerId"])
    return web.json_response({"orders": [to_json(row) for row in rows]})


@routes.post("/v1/orders")
async def place_order(request):
    key = request.headers.get("idempotency-key")
    if key is None:
        return web.json_response({"title": "no key"}, status=400)
    body = await request.json()
    item = body["items"][0]
    row = await request.app["pool"].fetchrow(INSERT, uuid.uuid4(), key, body["customerId"], item["sku"], item["quantity"])
    if row is None:
        return web.json_response({"title": "known key"}, status=409)
    return web.json_response(to_json(row), status=202, headers={"location": f'/v1/orders/{row["id"]}'})


async def prepare(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def main():
    app = web.Application()
    app.add_routes(routes)
    app["pool"] = await asyncpg.create_pool(
        host=sys.argv[1], user="sluice", database="postgres", min_size=5, max_size=20, command_timeout=60, init=prepare
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    # What is still open when the load has gone is closed with the process.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    print("http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
