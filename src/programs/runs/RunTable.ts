/** Runs as a table, for people. */
import type { RunSummary } from "../../services/fetch/Frontier.ts"
import { count } from "../terminal/Style.ts"
import * as Table from "../terminal/Table.ts"

/** A time to its minute. */
export const minute = (iso: string): string => iso.slice(0, 16).replace("T", " ")

const columns = ["pending", "leased", "done", "failed"] as const

/** A head, and a line for each run. */
export const lines = (runs: ReadonlyArray<RunSummary>): ReadonlyArray<string> =>
  Table.lines(
    [Table.left("run"), Table.left("started (UTC)"), ...columns.map(Table.right)],
    runs.map(({ counts, createdAt, name }) => [
      name,
      minute(createdAt),
      ...columns.map((column) => count(counts[column]))
    ])
  )
