/**
 * One coding of a body, undone piece by piece. Where the engine stops by itself, what follows is looked at: the next frame, padding, or
 * bytes that do not belong there.
 */
import * as Coding from "./Coding.ts"

type Done = (error: unknown) => void

/** Bytes after the end of a stream that nothing may follow. */
export class TrailingBytes extends Error {
  readonly code = "goes on after its end"
}

export class DecoderStage {
  private readonly name: string
  private readonly onOut: (piece: Uint8Array) => void
  private start: Uint8Array = new Uint8Array(0)
  private coding: Coding.Coding | undefined = undefined
  private engine: Coding.Engine | undefined = undefined
  /** Bytes given to the present engine. */
  private given = 0
  /** The engine has stopped, and only padding may follow. */
  private isPadding = false
  private error: unknown = undefined
  private waiting: Done = () => {}

  constructor(name: string, onOut: (piece: Uint8Array) => void) {
    this.name = name
    this.onOut = onOut
  }

  /** Takes a piece; all that comes out of it is out when it is done. */
  push(piece: Uint8Array, done: Done): void {
    if (piece.length === 0) return done(undefined)
    if (this.coding !== undefined) return this.write(this.coding, piece, done)
    const start = this.start.length === 0 ? piece : Buffer.concat([this.start, piece])
    if (start.length < Coding.startBytes) {
      this.start = start
      return done(undefined)
    }
    this.begin(start, done)
  }

  /** No more comes. Nothing in, nothing out. */
  end(done: Done): void {
    if (this.coding !== undefined) this.finish(done)
    else if (this.start.length === 0) done(undefined)
    else this.begin(this.start, (error) => error === undefined ? this.finish(done) : done(error))
  }

  /** Ends it before its end: what it was doing is done, with this error. */
  stop(error: unknown): void {
    this.error = error
    this.destroy()
    this.waiting(error)
  }

  /** Frees its memory. */
  destroy(): void {
    this.engine?.destroy()
  }

  private begin(start: Uint8Array, done: Done): void {
    this.coding = Coding.of(this.name, start)
    this.write(this.coding, start, done)
  }

  private write(coding: Coding.Coding, piece: Uint8Array, done: Done): void {
    if (this.isPadding) return done(Coding.isZeros(piece) ? undefined : new TrailingBytes())
    const engine = this.engine ??= this.open(coding)
    this.given += piece.length
    this.act(
      (written) => engine.write(piece, written),
      (error) => {
        if (error !== undefined) return done(error)
        const left = this.given - engine.bytesWritten
        if (left === 0) return done(undefined)
        const rest = piece.subarray(piece.length - left)
        engine.destroy()
        this.engine = undefined
        if (coding.after === "nothing") return done(new TrailingBytes())
        this.isPadding = coding.after === "zeros"
        this.write(coding, rest, done)
      }
    )
  }

  private finish(done: Done): void {
    const { engine } = this
    if (engine === undefined) return done(undefined)
    this.act((ended) => {
      engine.once("end", ended)
      engine.end()
    }, done)
  }

  /** Calls `done` once: when the act is done, or when the engine fails. */
  private act(act: (done: () => void) => void, done: Done): void {
    if (this.error !== undefined) return done(this.error)
    const settle = (error: unknown) => {
      this.waiting = () => {}
      done(error)
    }
    this.waiting = settle
    act(() => {
      if (this.waiting === settle) settle(this.error)
    })
  }

  private open(coding: Coding.Coding): Coding.Engine {
    const engine = coding.open()
    this.given = 0
    engine.on("data", this.onOut)
    engine.on("error", (error: unknown) => {
      this.error = error
      this.waiting(error)
    })
    return engine
  }
}
