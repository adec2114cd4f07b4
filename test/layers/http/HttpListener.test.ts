/** How the listener is left: nobody is cut, and nobody stays. */
import { assert, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, type Scope } from "effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { connect, type Socket } from "node:net"
import * as HttpListener from "../../../src/layers/http/HttpListener.ts"
import { eventually } from "../../support/eventually.ts"

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const listening = (handler: Handler): Effect.Effect<HttpListener.HttpListener, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback((resume) => {
      const listener = HttpListener.make(Duration.seconds(30))
      listener.on("request", handler).listen(0, "127.0.0.1", () => resume(Effect.succeed(listener)))
    }),
    (listener) =>
      Effect.sync(() => {
        listener.close()
        listener.closeAllConnections()
      })
  )

const portOf = (listener: HttpListener.HttpListener): number => {
  const address = listener.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

interface Client {
  readonly socket: Socket
  /** All that came. */
  received: string
  /** How the connection ended. */
  ended: "not" | "end" | "reset"
}

const dial = (port: number): Effect.Effect<Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Client>((resume) => {
      const socket = connect(port, "127.0.0.1", () => resume(Effect.succeed(client)))
      const client: Client = { socket, received: "", ended: "not" }
      socket.on("data", (bytes) => client.received += String(bytes))
      socket.on("end", () => client.ended = "end")
      socket.on("error", () => client.ended = "reset")
    }),
    ({ socket }) => Effect.sync(() => void socket.destroy())
  )

const ask = (client: Client, path = "/") =>
  Effect.sync(() => void client.socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`))

const has = (client: Client, text: string) =>
  eventually(Effect.sync(() => client.received), (all) => all.includes(text))

const refused = (port: number): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy()
      resume(Effect.succeed("connected"))
    })
    socket.on("error", (error) => resume(Effect.succeed("code" in error ? String(error.code) : "error")))
  })

it.live("takes no more connections; those that are idle get one more answer, which closes them", () =>
  Effect.gen(function*() {
    const listener = yield* listening((_, response) => void response.end("fine"))
    const port = portOf(listener)
    const [used, fresh] = [yield* dial(port), yield* dial(port)]
    yield* ask(used)
    yield* has(used, "fine")
    assert.match(used.received, /Connection: keep-alive/i)
    const leaving = yield* Effect.forkChild(listener.leave("1 hour"), { startImmediately: true })
    yield* eventually(Effect.sync(() => listener.listening), (isOpen) => !isOpen)
    assert.strictEqual(yield* refused(port), "ECONNREFUSED")
    assert.deepStrictEqual([used.ended, fresh.ended], ["not", "not"])
    used.received = ""
    yield* ask(used)
    yield* ask(fresh)
    for (const client of [used, fresh]) {
      yield* has(client, "fine")
      yield* eventually(Effect.sync(() => client.ended), (ended) => ended === "end")
      assert.match(client.received, /Connection: close/i)
    }
    yield* Fiber.join(leaving)
    assert.strictEqual(listener.lineCount, 0)
  }))

it.live("an answer that had not begun closes its connection, one that had is finished; quiet ones are closed", () =>
  Effect.gen(function*() {
    const answers = new Map<string, ServerResponse>()
    const asked = yield* Deferred.make<void>()
    const listener = yield* listening((request, response) => {
      answers.set(request.url ?? "", response)
      if (request.url === "/begun") response.writeHead(200).write("one ")
      if (answers.size === 2) Deferred.doneUnsafe(asked, Effect.void)
    })
    const port = portOf(listener)
    const [begun, waiting, idle] = [yield* dial(port), yield* dial(port), yield* dial(port)]
    yield* ask(begun, "/begun")
    yield* ask(waiting, "/waiting")
    yield* Deferred.await(asked)
    const leaving = yield* Effect.forkChild(listener.leave(0), { startImmediately: true })
    yield* eventually(Effect.sync(() => idle.ended), (ended) => ended === "end")
    assert.deepStrictEqual([begun.ended, waiting.ended, listener.lineCount], ["not", "not", 2])
    answers.get("/waiting")?.end("answered")
    yield* has(waiting, "answered")
    assert.match(waiting.received, /Connection: close/i)
    answers.get("/begun")?.end("two")
    yield* has(begun, "two")
    yield* eventually(Effect.sync(() => begun.ended), (ended) => ended === "end")
    yield* Fiber.join(leaving)
  }))

it.live("a request that has just arrived is read before its quiet connection is closed", () =>
  Effect.gen(function*() {
    let answered = 0
    const listener = yield* listening((_, response) => {
      answered++
      response.end("fine")
    })
    const clients = yield* Effect.forEach(Array.from({ length: 40 }), () => dial(portOf(listener)))
    yield* eventually(Effect.sync(() => listener.lineCount), (count) => count === 40)
    // In one turn of the loop: what was written before is in the server's sockets when it looks at them.
    for (const client of clients) client.socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    yield* listener.leave(0)
    yield* eventually(Effect.sync(() => clients.every((client) => client.ended !== "not")), (all) => all)
    assert.deepStrictEqual([answered, clients.filter((client) => client.received.includes("fine")).length], [40, 40])
  }))

it.live("connections that were made before it closed are served, however many come at once", () =>
  Effect.gen(function*() {
    let answered = 0
    const listener = yield* listening((_, response) => {
      answered++
      response.end("fine")
    })
    const port = portOf(listener)
    const leaving = yield* Effect.forkChild(listener.leave("500 millis"), { startImmediately: true })
    const clients = yield* Effect.forEach(Array.from({ length: 50 }), () => dial(port), { concurrency: 50 })
    for (const client of clients) client.socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    yield* Fiber.join(leaving)
    yield* eventually(Effect.sync(() => clients.every((client) => client.ended !== "not")), (all) => all)
    assert.strictEqual(answered, 50)
    assert.deepStrictEqual(clients.filter((client) => client.ended === "reset"), [])
  }))
