/**
 * The chunked transfer coding undone (RFC 9112 section 7.1), piece by piece. Chunk lines end with CRLF and nothing else; extensions and
 * trailers are read over, and bounded.
 */
import { LineBlock } from "./LineBlock.ts"
import { parseFields } from "./ResponseHead.ts"
import { WireFault } from "./WireFault.ts"

/** What comes next. */
type State = "size" | "blank" | "extension" | "sizeEnd" | "data" | "dataEnd" | "dataLast" | "trailer" | "done"

/** The longest size line, extension included. */
const lineMaxBytes = 4096
/** Extensions in all may not be longer than the body by more than this. */
const extensionsMaxBytes = 65_536
const trailerMaxBytes = 16_384

export class ChunkedBody {
  private readonly onData: (piece: Buffer) => void
  private state: State = "size"
  /** Of the present chunk: its size so far, or what is missing of it. */
  private left = 0
  private lineBytes = 0
  private extensionBytes = 0
  private dataBytes = 0
  private readonly trailer = new LineBlock(trailerMaxBytes)

  constructor(onData: (piece: Buffer) => void) {
    this.onData = onData
  }

  get isDone(): boolean {
    return this.state === "done"
  }

  /** Takes bytes from an offset on: where the body ends in them, or their length when it goes on. */
  take(piece: Buffer, from: number): number | WireFault {
    let at = from
    while (at < piece.length && this.state !== "done") {
      if (this.state === "data") at = this.data(piece, at)
      else if (this.state === "trailer") {
        const end = this.trailer.take(piece, at)
        if (this.trailer.isTooLong) return fault(`a trailer of more than ${trailerMaxBytes} bytes`)
        if (end < 0) return piece.length
        const fields = parseFields(this.trailer.text, 0)
        if (fields instanceof WireFault) return fault(`in the trailer ${fields.problem}`)
        this.state = "done"
        at = end
      } else {
        const wrong = this.byte(piece[at] ?? 0)
        if (wrong !== undefined) return fault(`${wrong}, after ${this.dataBytes} bytes of the body`)
        at++
      }
    }
    return at
  }

  private data(piece: Buffer, at: number): number {
    const end = Math.min(piece.length, at + this.left)
    this.onData(at === 0 && end === piece.length ? piece : piece.subarray(at, end))
    this.left -= end - at
    this.dataBytes += end - at
    if (this.left === 0) this.state = "dataEnd"
    return end
  }

  /** One byte between data: what is wrong with it, if anything is. */
  private byte(byte: number): string | undefined {
    switch (this.state) {
      case "dataEnd":
        this.state = "dataLast"
        return byte === 13 ? undefined : "a chunk is longer than its size"
      case "dataLast":
        this.state = "size"
        return byte === 10 ? undefined : "a chunk is longer than its size"
      case "sizeEnd":
        this.lineBytes = 0
        this.state = this.left === 0 ? "trailer" : "data"
        return byte === 10 ? undefined : "a chunk size line with a bare carriage return"
      default:
        return this.sizeByte(byte)
    }
  }

  private sizeByte(byte: number): string | undefined {
    if (++this.lineBytes > lineMaxBytes) return `a chunk size line of more than ${lineMaxBytes} bytes`
    const digit = this.state === "size" ? hexOf(byte) : -1
    if (digit >= 0) {
      this.left = this.left * 16 + digit
      return this.left <= Number.MAX_SAFE_INTEGER ? undefined : "a chunk size beyond all measure"
    }
    if (this.state === "size" && this.lineBytes === 1) return "a chunk size that is no hexadecimal number"
    if (byte === 13) {
      this.state = "sizeEnd"
      return undefined
    }
    if (byte === 10) return "a chunk size line with a bare line feed"
    if (this.state === "extension") {
      this.extensionBytes++
      const isOver = this.extensionBytes > this.dataBytes + extensionsMaxBytes
      return isOver ? "chunk extensions longer than the body" : byte === 0 ? "a NUL in a chunk extension" : undefined
    }
    if (byte === 59) this.state = "extension"
    else if (byte === 32 || byte === 9) this.state = "blank"
    else return "a chunk size that is no hexadecimal number"
    return undefined
  }
}

const hexOf = (byte: number): number =>
  byte >= 48 && byte <= 57
    ? byte - 48
    : byte >= 97 && byte <= 102
    ? byte - 87
    : byte >= 65 && byte <= 70
    ? byte - 55
    : -1

const fault = (problem: string): WireFault => new WireFault({ code: "BAD_CHUNK", problem })
