/**
 * Bytes to numbered lines, bounded: a line that never ends costs no more memory than the longest that is accepted.
 */
import { Stream } from "effect"

/** A line without its end; `text` is `undefined` when it was longer than `lineLengthMax`. */
export interface Line {
  readonly number: number
  readonly text: string | undefined
}

/** Longest line, in UTF-16 code units: a URL has at most 8,192, the rest is for bodies in NDJSON. */
export const lineLengthMax = 1024 * 1024

interface State {
  readonly number: number
  /** The line so far; `undefined` when it is too long already. */
  readonly open: string | undefined
}

const join = (open: string | undefined, more: string): string | undefined =>
  open === undefined || open.length + more.length > lineLengthMax ? undefined : open + more

const split = (state: State, chunks: ReadonlyArray<string>): readonly [State, ReadonlyArray<Line>] => {
  const lines: Array<Line> = []
  let { number, open } = state
  for (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf("\n"); end !== -1; end = chunk.indexOf("\n", start)) {
      lines.push({ number, text: withoutReturn(join(open, chunk.slice(start, end))) })
      number++
      open = ""
      start = end + 1
    }
    open = join(open, chunk.slice(start))
  }
  return [{ number, open }, lines]
}

const withoutReturn = (text: string | undefined): string | undefined => text?.endsWith("\r") ? text.slice(0, -1) : text

/** Lines of UTF-8 text, numbered from 1. A byte order mark is no part of them. */
export const lines = <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Line, E, R> =>
  bytes.pipe(
    Stream.decodeText({ encoding: "utf-8" }),
    Stream.mapAccumArray((): State => ({ number: 1, open: "" }), split, {
      onHalt: ({ number, open }) => open === "" ? [] : [{ number, text: withoutReturn(open) }]
    })
  )
