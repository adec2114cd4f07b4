/**
 * Lines up to an empty one, put together from the pieces that come: a head, or the trailer of a chunked body. A line ends with CRLF or
 * with a bare LF (RFC 9112 section 2.2).
 */
const lineFeed = 10
const carriageReturn = 13

export class LineBlock {
  /** The whole of it, last empty line included, once it is complete. */
  text = ""
  /** Bytes taken so far. */
  bytes = 0
  private readonly maxBytes: number
  private held: Array<Buffer> = []
  private lineBytes = 0
  private last = 0

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** It has become longer than it may. */
  get isTooLong(): boolean {
    return this.bytes > this.maxBytes
  }

  /** Takes bytes from an offset on; where the block ends in them, or -1 when it goes on. */
  take(piece: Buffer, from: number): number {
    let { last, lineBytes } = this
    for (let at = from; at < piece.length; at++) {
      const byte = piece[at] ?? 0
      if (byte === lineFeed) {
        if (lineBytes === 0 || (lineBytes === 1 && last === carriageReturn)) return this.complete(piece, from, at + 1)
        lineBytes = 0
      } else lineBytes++
      last = byte
    }
    this.lineBytes = lineBytes
    this.last = last
    this.bytes += piece.length - from
    // What is too long is not kept: its owner gives up.
    if (!this.isTooLong) this.held.push(from === 0 ? piece : piece.subarray(from))
    return -1
  }

  private complete(piece: Buffer, from: number, end: number): number {
    this.bytes += end - from
    if (this.held.length === 0) this.text = piece.toString("latin1", from, end)
    else {
      this.held.push(piece.subarray(from, end))
      this.text = Buffer.concat(this.held).toString("latin1")
      this.held = []
    }
    return end
  }
}
