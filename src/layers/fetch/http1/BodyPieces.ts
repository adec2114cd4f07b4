/**
 * Pieces of a body that have come and were not taken.
 */
export class BodyPieces {
  bytes = 0
  private pieces: Array<Buffer> = []

  push(piece: Buffer): void {
    this.pieces.push(piece)
    this.bytes += piece.length
  }

  /** All of them in one. */
  whole(): Buffer {
    const [first, second] = this.pieces
    if (first === undefined) return empty
    return second === undefined ? first : Buffer.concat(this.pieces, this.bytes)
  }

  /** Takes all of them; `undefined` when there are none. */
  take(): readonly [Uint8Array, ...Array<Uint8Array>] | undefined {
    const [first, ...rest] = this.pieces
    if (first === undefined) return undefined
    this.pieces = []
    this.bytes = 0
    return [first, ...rest]
  }
}

const empty = Buffer.alloc(0)
