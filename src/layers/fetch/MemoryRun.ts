/** One run in memory: its URLs, who works on which host, and what became of each. */
import { Deferred, Duration, Effect, MutableList } from "effect"
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import { type FetchTarget, keyOf } from "../../services/fetch/FetchRequest.ts"
import type { FetchDemand, FetchSupply } from "../../services/fetch/FetchSource.ts"
import * as Frontier from "../../services/fetch/Frontier.ts"
import type { HostState } from "../../services/fetch/HostState.ts"
import type { MemoryHosts } from "./MemoryHosts.ts"
import { shareOut } from "./Shares.ts"

/** Who has a run open. */
export interface Member {
  isSealed: boolean
  /** The `order` of the first entry that was added after it came. */
  readonly since: number
}

export interface Entry {
  target: FetchTarget
  readonly lane: Lane
  state: "pending" | "leased" | "done" | "failed" | "deferred"
  order: number
  outcome: FetchOutcome | undefined
}

/** A host's URLs, worked on by one member at a time. */
interface Lane {
  readonly host: string
  readonly pending: MutableList.MutableList<Entry>
  owner: Member | undefined
  leased: number
}

/** A run's URLs, by `keyOf` and by host. */
export interface MemoryRun {
  readonly name: string
  readonly createdAt: string
  updatedAt: string
  notes: Frontier.RunNotes
  isRemoved: boolean
  readonly entries: Map<string, Entry>
  readonly lanes: Map<string, Lane>
  /** Lanes with something pending, the one that waited longest first. */
  readonly ready: Set<Lane>
  readonly deferred: Set<Entry>
  readonly members: Set<Member>
  readonly hosts: MemoryHosts
  counts: Frontier.RunCounts
  order: number
  changed: Deferred.Deferred<void>
}

export const make = (name: string, now: string, hosts: MemoryHosts): MemoryRun => ({
  name,
  createdAt: now,
  updatedAt: now,
  notes: {},
  isRemoved: false,
  entries: new Map(),
  lanes: new Map(),
  ready: new Set(),
  deferred: new Set(),
  members: new Set(),
  hosts,
  counts: { pending: 0, leased: 0, done: 0, failed: 0, deferred: 0 },
  order: 0,
  changed: Deferred.makeUnsafe()
})

/** Notes each name over what is noted there; `null` takes one away. */
export const note = (run: MemoryRun, notes: Frontier.RunNotes): void => {
  run.notes = Object.fromEntries(Object.entries({ ...run.notes, ...notes }).filter(([, value]) => value !== null))
}

/** Wakes all who wait for a change. */
export const announce = (run: MemoryRun): void => {
  Deferred.doneUnsafe(run.changed, Effect.void)
  run.changed = Deferred.makeUnsafe()
}

/** States in which an entry counts as pending. */
const bucketOf = (state: Entry["state"]) => state === "deferred" ? "pending" : state

const move = (run: MemoryRun, entry: Entry, state: Entry["state"]): void => {
  const counts = { ...run.counts }
  counts[bucketOf(entry.state)]--
  counts[bucketOf(state)]++
  counts.deferred += Number(state === "deferred") - Number(entry.state === "deferred")
  run.counts = counts
  if (state === "deferred") run.deferred.add(entry)
  else run.deferred.delete(entry)
  entry.state = state
}

const makePending = (run: MemoryRun, entry: Entry): void => {
  move(run, entry, "pending")
  MutableList.append(entry.lane.pending, entry)
  run.ready.add(entry.lane)
}

/** Pending again, as if added now. */
export const reopen = (run: MemoryRun, entry: Entry): void => {
  entry.outcome = undefined
  entry.order = run.order++
  makePending(run, entry)
}

const laneOf = (run: MemoryRun, host: string): Lane => {
  const known = run.lanes.get(host)
  if (known !== undefined) return known
  const lane: Lane = { host, pending: MutableList.make(), owner: undefined, leased: 0 }
  run.lanes.set(host, lane)
  return lane
}

export const add = (run: MemoryRun, member: Member, targets: ReadonlyArray<FetchTarget>): Frontier.Added => {
  let fresh = 0
  let repeated = 0
  for (const target of targets) {
    const key = keyOf(target)
    const known = run.entries.get(key)
    if (known !== undefined) {
      if (known.order >= member.since) repeated++
      if (target.untrusted !== true) known.target = { ...known.target, untrusted: false }
      continue
    }
    const lane = laneOf(run, target.host)
    const entry: Entry = { target, lane, state: "pending", order: run.order++, outcome: undefined }
    run.entries.set(key, entry)
    MutableList.append(lane.pending, entry)
    run.ready.add(lane)
    run.counts = { ...run.counts, pending: run.counts.pending + 1 }
    fresh++
  }
  return { fresh, repeated }
}

