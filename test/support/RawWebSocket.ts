/** A WebSocket by hand (RFC 6455): the answer to its handshake, every frame that comes, and only those that the test sends. */
import { Effect, type Scope } from "effect"
import { connect, type Socket } from "node:net"

export interface Frame {
  readonly opcode: "text" | "close" | "ping" | "pong" | "other"
  readonly text: string
  /** Of a close frame. */
  readonly code: number
}

const opcodes: Readonly<Record<number, Frame["opcode"]>> = { 1: "text", 8: "close", 9: "ping", 10: "pong" }

export class RawWebSocket {
  /** What the server has answered the handshake with; after an upgrade its head only. */
  answer = ""
  readonly frames: Array<Frame> = []
  isClosed = false
  readonly socket: Socket
  /** Called whenever something has come. */
  onChange: () => void = () => {}
  private rest = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", (chunk) => this.take(Buffer.from(chunk)))
    socket.on("error", () => {})
    socket.on("close", () => {
      this.isClosed = true
      this.onChange()
    })
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d{3}) /.exec(this.answer)?.[1] ?? 0)
  }

  get texts(): ReadonlyArray<string> {
    return this.frames.filter(({ opcode }) => opcode === "text").map(({ text }) => text)
  }

  /** The code that the server has closed it with; 0 while it has not. */
  get closeCode(): number {
    return this.frames.find(({ opcode }) => opcode === "close")?.code ?? 0
  }

  /** Sends a frame, masked as a client must; the mask is zero. */
  send(opcode: 1 | 8 | 10, payload: Buffer): void {
    const length = payload.length < 126
      ? Buffer.of(0x80 | payload.length)
      : Buffer.of(0x80 | 126, payload.length >> 8, payload.length & 255)
    this.socket.write(Buffer.concat([Buffer.of(0x80 | opcode), length, Buffer.alloc(4), payload]))
  }

  say(text: string): void {
    this.send(1, Buffer.from(text))
  }

  private take(chunk: Buffer): void {
    if (this.status === 101) this.read(chunk)
    else {
      this.answer += chunk.toString("latin1")
      const end = this.answer.indexOf("\r\n\r\n") + 4
      if (this.status === 101 && end > 3) {
        const first = Buffer.from(this.answer.slice(end), "latin1")
        this.answer = this.answer.slice(0, end)
        this.read(first)
      }
    }
    this.onChange()
  }

  private read(chunk: Buffer): void {
    this.rest = Buffer.concat([this.rest, chunk])
    while (this.rest.length >= 2) {
      const short = (this.rest[1] ?? 0) & 127
      const head = short < 126 ? 2 : short === 126 ? 4 : 10
      if (this.rest.length < head) return
      const length = short < 126
        ? short
        : short === 126
        ? this.rest.readUInt16BE(2)
        : Number(this.rest.readBigUInt64BE(2))
      if (this.rest.length < head + length) return
      const payload = this.rest.subarray(head, head + length)
      const opcode = opcodes[(this.rest[0] ?? 0) & 15] ?? "other"
      const isClose = opcode === "close" && length >= 2
      this.frames.push({
        opcode,
        text: payload.subarray(isClose ? 2 : 0).toString(),
        code: isClose ? payload.readUInt16BE(0) : 0
      })
      this.rest = this.rest.subarray(head + length)
    }
  }
}

const key = "dGhlIHNhbXBsZSBub25jZQ=="

/** Opens one; it is cut when the scope closes. */
export const open = (
  url: string,
  headers: Record<string, string> = {}
): Effect.Effect<RawWebSocket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<RawWebSocket>((resume) => {
      const { host, hostname, pathname, port, search } = new URL(url)
      const all = {
        host,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": key,
        ...headers
      }
      const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
      const socket = connect(Number(port), hostname, () => {
        socket.write(`GET ${pathname}${search} HTTP/1.1\r\n${lines.join("")}\r\n`)
      })
      const raw = new RawWebSocket(socket)
      raw.onChange = () => {
        // A refusal is complete when its connection has ended.
        if (raw.status === 101 || raw.isClosed) resume(Effect.succeed(raw))
      }
    }),
    (raw) => Effect.sync(() => void raw.socket.destroy())
  )

/** Waits until what has come is enough. */
export const until = (raw: RawWebSocket, isEnough: (raw: RawWebSocket) => boolean): Effect.Effect<RawWebSocket> =>
  Effect.callback<RawWebSocket>((resume) => {
    const look = () => {
      if (isEnough(raw)) resume(Effect.succeed(raw))
    }
    raw.onChange = look
    look()
    return Effect.sync(() => {
      raw.onChange = () => {}
    })
  })

/** Waits for the server's goodbye, and says what its code was. */
export const closing = (raw: RawWebSocket): Effect.Effect<number> =>
  Effect.map(until(raw, ({ closeCode, isClosed }) => closeCode !== 0 || isClosed), ({ closeCode }) => closeCode)
