/**
 * Lines that are longer than the terminal is wide, broken where people would break them.
 */
import { stripVTControlCharacters } from "node:util"

interface Piece {
  /** What stands before it when it does not begin a line. */
  readonly gap: string
  readonly text: string
}

const width = (text: string): number => stripVTControlCharacters(text).length

/** Between the figures of a line: a middle dot with its colours, or the space between two columns. */
// oxlint-disable-next-line no-control-regex
const strong = /((?:\u001b\[\d+m)* · (?:\u001b\[\d+m)*| {2,})/
/** Between words; a command, in backticks or in bold, is one word, because it may be pasted. */
// oxlint-disable-next-line no-control-regex
const words = /`[^`]*`\S*|\u001b\[1m[^\u001b]*\u001b\[22m\S*|[^\s`]+/g

const piecesOf = (line: string): ReadonlyArray<Piece> => {
  const parts = line.split(strong)
  return parts.flatMap((text, index) =>
    index % 2 === 0 ? [{ gap: index === 0 ? "" : parts[index - 1] ?? "", text }] : []
  )
}

const wordsOf = ({ gap, text }: Piece): ReadonlyArray<Piece> =>
  (text.match(words) ?? []).map((word, index) => ({ gap: index === 0 ? gap : " ", text: word }))

/**
 * The line in as many as it takes, each but the first a little further to the right. Figures stay whole, then words: what is longer
 * than a line by itself is left to the terminal.
 */
export const wrap = (line: string, columns: number): ReadonlyArray<string> => {
  // Some terminals go to the next line when the last column is written.
  const room = columns - 1
  if (width(line) <= room) return [line]
  const indent = /^ */.exec(line)?.[0] ?? ""
  const hanging = `${indent}  `
  const lines: Array<string> = []
  let current = indent
  let isFresh = true
  const put = ({ gap, text }: Piece) => {
    if (!isFresh && width(current + gap + text) > room) {
      lines.push(current)
      current = hanging
      isFresh = true
    }
    current += isFresh ? text : gap + text
    isFresh = false
  }
  for (const piece of piecesOf(line.slice(indent.length))) {
    if (width(hanging + piece.text) <= room) put(piece)
    else for (const word of wordsOf(piece)) put(word)
  }
  return [...lines, current]
}
