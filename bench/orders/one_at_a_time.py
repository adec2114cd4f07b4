"""What the tutorials begin with: a synchronous service that has one request at a time, Python's own http.server with psycopg2. One process, the same read
and body as fastify.mjs. `keep-alive` serves a connection until its client leaves, `close` one request for each, both with one connection to the
database that stays open; `connect` opens a connection to the database for each request, as the tutorials do. Prints its address."""
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import psycopg2

socket_directory, mode = sys.argv[1:3]


def connect():
    connection = psycopg2.connect(host=socket_directory, user="sluice", dbname="postgres")
    connection.autocommit = True
    return connection


database = None if mode == "connect" else connect()
READ = (
    "select id, customer_id, status, items, total::text, currency, payment, note, failure, version, accepted_at, charging_at, paid_at, ended_at"
    " from sluice.orders where id = %s"
)
NAMES = [
    "id", "customerId", "status", "items", "total", "currency", "payment", "note", "failure", "version", "acceptedAt", "chargingAt", "paidAt",
    "endedAt",
]


def value(it):
    return it.isoformat(timespec="milliseconds").replace("+00:00", "Z") if hasattr(it, "isoformat") else it


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: without it each answer waits 40 ms for the client's delayed ACK.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        connection = database or connect()
        with connection.cursor() as cursor:
            cursor.execute(READ, (self.path.rpartition("/")[2],))
            row = cursor.fetchone()
        if database is None:
            connection.close()
        order = {"title": "no such order"} if row is None else {name: value(it) for name, it in zip(NAMES, row)}
        body = json.dumps(order).encode()
        self.send_response(404 if row is None else 200)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        if row is not None:
            self.send_header("etag", f'"{order["version"]}"')
        if mode != "keep-alive":
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(HTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A client that leaves in the middle is the end of a load.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Handler)
print("http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