const dueMillis = (entry: Entry): number => entry.outcome === undefined ? 0 : Frontier.deferredUntil(entry.outcome) ?? 0

interface Leased {
  readonly targets: Array<FetchTarget>
  /** What is known of the hosts among them that nobody worked on. */
  readonly hosts: Array<HostState>
}

/** Takes up to `limit` targets, spread over the hosts that this member may work on. */
const lease = (run: MemoryRun, member: Member, demand: FetchDemand, nowMillis: number): Leased => {
  const targets: Array<FetchTarget> = []
  const hosts: Array<HostState> = []
  const mine = Array.from(run.ready).filter(({ owner }) => owner === undefined || owner === member)
  shareOut(mine, demand, (lane, limit) => {
    const taken = MutableList.takeN(lane.pending, limit)
    for (const entry of taken) {
      move(run, entry, "leased")
      targets.push(entry.target)
    }
    lane.leased += taken.length
    run.ready.delete(lane)
    if (lane.pending.length > 0) run.ready.add(lane)
    if (lane.owner !== undefined || taken.length === 0) return taken.length
    lane.owner = member
    const known = run.hosts.get(lane.host, nowMillis)
    if (known !== undefined) hosts.push(known)
    return taken.length
  })
  return { targets, hosts }
}

export const pull = (run: MemoryRun, member: Member, demand: FetchDemand, nowMillis: number): FetchSupply => {
  // Nobody would give back what is leased to one that has left.
  if (!run.members.has(member)) return { _tag: "Done" }
  let nextDueMillis = Infinity
  for (const entry of run.deferred) {
    const due = dueMillis(entry)
    if (due <= nowMillis) reopen(run, entry)
    else nextDueMillis = Math.min(nextDueMillis, due)
  }
  const { hosts, targets } = lease(run, member, demand, nowMillis)
  if (targets.length > 0) return { _tag: "Targets", targets, hosts }
  const { deferred, leased, pending } = run.counts
  const isSealed = Array.from(run.members).every((one) => one.isSealed)
  if (isSealed && leased === 0 && pending === deferred) return { _tag: "Done" }
  const changed = Deferred.await(run.changed)
  return {
    _tag: "Wait",
    wake: Number.isFinite(nextDueMillis)
      ? Effect.asVoid(Effect.timeoutOption(changed, Duration.millis(nextDueMillis - nowMillis)))
      : changed
  }
}

const unlease = (lane: Lane): void => {
  lane.leased--
  if (lane.leased === 0) lane.owner = undefined
}

export const settle = (
  run: MemoryRun,
  member: Member,
  fetched: ReadonlyArray<Fetched>,
  nowMillis: number
): ReadonlyArray<Fetched> => {
  const recorded = fetched.filter(({ outcome, target }) => {
    const entry = run.entries.get(keyOf(target))
    if (entry === undefined || entry.state !== "leased" || entry.lane.owner !== member) return false
    entry.outcome = outcome
    const deferred = Frontier.deferredUntil(outcome) !== undefined
    move(run, entry, outcome.ok ? "done" : deferred ? "deferred" : "failed")
    unlease(entry.lane)
    return true
  })
  for (const one of recorded) run.hosts.note(one, nowMillis)
  announce(run)
  return recorded
}

export const leave = (run: MemoryRun, member: Member): void => {
  run.members.delete(member)
  for (const entry of run.entries.values()) {
    if (entry.state !== "leased" || entry.lane.owner !== member) continue
    makePending(run, entry)
    unlease(entry.lane)
  }
  announce(run)
}

/** Whoever works on it learns so with the next thing that it does. */
export const remove = (run: MemoryRun): void => {
  run.isRemoved = true
  for (const member of run.members) leave(run, member)
}

/** Entries with an outcome that meet a filter, in the order in which they were added. */
export const recorded = (
  run: MemoryRun,
  filter: Frontier.OutcomeFilter
): ReadonlyArray<Entry & { outcome: FetchOutcome }> =>
  Array.from(run.entries.values())
    .filter((entry): entry is Entry & { outcome: FetchOutcome } =>
      entry.outcome !== undefined && entry.state !== "pending" && entry.state !== "leased" &&
      Frontier.matches(entry.outcome, entry.lane.host, filter)
    )
    .toSorted((a, b) => a.order - b.order)
