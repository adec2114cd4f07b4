/** As much of the wire protocol of Postgres (chapter 54 of its manual) as a server in between has to know. */
export const query = (sql: string): Buffer => {
  const body = Buffer.from(`${sql}\0`)
  const message = Buffer.alloc(5)
  message[0] = 0x51
  message.writeInt32BE(4 + body.length, 1)
  return Buffer.concat([message, body])
}

const authenticationOk = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0])
const backendKey = Buffer.from([0x4b, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1])
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
export const welcome = Buffer.concat([authenticationOk, backendKey, readyForQuery])

export const sslRequest = 80_877_103

/** Message types that are answered as a whole: Sync, Query, Terminate. */
export const closers: ReadonlySet<number> = new Set([0x53, 0x51, 0x58])
export const terminate = 0x58
export const goodbye = Buffer.from([terminate, 0, 0, 0, 4])
export const notification = 0x41
export const notice = 0x4e
export const keyData = 0x4b
export const ready = 0x5a
const rowDescription = 0x54
const dataRow = 0x44
export const simpleQuery = 0x51
export const parse = 0x50
export const bind = 0x42
const errorResponse = 0x45

/** FATAL, before the session has begun. */
export const fatal = (code: string, text: string): Buffer => {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${text}\0\0`)
  const head = Buffer.alloc(5)
  head[0] = errorResponse
  head.writeInt32BE(4 + fields.length, 1)
  return Buffer.concat([head, fields])
}

/** The messages of a reply, as far as they are whole. */
export const messagesOf = (bytes: Buffer): ReadonlyArray<Buffer> => {
  const messages: Array<Buffer> = []
  for (let at = 0; at + 5 <= bytes.length;) {
    const end = at + 1 + bytes.readInt32BE(at + 1)
    if (end > bytes.length) break
    messages.push(bytes.subarray(at, end))
    at = end
  }
  return messages
}

/** What a session begins with. */
export const startup = (parameters: Readonly<Record<string, string>>): Buffer => {
  const body = Buffer.from(`${Object.entries(parameters).flat().join("\0")}\0\0`)
  const head = Buffer.alloc(8)
  head.writeInt32BE(8 + body.length, 0)
  head.writeInt32BE(196_608, 4)
  return Buffer.concat([head, body])
}

/** An error without what differs between two runs: the numbers of processes and transactions in a deadlock's details. */
export const settled = (
  message: Buffer,
  change: (code: string, text: string) => readonly [code: string, text: string] | undefined
): Buffer => {
  if (message[0] !== errorResponse) return message
  const fields = message.subarray(5).toString("utf8").split("\0").filter((field) => field !== "")
  const code = fields.find((field) => field.startsWith("C"))?.slice(1) ?? ""
  const changed = change(code, fields.find((field) => field.startsWith("M"))?.slice(1) ?? "")
  const kept = fields.flatMap((field) => {
    const kind = field[0]
    if (code === "40P01" && (kind === "D" || kind === "H")) return []
    if (changed !== undefined && kind === "C") return [`C${changed[0]}`]
    return changed !== undefined && kind === "M" ? [`M${changed[1]}`] : [field]
  })
  const body = Buffer.from(`${kept.join("\0")}\0\0`)
  const head = Buffer.alloc(5)
  head[0] = errorResponse
  head.writeInt32BE(4 + body.length, 1)
  return Buffer.concat([head, body])
}

/** The first column of every row, as text; an error is thrown. */
export const cellsOf = (reply: Buffer): ReadonlyArray<string> =>
  messagesOf(reply).flatMap((message) => {
    if (message[0] === errorResponse) {
      throw new Error(`the checker's own statement failed: ${message.toString("latin1")}`)
    }
    return message[0] === dataRow ? [message.subarray(11, 11 + message.readInt32BE(7)).toString()] : []
  })

/** `I` idle, `T` in a transaction, `E` in a failed one: the last byte of ReadyForQuery. */
export const statusOf = (bytes: Buffer): string =>
  bytes[bytes.length - 6] === 0x5a ? String.fromCharCode(bytes.at(-1) ?? 0) : "I"

/** Without row descriptions: the numbers of tables differ between databases. */
export const digest = (reply: Buffer): string => {
  let hash = 0x811c9dc5
  for (const message of messagesOf(reply)) {
    if (message[0] !== rowDescription) { for (const byte of message) hash = Math.imul(hash ^ byte, 0x01000193) }
  }
  return (hash >>> 0).toString(16)
}
