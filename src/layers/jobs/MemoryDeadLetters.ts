import type { RedriveFilter } from "../../services/jobs/Redrive.ts"
import { type Row, uniqueOf } from "./MemoryJobRow.ts"

/**
 * The dead letters that a filter means, oldest first: which may run again, and how many a unique text holds back, a
 * live job's or an older one's of them.
 */
export const redrivable = (
  dead: Iterable<Row>,
  uniques: Iterable<string>,
  filter: RedriveFilter
): { readonly chosen: ReadonlyArray<Row>; readonly held: number } => {
  const meant = [...dead].sort((a, b) => a.seq - b.seq).filter((row) =>
    (filter.queue === undefined || row.queue === filter.queue) &&
    (filter.kind === undefined || row.kind === filter.kind) &&
    (filter.reason === undefined || row.failures.at(-1)?.reason === filter.reason) &&
    (filter.ids === undefined || filter.ids.includes(row.id))
  )
  const taken = new Set(uniques)
  const free = meant.filter((row) => {
    if (row.unique === null) return true
    const isFree = !taken.has(uniqueOf(row))
    taken.add(uniqueOf(row))
    return isFree
  })
  return { chosen: free.slice(0, filter.limit ?? 1000), held: meant.length - free.length }
}
