/**
 * The body of a request that comes as a stream, on its way out: at the speed of the socket, in chunks when its length is not known
 * (RFC 9112 section 7.1), and never more or less than was announced.
 */
import type { Readable } from "node:stream"
import type { Connection } from "./Connection.ts"
import { RequestFault } from "./WireFault.ts"

export class Upload {
  /** All of it was handed to the socket. */
  isDone = false
  private readonly source: Readable
  private readonly length: number | undefined
  private readonly connection: Connection
  private readonly onFault: (error: unknown) => void
  private bytes = 0
  private isOver = false

  constructor(
    source: Readable,
    length: number | undefined,
    connection: Connection,
    onFault: (error: unknown) => void
  ) {
    this.source = source
    this.length = length
    this.connection = connection
    this.onFault = onFault
  }

  start(): void {
    this.source.on(
      "data",
      (piece: Uint8Array | string) => this.send(typeof piece === "string" ? Buffer.from(piece) : piece)
    )
    this.source.once("end", () => this.end())
    this.source.once("close", () => {
      if (!this.isDone) this.fail(new RequestFault({ problem: "the body's stream ended before its end" }))
    })
    this.source.once("error", (error: unknown) => this.fail(error))
  }

  /** The socket takes more. */
  resume(): void {
    if (!this.isOver) this.source.resume()
  }

  /** Lets go of the source. */
  stop(): void {
    if (this.isOver) return
    this.isOver = true
    this.source.destroy()
  }

  private send(piece: Uint8Array): void {
    if (this.isOver || piece.length === 0) return
    this.bytes += piece.length
    if (this.length !== undefined && this.bytes > this.length) {
      return this.fail(new RequestFault({ problem: `the body is longer than its content-length of ${this.length}` }))
    }
    let hasRoom = true
    if (this.length === undefined) {
      this.connection.together(() => {
        this.connection.write(`${piece.length.toString(16)}\r\n`)
        this.connection.write(piece)
        hasRoom = this.connection.write("\r\n")
      })
    } else hasRoom = this.connection.write(piece)
    if (!hasRoom) this.source.pause()
  }

  private end(): void {
    if (this.isOver) return
    if (this.length !== undefined && this.bytes < this.length) {
      const problem = `the body ended after ${this.bytes} bytes of its content-length of ${this.length}`
      return this.fail(new RequestFault({ problem }))
    }
    this.isDone = true
    this.isOver = true
    if (this.length === undefined) this.connection.write("0\r\n\r\n")
  }

  private fail(error: unknown): void {
    if (this.isOver) return
    this.stop()
    this.onFault(error)
  }
}
