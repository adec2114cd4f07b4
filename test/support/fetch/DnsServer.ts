/**
 * A name server on loopback, UDP and TCP, that answers each question as its script says: also late, wrongly or never.
 */
import { Effect, type Scope } from "effect"
import * as dgram from "node:dgram"
import * as net from "node:net"

export interface Asked {
  /** In lower case, without the dot at its end. */
  readonly name: string
  readonly type: "A" | "AAAA"
  readonly isTcp: boolean
}

export type Record =
  | { readonly a: string; readonly ttl?: number; readonly of?: string }
  | { readonly aaaa: string; readonly ttl?: number; readonly of?: string }
  | { readonly cname: string; readonly ttl?: number; readonly of?: string }

export interface Reply {
  /** @default 0 */
  readonly rcode?: number
  readonly records?: ReadonlyArray<Record>
  readonly isTruncated?: boolean
  /** Answers under another id. */
  readonly isForged?: boolean
  /** Answers another question. */
  readonly isOfAnother?: boolean
  /** Bytes to send instead. */
  readonly raw?: Buffer
  readonly afterMillis?: number
  /** Sends when it is called with the function that sends. */
  readonly when?: (send: () => void) => void
}

export const rcodes = { formerr: 1, servfail: 2, nxdomain: 3, notimp: 4, refused: 5 }

export interface DnsServer {
  /** As `dns.setServers` takes it. */
  readonly address: string
  readonly port: number
  readonly asked: ReadonlyArray<Asked>
  /** Waits until so many questions of this name have come. */
  readonly hasHeard: (name: string, times: number) => Effect.Effect<void>
}

const encodeName = (name: string): Buffer =>
  Buffer.concat([
    ...name.split(".").filter((label) => label !== "").map((label) =>
      Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])
    ),
    Buffer.from([0])
  ])

const ipv6Bytes = (address: string): Buffer => {
  const [head = "", tail] = address.split("::")
  const words = (text: string) => text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16))
  const first = words(head)
  const last = tail === undefined ? [] : words(tail)
  const all = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last]
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 255]))
}

const encodeRecord = (record: Record, asked: string): Buffer => {
  const [type, data] = "a" in record
    ? [1, Buffer.from(record.a.split(".").map(Number))] as const
    : "aaaa" in record
    ? [28, ipv6Bytes(record.aaaa)] as const
    : [5, encodeName(record.cname)] as const
  const head = Buffer.alloc(10)
  head.writeUInt16BE(type, 0)
  head.writeUInt16BE(1, 2)
  head.writeUInt32BE(record.ttl ?? 60, 4)
  head.writeUInt16BE(data.length, 8)
  return Buffer.concat([encodeName(record.of ?? asked), head, data])
}

interface Query extends Asked {
  readonly id: number
  readonly question: Buffer
}

const decode = (message: Buffer, isTcp: boolean): Query => {
  const labels: Array<string> = []
  let at = 12
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length))
    at += length + 1
  }
  return {
    id: message.readUInt16BE(0),
    name: labels.join(".").toLowerCase(),
    type: message.readUInt16BE(at + 1) === 28 ? "AAAA" : "A",
    question: message.subarray(12, at + 5),
    isTcp
  }
}

const encode = (query: Query, reply: Reply): Buffer => {
  if (reply.raw !== undefined) return reply.raw
  const records = reply.records ?? []
  const head = Buffer.alloc(12)
  head.writeUInt16BE(reply.isForged === true ? query.id ^ 0xffff : query.id, 0)
  head.writeUInt16BE(0x8180 | (reply.isTruncated === true ? 0x0200 : 0) | (reply.rcode ?? 0), 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(records.length, 6)
  const question = reply.isOfAnother === true
    ? Buffer.concat([encodeName(`not-${query.name}`), query.question.subarray(-4)])
    : query.question
  return Buffer.concat([head, question, ...records.map((record) => encodeRecord(record, query.name))])
}

interface Bound {
  readonly tcp: net.Server
  readonly udp: dgram.Socket
}

/** One port for both; fails when somebody else has it for UDP. */
const bound = ({ host, port }: { readonly host: string; readonly port: number }): Effect.Effect<Bound, Error> =>
  Effect.callback((resume) => {
    const tcp = net.createServer()
    const udp = dgram.createSocket({ type: "udp4", recvBufferSize: 4_000_000 })
    const fail = (error: Error) => {
      tcp.close()
      udp.close()
      resume(Effect.fail(error))
    }
    tcp.once("error", fail)
    udp.once("error", fail)
    tcp.listen(port, host, () => {
      const address = tcp.address()
      const chosen = typeof address === "object" && address !== null ? address.port : port
      udp.bind(chosen, host, () => resume(Effect.succeed({ tcp, udp })))
    })
  })

/** A name server with this script; `undefined` is silence. Its scope's end closes it. */
export const make = (
  script: (asked: Asked) => Reply | ReadonlyArray<Reply> | undefined,
  at: { readonly host: string; readonly port: number } = { host: "127.0.0.1", port: 0 }
): Effect.Effect<DnsServer, Error, Scope.Scope> =>
  Effect.gen(function*() {
    const asked: Array<Asked> = []
    const timers = new Set<NodeJS.Timeout>()
    const listeners = new Set<() => void>()
    const answer = (query: Query, send: (bytes: Buffer) => void) => {
      asked.push({ name: query.name, type: query.type, isTcp: query.isTcp })
      for (const listener of listeners) listener()
      const replies = script(query) ?? []
      for (const reply of "length" in replies ? replies : [replies]) {
        const sendIt = () => send(encode(query, reply))
        if (reply.when !== undefined) reply.when(sendIt)
        else if (reply.afterMillis === undefined) sendIt()
        else {
          const timer = setTimeout(() => {
            timers.delete(timer)
            sendIt()
          }, reply.afterMillis)
          timers.add(timer)
        }
      }
    }
    const sockets = new Set<net.Socket>()
    const { tcp, udp } = yield* Effect.acquireRelease(
      Effect.retry(bound(at), { times: 20 }),
      ({ tcp, udp }) =>
        Effect.callback<void>((resume) => {
          for (const timer of timers) clearTimeout(timer)
          for (const socket of sockets) socket.destroy()
          udp.close(() => tcp.close(() => resume(Effect.void)))
        })
    )
    const { address, port } = udp.address()
    let isOpen = true
    udp.once("close", () => isOpen = false)
    udp.on("message", (message, from) =>
      answer(decode(message, false), (bytes) => {
        if (isOpen) udp.send(bytes, from.port, from.address)
      }))
    tcp.on("connection", (socket) => {
      sockets.add(socket)
      socket.on("error", () => {}).on("close", () => sockets.delete(socket))
      let buffered = Buffer.alloc(0)
      socket.on("data", (chunk) => {
        buffered = Buffer.concat([buffered, chunk])
        while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
          const length = buffered.readUInt16BE(0)
          const query = decode(buffered.subarray(2, 2 + length), true)
          buffered = buffered.subarray(2 + length)
          answer(query, (bytes) => {
            const head = Buffer.alloc(2)
            head.writeUInt16BE(bytes.length)
            socket.write(Buffer.concat([head, bytes]))
          })
        }
      })
    })
    return {
      address: `${address}:${port}`,
      port,
      asked,
      hasHeard: (name, times) =>
        Effect.callback<void>((resume) => {
          const check = () => {
            if (asked.filter((each) => each.name === name).length < times) return
            listeners.delete(check)
            resume(Effect.void)
          }
          listeners.add(check)
          check()
        })
    }
  })
