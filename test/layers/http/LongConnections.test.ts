/** WebSockets that misbehave: readers that do not read, peers that are gone, messages that are too large, and a process that drains. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import { createServer } from "node:http"
import * as HttpListener from "../../../src/layers/http/HttpListener.ts"
import * as NodeLongConnections from "../../../src/layers/http/NodeLongConnections.ts"
import * as LongConnections from "../../../src/services/http/LongConnections.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { leakFree } from "../../support/leakFree.ts"
import * as RawWebSocket from "../../support/RawWebSocket.ts"

/** Quick enough for a test that waits for them. */
const limits: LongConnections.Limits = {
  ...LongConnections.defaults,
  heartbeat: Duration.millis(40),
  patience: Duration.millis(150),
  farewell: Duration.millis(300)
}

/** A heart that does not beat before the sender's patience is over. */
const patient = { heartbeat: LongConnections.defaults.heartbeat }

type Handle = LongConnections.Handler["handle"]

/** A server whose every WebSocket is handled so. */
const serving = (handle: Handle, given: Partial<LongConnections.Limits> = {}) => {
  const route = HttpRouter.use((router) =>
    Effect.gen(function*() {
      const connections = yield* LongConnections.LongConnections
      yield* router.add(
        "GET",
        "/",
        Effect.gen(function*() {
          return yield* connections.webSocket(yield* HttpServerRequest, { name: "a socket", handle })
        }).pipe(Effect.catch((problem) => HttpServerRespondable.toResponse(problem)))
      )
    })
  )
  return HttpRouter.serve(route, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeLongConnections.layerWith({ ...limits, ...given })),
    Layer.provideMerge(NodeHttpServer.layer(() => createServer(), {
      port: 0,
      host: "127.0.0.1",
      websocket: HttpListener.webSocket,
      gracefulShutdownTimeout: "100 millis"
    }))
  )
}

const none = Effect.repeat(
  Effect.gen(function*() {
    return yield* (yield* LongConnections.LongConnections).live
  }),
  { until: (live) => live === 0 }
)

/** Sends what it gets. */
const echo: Handle = ({ receive, send }) =>
  Effect.forever(Effect.flatMap(receive, Effect.forEach((message) => send(String(message)), { discard: true })))

it.live("a reader that does not read holds up its sender, bounded, and is dropped with 1008", () =>
  Effect.gen(function*() {
    let sent = 0
    const dropped = yield* Deferred.make<LongConnections.PeerTooSlow>()
    const flood: Handle = ({ send }) =>
      Effect.suspend(() => {
        sent += 1
        return send("x".repeat(65_536))
      }).pipe(
        Effect.forever,
        Effect.tapErrorTag("PeerTooSlow", (error) => Deferred.succeed(dropped, error))
      )
    yield* Effect.gen(function*() {
      const socket = yield* RawWebSocket.open(yield* Harness.baseUrl)
      socket.socket.pause()
      const { unreadBytes } = yield* Deferred.await(dropped)
      const sentThen = sent
      // What is unread in the process: the message that crossed the mark, and one more.
      assert.isAtMost(unreadBytes, 2 * 65_536 + 100)
      socket.socket.resume()
      assert.strictEqual(yield* RawWebSocket.closing(socket), 1008)
      assert.strictEqual(sent, sentThen)
      assert.strictEqual(socket.texts.length, sentThen - 1)
      yield* none
    }).pipe(Effect.provide(serving(flood, patient)))
  }).pipe(Effect.scoped, leakFree))

it.live("one that never reads again is cut all the same, and its place is free", () =>
  Effect.gen(function*() {
    const flood: Handle = ({ send }) => Effect.forever(send("x".repeat(65_536)))
    yield* Effect.gen(function*() {
      const socket = yield* RawWebSocket.open(yield* Harness.baseUrl)
      socket.socket.pause()
      yield* none
    }).pipe(Effect.provide(serving(flood)))
  }).pipe(Effect.scoped, leakFree))

it.live("a slow reader that reads on is waited for", () =>
  Effect.gen(function*() {
    const count = 200
    const some: Handle = ({ send }) =>
      Effect.forEach(Array.from({ length: count }), () => send("x".repeat(65_536)), { discard: true })
    yield* Effect.gen(function*() {
      const socket = yield* RawWebSocket.open(yield* Harness.baseUrl)
      // Reads a piece, and looks away for some turns of the loop.
      socket.socket.on("data", () => {
        socket.socket.pause()
        let turns = 0
        const turn = () => void (turns++ < 20 ? setImmediate(turn) : socket.socket.resume())
        turn()
      })
      assert.strictEqual(yield* RawWebSocket.closing(socket), 1000)
      assert.strictEqual(socket.texts.length, count)
    }).pipe(Effect.provide(serving(some, { patience: Duration.seconds(20) })))
  }).pipe(Effect.scoped, leakFree))

