/**
 * A wire between a client and Postgres that can be told to be slow, deaf or cut: what a connection sends or is answered
 * waits here, arrives late, after its sender has died, or never. A connection is seized by a text in what it sends (its
 * client must not prepare statements: only then is SQL on the wire).
 */
import { Effect, type Scope } from "effect"
import { connect as dial, createServer, type Server, type Socket } from "node:net"

type Direction = "toServer" | "toClient"

/** One connection. */
class Link {
  /** The direction whose bytes wait. */
  caught: Direction | undefined
  isDeaf = false
  readonly held: Array<Buffer> = []
  readonly client: Socket
  readonly server: Socket

  constructor(relay: Relay, client: Socket, server: Socket) {
    this.client = client
    this.server = server
    client.on("data", (bytes: Buffer) => {
      relay.look(this, bytes)
      this.pass(relay, "toServer", bytes)
    })
    server.on("data", (bytes: Buffer) => this.pass(relay, "toClient", bytes))
    client.on("close", () => {
      if (this.held.length === 0 && !this.isDeaf) server.end()
    })
    server.on("close", () => client.destroy())
    for (const socket of [client, server]) socket.on("error", () => {})
  }

  private pass(relay: Relay, direction: Direction, bytes: Buffer): void {
    if (this.isDeaf) return
    if (this.caught === direction) {
      this.held.push(bytes)
      relay.changed()
    } else this.deliver(direction, bytes)
  }

  private deliver(direction: Direction, bytes: Buffer): void {
    const to = direction === "toServer" ? this.server : this.client
    if (!to.destroyed) to.write(bytes)
  }

  release(): void {
    const direction = this.caught
    this.caught = undefined
    if (direction !== undefined) { for (const bytes of this.held.splice(0)) this.deliver(direction, bytes) }
    if (this.client.destroyed) this.server.end()
  }
}

export class Relay {
  readonly url: string
  private readonly links = new Set<Link>()
  private readonly waiting = new Set<() => void>()
  private rule: { readonly text: string; readonly direction: Direction } | undefined
  private victim: Link | undefined

  constructor(url: string) {
    this.url = url
  }

  /** @internal */
  add(link: Link): void {
    this.links.add(link)
    link.server.on("close", () => {
      this.links.delete(link)
      this.changed()
    })
  }

  /** @internal */
  look(link: Link, bytes: Buffer): void {
    if (this.rule === undefined || !bytes.toString("latin1").includes(this.rule.text)) return
    link.caught = this.rule.direction
    this.victim = link
    this.rule = undefined
  }

  /** @internal */
  changed(): void {
    for (const look of this.waiting) look()
  }

  private until(test: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const look = () => {
        if (!test()) return
        this.waiting.delete(look)
        resume(Effect.void)
      }
      this.waiting.add(look)
      look()
      return Effect.sync(() => void this.waiting.delete(look))
    })
  }

  /** The next statement with this text waits on its way, or its answer does, with all that follows on that connection. */
  seize(text: string, direction: Direction): Effect.Effect<void> {
    return Effect.sync(() => {
      this.rule = { text, direction }
      this.victim = undefined
    })
  }

  /** Waits until it does. */
  get caught(): Effect.Effect<void> {
    return this.until(() => this.victim !== undefined && this.victim.held.length > 0)
  }

  /** Its client is gone, as when the process is killed; the server does not know while something is on its way. */
  get kill(): Effect.Effect<void> {
    return Effect.sync(() => void this.victim?.client.destroy())
  }

  /** What was caught arrives. */
  get release(): Effect.Effect<void> {
    return Effect.sync(() => this.victim?.release())
  }

  /** Waits until the server has ended the connection, having done what it still got. */
  get ended(): Effect.Effect<void> {
    return this.until(() => this.victim === undefined || !this.links.has(this.victim))
  }

  /** What is connected now hears nothing and is not heard any more, as behind a wall that forgot it; new connections are well. */
  get deafen(): Effect.Effect<void> {
    return Effect.sync(() => {
      for (const link of this.links) link.isDeaf = true
    })
  }
}

const listen = (server: Server): Effect.Effect<number> =>
  Effect.callback<number>((resume) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

/** A relay before the database of a URL, which may name a socket's directory. */
export const make = (target: string): Effect.Effect<Relay, never, Scope.Scope> =>
  Effect.gen(function*() {
    const to = new URL(target)
    const folder = to.searchParams.get("host")
    const sockets = new Set<Socket>()
    const server = createServer({ noDelay: true })
    const port = yield* listen(server)
    const relay = new Relay(`postgres://${to.username}@127.0.0.1:${port}${to.pathname}`)
    server.on("connection", (client) => {
      const upstream = folder === null
        ? dial({ host: to.hostname, port: Number(to.port || 5432) })
        : dial({ path: `${folder}/.s.PGSQL.5432` })
      for (const socket of [client, upstream]) {
        sockets.add(socket)
        socket.on("close", () => sockets.delete(socket))
      }
      relay.add(new Link(relay, client, upstream))
    })
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
    )
    return relay
  })
