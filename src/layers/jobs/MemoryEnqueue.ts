/** What producers store in the in-memory queue: an id is known at once, the job is there with the commit. */
import type { JobId } from "../../services/jobs/Job.ts"
import type { FlowJob, NewJob, Offered } from "../../services/jobs/JobStore.ts"
import { type Row, uniqueOf } from "./MemoryJobRow.ts"
import type { MemoryJobTable } from "./MemoryJobTable.ts"

/** An id for a job that is to be stored, and the live job that has, or had, its unique text. */
export interface Reserved extends Offered {
  readonly other: Row | undefined
}

/** Reserves an id, or answers the live job with the same unique text, and what it will become. */
export const reserve = (table: MemoryJobTable, job: NewJob): Reserved => {
  const held = job.unique === null ? undefined : table.uniques.get(uniqueOf(job))
  const other = held === undefined ? undefined : table.live.get(held)
  if (held !== undefined && (job.whenUnique ?? "keep") === "keep") return { id: held, outcome: "kept", other }
  if (held !== undefined && other?.state !== "running") return { id: held, outcome: "replaced", other }
  // What runs already lets go of the text.
  if (other !== undefined) other.unique = null
  const id = table.nextId()
  if (job.unique !== null) table.uniques.set(uniqueOf(job), id)
  return { id, outcome: "inserted", other }
}

/** Until the transaction ends nobody claims a job that is being replaced. */
export const lock = ({ other, outcome }: Reserved, isLocked: boolean): void => {
  if (outcome === "replaced" && other !== undefined) other.locked = isLocked
}

export const unreserve = (table: MemoryJobTable, job: NewJob, { other, outcome }: Reserved): void => {
  if (job.unique === null || outcome !== "inserted") return
  table.uniques.delete(uniqueOf(job))
  if (other === undefined || !table.live.has(other.id)) return
  other.unique = job.unique
  table.uniques.set(uniqueOf(job), other.id)
}

/** Stores what was reserved. */
export const store = (table: MemoryJobTable, job: NewJob, { id, outcome }: Reserved, now: number): void => {
  if (outcome === "kept") return
  const row = table.live.get(id)
  if (outcome === "inserted" || row === undefined) {
    table.turns.give(table.add(id, job, now), now)
    return
  }
  const isReplaced = job.whenUnique === "replace"
  if (isReplaced) {
    row.payload = job.payload
    row.maxAttempts = job.maxAttempts
    row.attempt = 0
  }
  const runAt = job.runAtMillis ?? now + job.delayMillis
  table.alter(row, { runAt, priority: isReplaced ? job.priority : row.priority }, now)
}

/** Stores a flow under these ids, children before their parent. */
export const storeFlow = (
  table: MemoryJobTable,
  ids: ReadonlyArray<JobId>,
  flow: ReadonlyArray<FlowJob>,
  now: number
): void => {
  const counts = Map.groupBy(flow, ({ parent }) => parent)
  for (const [place, { job, parent, whenChildFails }] of flow.entries()) {
    const id = ids[place]
    if (id === undefined) continue
    const count = counts.get(place)?.length ?? 0
    if (whenChildFails !== undefined) table.flows.begin(id, whenChildFails, count)
    const above = parent === undefined ? null : ids[parent] ?? null
    const kin = { parent: above, children: whenChildFails === undefined ? null : count }
    table.turns.give(table.add(id, { ...job, ...kin }, now), now)
  }
}
