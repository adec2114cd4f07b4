/**
 * One row of CSV (RFC 4180) at a time: a row that cannot be read must not stop the rows after it, which the whole-file decoder of
 * `effect/encoding/Csv` does.
 */
import { Result } from "effect"

/** Cells; or a quoted cell that goes on in the next line; or what is wrong. */
export type Row =
  | { readonly _tag: "Row"; readonly cells: ReadonlyArray<string> }
  | { readonly _tag: "Open" }
  | { readonly _tag: "Malformed"; readonly problem: string }

/** What the first row names. */
export interface Header {
  readonly delimiter: string
  /** Where the URL is. */
  readonly url: number
  /** All columns, the URL's included; `id` is written so in any case. */
  readonly columns: ReadonlyArray<string>
}

const delimiters = [",", ";", "\t"] as const

/** Reads a row, which may hold line breaks inside quotes. */
export const parse = (text: string, delimiter: string): Row => {
  const cells: Array<string> = []
  let at = 0
  while (true) {
    let end: number
    if (text[at] === "\"") {
      const close = closingQuote(text, at + 1)
      if (close === -1) return { _tag: "Open" }
      end = close + 1
      if (end < text.length && text[end] !== delimiter) {
        return { _tag: "Malformed", problem: `column ${cells.length + 1} has text after its closing quote` }
      }
      cells.push(text.slice(at + 1, close).replaceAll("\"\"", "\""))
    } else {
      const next = text.indexOf(delimiter, at)
      end = next === -1 ? text.length : next
      cells.push(text.slice(at, end))
    }
    if (end >= text.length) return { _tag: "Row", cells }
    at = end + 1
  }
}

const closingQuote = (text: string, from: number): number => {
  let at = text.indexOf("\"", from)
  while (at !== -1 && text[at + 1] === "\"") at = text.indexOf("\"", at + 2)
  return at
}

const isNamed = (cell: string, name: string): boolean => cell.trim().toLowerCase() === name

/** The columns and the delimiter by which the first row names a `url`; the failure says what is missing. */
export const header = (text: string): Result.Result<Header, string> => {
  for (const delimiter of delimiters) {
    const row = parse(text, delimiter)
    const url = row._tag === "Row" ? row.cells.findIndex((cell) => isNamed(cell, "url")) : -1
    if (row._tag !== "Row" || url === -1) continue
    return Result.succeed({
      delimiter,
      url,
      columns: row.cells.map((cell) => isNamed(cell, "id") ? "id" : cell.trim())
    })
  }
  return Result.fail("the first row names no \"url\" column")
}

/** What a row holds beside its URL, by column; cells without a name are left out. */
export const fieldsOf = ({ columns, url }: Header, cells: ReadonlyArray<string>): Readonly<Record<string, string>> =>
  Object.fromEntries(columns.flatMap((name, at) => {
    const cell = cells[at]
    return at === url || name === "" || cell === undefined ? [] : [[name, cell]]
  }))

/** Whether a first line can only be the head of a CSV file. */
export const looksLikeHeader = (text: string): boolean => !text.includes("://") && Result.isSuccess(header(text))