it.live("a peer that answers no ping is gone by the second; one that does stays", () =>
  Effect.gen(function*() {
    yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const silent = yield* RawWebSocket.open(base)
      const lively = yield* RawWebSocket.open(base)
      let pongs = 0
      const answered = RawWebSocket.until(lively, ({ frames, socket }) => {
        const pings = frames.filter(({ opcode }) => opcode === "ping").length
        for (; pongs < pings; pongs++) if (!socket.destroyed) lively.send(10, Buffer.alloc(0))
        return pings >= 6
      })
      const [cut] = yield* Effect.all([RawWebSocket.until(silent, ({ isClosed }) => isClosed), answered], {
        concurrency: 2
      })
      // Cut, not told: nobody is there who could hear it.
      assert.strictEqual(cut.closeCode, 0)
      assert.isAtMost(cut.frames.filter(({ opcode }) => opcode === "ping").length, 2)
      assert.isFalse(lively.isClosed)
      assert.strictEqual(yield* (yield* LongConnections.LongConnections).live, 1)
    }).pipe(Effect.provide(serving(echo)))
  }).pipe(Effect.scoped, leakFree))

it.live("messages go both ways; one that is too large closes with 1009, and a handler's own end with its code", () =>
  Effect.gen(function*() {
    const limited: Handle = ({ receive, send }) =>
      Effect.forever(Effect.gen(function*() {
        const [message] = yield* receive
        if (message === "bye") return yield* new LongConnections.Hangup({ code: 4000, reason: "as you wish" })
        return yield* message === "die" ? Effect.die("a defect of the handler") : send(String(message))
      }))
    yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const open = RawWebSocket.open(base)
      const first = yield* open
      first.say("hello")
      yield* RawWebSocket.until(first, ({ texts }) => texts.includes("hello"))
      first.send(1, Buffer.alloc(17_000))
      assert.strictEqual(yield* RawWebSocket.closing(first), 1009)
      const second = yield* open
      second.say("bye")
      assert.strictEqual(yield* RawWebSocket.closing(second), 4000)
      const third = yield* open
      third.say("die")
      assert.strictEqual(yield* RawWebSocket.closing(third), 1011)
      yield* none
    }).pipe(Effect.provide(serving(limited)))
  }).pipe(Effect.scoped, leakFree))

it.live("when the process drains each is told 1001, and no new one is taken", () =>
  Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const sockets = yield* Effect.forEach(Array.from({ length: 5 }), () => RawWebSocket.open(base))
      const drained = yield* Effect.forkChild(shutdown.drain("request", "5 seconds"), { startImmediately: true })
      assert.deepStrictEqual(
        yield* Effect.forEach(sockets, RawWebSocket.closing, { concurrency: 5 }),
        [1001, 1001, 1001, 1001, 1001]
      )
      const late = yield* RawWebSocket.open(base)
      assert.strictEqual(late.status, 503)
      yield* none
      assert.deepStrictEqual((yield* Fiber.join(drained)).overstayed, [])
    }).pipe(Effect.provide(serving(echo)), Effect.provideService(Shutdown.CurrentShutdown, shutdown))
  }).pipe(Effect.scoped, leakFree))

it.live("clients that vanish in every stage leave nothing: no place, no task, no socket", () =>
  Effect.gen(function*() {
    yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const before = yield* Tasks.liveCount
      for (let round = 0; round < 10; round++) {
        yield* Effect.scoped(Effect.forEach(
          Array.from({ length: 20 }, (_, index) => index),
          (index) =>
            Effect.gen(function*() {
              const socket = yield* RawWebSocket.open(base)
              if (index % 4 === 0) socket.say("hello")
              if (index % 4 === 1) socket.send(8, Buffer.of(3, 232))
              if (index % 4 === 2) socket.socket.resetAndDestroy()
            }),
          { concurrency: 20 }
        ))
      }
      yield* none
      assert.strictEqual(yield* Tasks.liveCount, before)
    }).pipe(Effect.provide(serving(echo)))
  }).pipe(Effect.scoped, leakFree))
