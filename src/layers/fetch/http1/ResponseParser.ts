/**
 * One response from the bytes of its connection: interim heads, the final head, and the body without its framing (RFC 9112). Pure: bytes
 * come in, calls go out.
 */
import { ChunkedBody } from "./ChunkedBody.ts"
import * as Framing from "./Framing.ts"
import { LineBlock } from "./LineBlock.ts"
import * as ResponseHead from "./ResponseHead.ts"
import { ConnectionLost, WireFault } from "./WireFault.ts"

/** Interim (1xx) responses that are put up with before one final response. */
const interimMax = 16

/** Who is told of a response. */
export interface Reader {
  /** An interim response (RFC 9110 section 15.2). */
  readonly onInterim: (status: number) => void
  /** @param length of the body, when the head says it */
  readonly onHead: (head: ResponseHead.ResponseHead, length: number | undefined) => void
  readonly onBody: (piece: Buffer) => void
}

const start = Buffer.from("HTTP/1.")

export class ResponseParser {
  /** The response is whole. */
  isDone = false
  /** The connection may carry another request: the server keeps it, and nothing came that was not asked for. */
  isReusable = false
  /** The final head, when it has come. */
  head: ResponseHead.ResponseHead | undefined = undefined
  private readonly method: string
  private readonly headMaxBytes: number
  private readonly reader: Reader
  private block: LineBlock
  private framing: Framing.Framing | undefined = undefined
  private chunks: ChunkedBody | undefined = undefined
  private left = 0
  private interim = 0

  constructor(method: string, headMaxBytes: number, reader: Reader) {
    this.method = method
    this.headMaxBytes = headMaxBytes
    this.reader = reader
    this.block = new LineBlock(headMaxBytes)
  }

  /** Bytes of an answer have come. */
  get hasBegun(): boolean {
    return this.block.bytes > 0 || this.interim > 0
  }

  /** Takes the next bytes; what is wrong with them, if anything is. */
  take(piece: Buffer): WireFault | undefined {
    let at = 0
    while (at < piece.length && !this.isDone) {
      const next = this.head === undefined ? this.takeHead(piece, at) : this.takeBody(piece, at)
      if (next instanceof WireFault) return next
      at = next
    }
    if (at < piece.length) this.isReusable = false
    return undefined
  }

  /** The server has closed the connection and nothing went wrong: the end of a body without length, of any other a loss. */
  finish(): ConnectionLost | undefined {
    if (this.framing?._tag !== "Close") return new ConnectionLost({ code: "CLOSED" })
    this.isDone = true
    return undefined
  }

  private takeHead(piece: Buffer, from: number): number | WireFault {
    const { block } = this
    for (let at = block.bytes; at < start.length && from + at - block.bytes < piece.length; at++) {
      if (piece[from + at - block.bytes] !== start[at]) return notHttp(piece, from)
    }
    const end = block.take(piece, from)
    if (block.isTooLong) {
      return new WireFault({ code: "HEAD_TOO_LARGE", problem: `a head of more than ${this.headMaxBytes} bytes` })
    }
    if (end < 0) return piece.length
    const head = ResponseHead.parse(block.text)
    if (head instanceof WireFault) return head
    const wrong = head.status < 200 ? this.skip(head.status) : this.begin(head)
    return wrong ?? end
  }

  private skip(status: number): WireFault | undefined {
    if (status === 101) {
      return new WireFault({ code: "UNASKED_UPGRADE", problem: "101 to a request that asks for no other protocol" })
    }
    if (++this.interim > interimMax) {
      const problem = `more than ${interimMax} interim responses`
      return new WireFault({ code: "TOO_MANY_INTERIM_RESPONSES", problem })
    }
    this.block = new LineBlock(this.headMaxBytes)
    this.reader.onInterim(status)
    return undefined
  }

  private begin(head: ResponseHead.ResponseHead): WireFault | undefined {
    const framing = Framing.of(head, this.method)
    if (framing instanceof WireFault) return framing
    this.head = head
    this.framing = framing
    this.isReusable = framing._tag !== "Close" && Framing.persists(head)
    if (framing._tag === "Chunked") this.chunks = new ChunkedBody((piece) => this.reader.onBody(piece))
    else if (framing._tag === "Length") {
      this.left = framing.bytes
      this.isDone = framing.bytes === 0
    }
    this.reader.onHead(head, framing._tag === "Length" ? framing.bytes : undefined)
    return undefined
  }

  private takeBody(piece: Buffer, from: number): number | WireFault {
    if (this.chunks !== undefined) {
      const next = this.chunks.take(piece, from)
      this.isDone = this.chunks.isDone
      return next
    }
    const isClose = this.framing?._tag === "Close"
    const end = isClose ? piece.length : Math.min(piece.length, from + this.left)
    this.reader.onBody(from === 0 && end === piece.length ? piece : piece.subarray(from, end))
    if (!isClose) {
      this.left -= end - from
      this.isDone = this.left === 0
    }
    return end
  }
}

const notHttp = (piece: Buffer, from: number): WireFault => {
  const text = JSON.stringify(piece.toString("latin1", from, Math.min(piece.length, from + 40)))
  return new WireFault({ code: "BAD_STATUS_LINE", problem: `reply begins with ${text}, which is not HTTP/1.x` })
}
