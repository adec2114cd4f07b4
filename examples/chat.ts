/**
 * A chat of a thousand connections: rooms whose members talk over WebSockets, a bounded outbox for each, and whoever does not read is
 * dropped. Run it: `node --conditions=sluice-source examples/chat.ts`; with `serve` it only serves, until it is stopped.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Console, Deferred, Effect, Layer, Queue, Schedule } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import { once } from "node:events"
import { createServer } from "node:http"
import { connect } from "node:net"
import { HttpListener, LongConnections, NodeLongConnections } from "sluice/http"

/** Messages that wait for one member at most. */
const outboxSize = 64

interface Member {
  readonly outbox: Queue.Queue<string>
  /** Fails when the outbox is full: the member is dropped, and the room goes on. */
  readonly dropped: Deferred.Deferred<never, LongConnections.Hangup>
}

const rooms = new Map<string, Set<Member>>()

const tooFarBehind = new LongConnections.Hangup({ code: 1008, reason: "too far behind" })

/** Tells everybody in the room. It waits for nobody. */
const tell = (room: string, text: string): void => {
  for (const { dropped, outbox } of rooms.get(room) ?? []) {
    if (!Queue.offerUnsafe(outbox, text)) Deferred.doneUnsafe(dropped, Effect.fail(tooFarBehind))
  }
}

const enter = (room: string) =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const member: Member = {
        outbox: yield* Queue.dropping<string>(outboxSize),
        dropped: yield* Deferred.make<never, LongConnections.Hangup>()
      }
      const members = rooms.get(room) ?? new Set()
      rooms.set(room, members.add(member))
      return member
    }),
    (member) =>
      Effect.sync(() => {
        const members = rooms.get(room)
        members?.delete(member)
        if (members?.size === 0) rooms.delete(room)
      })
  )

const talk = (room: string) => (peer: LongConnections.Peer) =>
  Effect.gen(function*() {
    const { dropped, outbox } = yield* enter(room)
    const hear = Effect.forever(Effect.flatMap(Queue.take(outbox), peer.send))
    const say = Effect.forever(Effect.map(peer.receive, (messages) => {
      for (const message of messages) if (typeof message === "string") tell(room, message)
    }))
    return yield* Effect.raceAllFirst([hear, say, Deferred.await(dropped)])
  })

const routes = HttpRouter.use((router) =>
  Effect.gen(function*() {
    const connections = yield* LongConnections.LongConnections
    yield* router.add(
      "GET",
      "/rooms/:room",
      Effect.gen(function*() {
        const request = yield* HttpServerRequest
        const room = (yield* HttpRouter.params)["room"] ?? "lobby"
        return yield* connections.webSocket(request, { name: `chat in ${room}`, handle: talk(room) })
      }).pipe(Effect.catch((problem) => HttpServerRespondable.toResponse(problem)))
    )
  })
)

const limits = { ...LongConnections.defaults, max: 2_000, maxPerClient: 2_000 }

const server = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
  Layer.provideMerge(NodeLongConnections.layerWith(limits)),
  Layer.provideMerge(
    NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1", websocket: HttpListener.webSocket })
  )
)

/** A member, and what it has heard. */
const join = (base: string, room: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = new WebSocket(`${base}/rooms/${room}`)
      const heard: Array<string> = []
      socket.addEventListener("message", ({ data }) => heard.push(String(data)))
      await once(socket, "open")
      return { say: (text: string) => socket.send(text), heard, socket }
    }),
    ({ socket }) =>
      Effect.promise(async () => {
        const closed = once(socket, "close")
        socket.close()
        await closed
      })
  )

const until = <A>(look: Effect.Effect<A>, isEnough: (found: A) => boolean) =>
  Effect.repeat(look, { schedule: Schedule.spaced("10 millis"), until: isEnough })

/** A member that reads its handshake and then nothing, until it is told to read on. */
const deaf = (base: string, room: string) =>
  Effect.promise(async () => {
    const { hostname, port } = new URL(base)
    const socket = connect(Number(port), hostname)
    socket.write(
      `GET /rooms/${room} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await once(socket, "data")
    socket.pause()
    return socket
  })

const demo = Effect.gen(function*() {
  const base = (yield* HttpServer.addressFormattedWith(Effect.succeed)).replace("http", "ws")
  const { live } = yield* LongConnections.LongConnections

  yield* Effect.scoped(Effect.gen(function*() {
    const members = yield* Effect.forEach(
      Array.from({ length: 1_000 }, (_, index) => `room-${index % 10}`),
      (room) => join(base, room),
      { concurrency: 50 }
    )
    yield* Console.log(`${yield* live} connections in ${rooms.size} rooms`)
    for (const [index, { say }] of members.slice(0, 10).entries()) say(`hello from ${index}`)
    yield* until(Effect.sync(() => members.every(({ heard }) => heard.length === 1)), (isTold) => isTold)
    const told = members.filter(({ heard }, index) => heard[0] === `hello from ${index % 10}`)
    yield* Console.log(`${told.length} have heard what was said in their room, and nothing else`)
  }))

  const talker = yield* join(base, "noisy")
  const silent = yield* deaf(base, "noisy")
  yield* until(live, (count) => count === 2)
  let spoken = 0
  yield* until(
    Effect.andThen(
      Effect.sync(() => {
        for (let count = 0; count < 16; count++) talker.say("x".repeat(16_000))
        spoken += 16
      }),
      until(Effect.sync(() => talker.heard.length), (heard) => heard === spoken)
    ),
    () => (rooms.get("noisy")?.size ?? 0) === 1
  )
  silent.destroy()
  yield* Console.log("who did not read was dropped, and the room goes on")
  yield* until(live, (count) => count === 1)
})

const program = process.argv[2] === "serve"
  ? HttpServer.addressFormattedWith((address) => Console.log(address)).pipe(Effect.andThen(Effect.never))
  : Effect.scoped(demo)

await Effect.runPromise(Effect.provide(program, server))
