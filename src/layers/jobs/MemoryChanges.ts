/** What operators change of waiting jobs of the in-memory queue. */
import {
  type Changed,
  type ChangeFilter,
  type ChangePreview,
  type JobChange,
  timeOf
} from "../../services/jobs/JobChange.ts"
import { infoOf, type Row } from "./MemoryJobRow.ts"
import type { MemoryJobTable } from "./MemoryJobTable.ts"

const waiting: ReadonlySet<Row["state"]> = new Set(["ready", "scheduled", "blocked"])

/** Those that are meant, oldest first. */
const meant = (table: MemoryJobTable, filter: ChangeFilter, change: JobChange): ReadonlyArray<Row> => {
  const isBurial = change._tag === "Delete" &&
    (filter.state === "dead" || (filter.state === undefined && filter.ids !== undefined))
  return [...table.live.values(), ...isBurial ? table.dead.values() : []].filter((row) =>
    (row.state === "dead" || waiting.has(row.state)) &&
    (filter.queue === undefined || row.queue === filter.queue) &&
    (filter.kind === undefined || row.kind === filter.kind) &&
    (filter.state === undefined || row.state === filter.state) &&
    (filter.ids === undefined || filter.ids.includes(row.id)) &&
    (change._tag !== "RunNow" || row.state === "scheduled") &&
    // What a flow waits for, or has waited for, is cancelled instead.
    (change._tag !== "Delete" || row.state === "dead" || (row.parent === null && row.children === null))
  ).sort((a, b) => a.seq - b.seq).slice(0, filter.limit ?? 1000)
}

export const preview = (table: MemoryJobTable, filter: ChangeFilter, change: JobChange): ChangePreview => {
  const rows = meant(table, filter, change)
  return { matched: rows.length, sample: rows.slice(0, 10).map(infoOf) }
}

/** Nothing is ever locked here: each of these is one step. */
export const change = (
  table: MemoryJobTable,
  filter: ChangeFilter,
  change: JobChange,
  now: number
): Pick<Changed, "ids" | "busy"> => {
  const rows = meant(table, filter, change)
  for (const row of rows) {
    switch (change._tag) {
      case "Delete":
        table.remove(row, now)
        break
      case "RunNow":
        table.alter(row, { runAt: now, priority: row.priority }, now)
        break
      case "Priority":
        table.alter(row, { runAt: row.runAt, priority: change.priority }, now)
        break
      case "Reschedule": {
        const { delayMillis, runAtMillis } = timeOf(change.to)
        table.alter(row, { runAt: runAtMillis ?? now + delayMillis, priority: row.priority }, now)
      }
    }
  }
  return { ids: rows.map(({ id }) => id), busy: 0 }
}
