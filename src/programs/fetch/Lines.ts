/**
 * Bytes to numbered lines, bounded: a line that never ends costs no more memory than the longest that is accepted.
 */
import { Stream } from "effect"
import { isUtf8 } from "node:buffer"

/** A line without its end, or what is wrong with it. */
export type Line =
  | { readonly _tag: "Text"; readonly number: number; readonly text: string }
  | { readonly _tag: "Unreadable"; readonly number: number; readonly problem: string }

/** Longest line, in bytes: a URL has at most 8,192 characters, the rest is for bodies in NDJSON. */
export const lineLengthMax = 1024 * 1024

/** Where reading has come to. */
interface State {
  number: number
  /** The line so far, in pieces; nothing of one that is too long. */
  open: Array<Uint8Array>
  openBytes: number
}

const newline = 0x0a

const append = (state: State, piece: Uint8Array): void => {
  state.openBytes += piece.length
  if (state.openBytes > lineLengthMax) state.open = []
  else if (piece.length > 0) state.open.push(piece)
}

const split = (state: State, chunks: ReadonlyArray<Uint8Array>): readonly [State, ReadonlyArray<Line>] => {
  const lines: Array<Line> = []
  for (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      append(state, chunk.subarray(start, end))
      lines.push(lineOf(state))
      state.number++
      state.open = []
      state.openBytes = 0
      start = end + 1
    }
    append(state, chunk.subarray(start))
  }
  return [state, lines]
}

/** A byte order mark is no part of the text, and the one of UTF-16 says that nothing of it is UTF-8. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

const lineOf = ({ number, open, openBytes }: State): Line => {
  if (openBytes > lineLengthMax) {
    return { _tag: "Unreadable", number, problem: `line is longer than ${lineLengthMax} bytes` }
  }
  const [first = new Uint8Array()] = open
  const bytes = open.length < 2 ? first : Buffer.concat(open)
  const isUtf16 = number === 1 && (bytes[0] === 0xff && bytes[1] === 0xfe || bytes[0] === 0xfe && bytes[1] === 0xff)
  if (isUtf16) return { _tag: "Unreadable", number, problem: `is UTF-16: ${convert("UTF-16")}` }
  if (!isUtf8(bytes)) return { _tag: "Unreadable", number, problem: `is not UTF-8: ${convert("ISO-8859-1")}` }
  const text = decoder.decode(bytes)
  const start = number === 1 && text.startsWith("\uFEFF") ? 1 : 0
  return { _tag: "Text", number, text: text.slice(start, text.endsWith("\r") ? -1 : undefined) }
}

const convert = (from: string): string => `only UTF-8 is read; \`iconv -f ${from} -t UTF-8\` makes it of that`

/** Lines of UTF-8 text, numbered from 1. A byte order mark is no part of them. */
export const lines = <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Line, E, R> =>
  Stream.mapAccumArray(bytes, (): State => ({ number: 1, open: [], openBytes: 0 }), split, {
    onHalt: (state) => state.openBytes === 0 ? [] : [lineOf(state)]
  })
