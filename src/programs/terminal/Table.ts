/** Rows for people: columns as wide as their widest cell, two spaces between them. */

/** A column: what stands above it, and to which side its cells keep. */
export interface Column {
  readonly title: string
  readonly side: "left" | "right"
}

export const left = (title: string): Column => ({ title, side: "left" })

/** For numbers. */
export const right = (title: string): Column => ({ title, side: "right" })

type Row = ReadonlyArray<string>

const width = (rows: ReadonlyArray<Row>, index: number): number =>
  rows.reduce((widest, row) => Math.max(widest, row[index]?.length ?? 0), 0)

const aligned = (rows: ReadonlyArray<Row>, sideOf: (index: number) => Column["side"]): ReadonlyArray<string> => {
  const widths = Array.from({ length: rows[0]?.length ?? 0 }, (_, index) => width(rows, index))
  return rows.map((row) =>
    widths
      .map((width, index) =>
        sideOf(index) === "right" ? (row[index] ?? "").padStart(width) : (row[index] ?? "").padEnd(width)
      )
      .join("  ")
      .trimEnd()
  )
}

/** The head and a line for each row. */
export const lines = (columns: ReadonlyArray<Column>, rows: ReadonlyArray<Row>): ReadonlyArray<string> =>
  aligned([columns.map(({ title }) => title), ...rows], (index) => columns[index]?.side ?? "left")

/** Names and their values, below each other. */
export const pairs = (rows: ReadonlyArray<readonly [name: string, value: string]>): ReadonlyArray<string> =>
  aligned(rows, () => "left")
