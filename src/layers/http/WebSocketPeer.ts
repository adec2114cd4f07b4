/** One WebSocket of this server: Effect's socket for messages, Node's for how much is unread and whether the other side lives. */
import { Effect } from "effect"
import * as Socket from "effect/socket/Socket"
import type { Socket as NodeSocket } from "node:net"
import * as LongConnections from "../../services/http/LongConnections.ts"

/** What a beat of the heart finds. */
export type Pulse = "alive" | "gone"

/** A connection as the server keeps it. */
export interface Connection {
  readonly peer: LongConnections.Peer
  /** Looks whether anything has come since the last beat, and pings. */
  readonly beat: () => Pulse
  /** Says goodbye with this code, and waits for the end of the connection; one that takes too long is cut. */
  readonly close: (code: number, reason: string) => Effect.Effect<void>
  readonly cut: () => void
}

/** A ping without a payload (RFC 6455 section 5.5.2): Effect's socket knows no pings, and a server's frames are not masked. */
const ping = Uint8Array.of(0x89, 0)

const gone = (error: Socket.SocketError): LongConnections.PeerGone =>
  new LongConnections.PeerGone({ code: error.reason._tag === "SocketCloseError" ? error.reason.code : 1006 })

/** Resumes when one of these events comes, or at once when the connection has ended. */
const next = (wire: NodeSocket, events: ReadonlyArray<"drain" | "close">): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (wire.destroyed) return resume(Effect.void)
    const come = () => {
      leave()
      resume(Effect.void)
    }
    const leave = () => {
      for (const event of events) wire.off(event, come)
    }
    for (const event of events) wire.on(event, come)
    return Effect.sync(leave)
  })

/** Whether the other side lives: something has come since the last look, or it has read of what was waiting. */
const pulseOf = (wire: NodeSocket): () => Pulse => {
  const look = () => ({
    read: wire.bytesRead,
    left: wire.bytesWritten - wire.writableLength,
    waiting: wire.writableLength
  })
  let last = { ...look(), isAsked: false }
  return () => {
    const now = look()
    const isAlive = !last.isAsked || now.read !== last.read || (last.waiting > 0 && now.left !== last.left)
    // Behind what is unread a ping would only wait too; reading is then the sign of life.
    if (isAlive && now.waiting === 0 && wire.writable) wire.write(ping)
    last = { ...look(), waiting: now.waiting, isAsked: true }
    return isAlive ? "alive" : "gone"
  }
}

/** What a connection is made of. */
export interface Parts {
  readonly client: string
  readonly wire: NodeSocket
  readonly reader: Socket.Reader
  readonly writer: Socket.Writer
  readonly limits: LongConnections.Limits
}

/** The connection of an upgraded request. */
export const make = ({ client, limits, reader, wire, writer }: Parts): Connection => {
  const room = next(wire, ["drain", "close"]).pipe(
    Effect.timeoutOrElse({
      duration: limits.patience,
      orElse: () => Effect.fail(new LongConnections.PeerTooSlow({ unreadBytes: wire.writableLength }))
    })
  )
  // What is written to a connection that has ended is lost without a word.
  const write = (text: string) =>
    Effect.suspend(() =>
      wire.writable
        ? Effect.mapError(writer.write(text), gone)
        : Effect.fail(new LongConnections.PeerGone({ code: 1006 }))
    )
  return {
    peer: {
      client,
      receive: Effect.mapError(reader.pull, gone),
      send: (text) => Effect.suspend(() => wire.writableNeedDrain ? Effect.andThen(room, write(text)) : write(text))
    },
    beat: pulseOf(wire),
    close: (code, reason) =>
      writer.write(new Socket.CloseEvent(code, reason)).pipe(
        Effect.andThen(next(wire, ["close"])),
        Effect.timeout(limits.farewell),
        Effect.catch(() => Effect.sync(() => wire.destroy())),
        Effect.asVoid
      ),
    cut: () => void wire.destroy()
  }
}
