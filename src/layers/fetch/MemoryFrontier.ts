/**
 * Runs kept in memory: for libraries and tests. Everything stays for as long as the layer does, so a run is bounded by its memory.
 */
import { Clock, DateTime, Deferred, Duration, Effect, Layer, MutableList, type Scope, Stream } from "effect"
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import type { FetchTarget } from "../../services/fetch/FetchRequest.ts"
import type { FetchDemand, FetchSupply } from "../../services/fetch/FetchSource.ts"
import * as Frontier from "../../services/fetch/Frontier.ts"
import type { HostState } from "../../services/fetch/HostState.ts"
import { MemoryHosts } from "./MemoryHosts.ts"

/** Who has a run open. */
interface Member {
  sealed: boolean
}

interface Entry {
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

interface Store {
  readonly name: string
  readonly createdAt: string
  updatedAt: string
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

const makeStore = (name: string, now: string, hosts: MemoryHosts): Store => ({
  name,
  createdAt: now,
  updatedAt: now,
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

const nowText = Effect.map(DateTime.now, DateTime.formatIso)

/** Wakes all who wait for a change. */
const announce = (store: Store): void => {
  Deferred.doneUnsafe(store.changed, Effect.void)
  store.changed = Deferred.makeUnsafe()
}

/** States in which an entry counts as pending. */
const bucketOf = (state: Entry["state"]) => state === "deferred" ? "pending" : state

const move = (store: Store, entry: Entry, state: Entry["state"]): void => {
  const counts = { ...store.counts }
  counts[bucketOf(entry.state)]--
  counts[bucketOf(state)]++
  counts.deferred += Number(state === "deferred") - Number(entry.state === "deferred")
  store.counts = counts
  if (state === "deferred") store.deferred.add(entry)
  else store.deferred.delete(entry)
  entry.state = state
}

const makePending = (store: Store, entry: Entry): void => {
  move(store, entry, "pending")
  MutableList.append(entry.lane.pending, entry)
  store.ready.add(entry.lane)
}

/** Pending again, as if added now. */
const reopen = (store: Store, entry: Entry): void => {
  entry.outcome = undefined
  entry.order = store.order++
  makePending(store, entry)
}

const laneOf = (store: Store, host: string): Lane => {
  const known = store.lanes.get(host)
  if (known !== undefined) return known
  const lane: Lane = { host, pending: MutableList.make(), owner: undefined, leased: 0 }
  store.lanes.set(host, lane)
  return lane
}

const addAll = (store: Store, targets: ReadonlyArray<FetchTarget>): number => {
  let added = 0
  for (const target of targets) {
    const key = Frontier.identity(target)
    const known = store.entries.get(key)
    if (known !== undefined) {
      if (target.untrusted !== true) known.target = { ...known.target, untrusted: false }
      continue
    }
    const lane = laneOf(store, target.host)
    const entry: Entry = { target, lane, state: "pending", order: store.order++, outcome: undefined }
    store.entries.set(key, entry)
    MutableList.append(lane.pending, entry)
    store.ready.add(lane)
    store.counts = { ...store.counts, pending: store.counts.pending + 1 }
    added++
  }
  return added
}

const dueMillis = (entry: Entry): number => entry.outcome === undefined ? 0 : Frontier.deferredUntil(entry.outcome) ?? 0

interface Leased {
  readonly targets: Array<FetchTarget>
  /** What is known of the hosts among them that nobody worked on. */
  readonly hosts: Array<HostState>
}

/** Takes up to `limit` targets, spread over the hosts that this member may work on. */
const lease = (store: Store, member: Member, { closedHosts, limit }: FetchDemand, nowMillis: number): Leased => {
  const open: Array<Lane> = []
  for (const lane of store.ready) {
    if (lane.owner !== undefined && lane.owner !== member || closedHosts.has(lane.host)) continue
    open.push(lane)
    if (open.length === limit) break
  }
  const targets: Array<FetchTarget> = []
  const hosts: Array<HostState> = []
  for (
    let lanes = open;
    lanes.length > 0 && targets.length < limit;
    lanes = lanes.filter((lane) => lane.pending.length > 0)
  ) {
    const share = Math.ceil((limit - targets.length) / lanes.length)
    for (const lane of lanes) {
      const taken = MutableList.takeN(lane.pending, Math.min(share, limit - targets.length))
      for (const entry of taken) {
        move(store, entry, "leased")
        targets.push(entry.target)
      }
      lane.leased += taken.length
      if (lane.owner === undefined && lane.leased > 0) {
        lane.owner = member
        const known = store.hosts.get(lane.host, nowMillis)
        if (known !== undefined) hosts.push(known)
      }
      store.ready.delete(lane)
      if (lane.pending.length > 0) store.ready.add(lane)
    }
  }
  return { targets, hosts }
}

const supply = (store: Store, member: Member, demand: FetchDemand, nowMillis: number): FetchSupply => {
  // Nobody would give back what is leased to one that has left.
  if (!store.members.has(member)) return { _tag: "Done" }
  let nextDueMillis = Infinity
  for (const entry of store.deferred) {
    const due = dueMillis(entry)
    if (due <= nowMillis) reopen(store, entry)
    else nextDueMillis = Math.min(nextDueMillis, due)
  }
  const { hosts, targets } = lease(store, member, demand, nowMillis)
  if (targets.length > 0) return { _tag: "Targets", targets, hosts }
  const { deferred, leased, pending } = store.counts
  const sealed = Array.from(store.members).every((one) => one.sealed)
  if (sealed && leased === 0 && pending === deferred) return { _tag: "Done" }
  const changed = Deferred.await(store.changed)
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

const settleAll = (
  store: Store,
  member: Member,
  fetched: ReadonlyArray<Fetched>,
  nowMillis: number
): ReadonlyArray<Fetched> => {
  const recorded = fetched.filter(({ outcome, target }) => {
    const entry = store.entries.get(Frontier.identity(target))
    if (entry === undefined || entry.state !== "leased" || entry.lane.owner !== member) return false
    entry.outcome = outcome
    const deferred = Frontier.deferredUntil(outcome) !== undefined
    move(store, entry, outcome.ok ? "done" : deferred ? "deferred" : "failed")
    unlease(entry.lane)
    return true
  })
  for (const one of recorded) store.hosts.note(one, nowMillis)
  announce(store)
  return recorded
}

const leave = (store: Store, member: Member): void => {
  store.members.delete(member)
  for (const entry of store.entries.values()) {
    if (entry.state !== "leased" || entry.lane.owner !== member) continue
    makePending(store, entry)
    unlease(entry.lane)
  }
  announce(store)
}

const makeRun = (store: Store, member: Member): Frontier.Run => ({
  name: store.name,
  add: (targets) =>
    Effect.map(nowText, (now) => {
      store.updatedAt = now
      const added = addAll(store, targets)
      if (added > 0) announce(store)
      return added
    }),
  seal: Effect.sync(() => {
    member.sealed = true
    announce(store)
  }),
  source: {
    pull: (demand) => Effect.map(Clock.currentTimeMillis, (now) => supply(store, member, demand, now))
  },
  settle: (fetched) =>
    Effect.map(DateTime.now, (now) => {
      store.updatedAt = DateTime.formatIso(now)
      return settleAll(store, member, fetched, DateTime.toEpochMillis(now))
    }),
  counts: Effect.sync(() => store.counts)
})

/** Entries with an outcome that meet a filter, in the order in which they were added. */
const recordedOf = (store: Store, filter: Frontier.OutcomeFilter): ReadonlyArray<Entry & { outcome: FetchOutcome }> =>
  Array.from(store.entries.values())
    .filter((entry): entry is Entry & { outcome: FetchOutcome } =>
      entry.outcome !== undefined && entry.state !== "pending" && entry.state !== "leased" &&
      Frontier.matches(entry.outcome, entry.lane.host, filter)
    )
    .toSorted((a, b) => a.order - b.order)

const summary = ({ counts, createdAt, name, updatedAt }: Store): Frontier.RunSummary => ({
  name,
  createdAt,
  updatedAt,
  counts
})

const countTags = (store: Store): ReadonlyArray<Frontier.TagCount> => {
  const tags = new Map<string | null, number>()
  for (const { outcome } of recordedOf(store, {})) {
    const tag = outcome.error?._tag ?? null
    tags.set(tag, (tags.get(tag) ?? 0) + 1)
  }
  return Array.from(tags, ([tag, count]) => ({ tag, count })).toSorted((a, b) => b.count - a.count)
}

const make = Effect.sync(() => {
  const stores = new Map<string, Store>()
  const hosts = new MemoryHosts()
  const get = (name: string) =>
    Effect.suspend(() => {
      const store = stores.get(name)
      return store === undefined ? Effect.fail(new Frontier.RunNotFound({ name })) : Effect.succeed(store)
    })
  const open = Effect.fn("MemoryFrontier.open")(function*(
    name: string,
    options?: Frontier.OpenOptions
  ): Effect.fn.Return<Frontier.Run, never, Scope.Scope> {
    const store = stores.get(name) ?? makeStore(name, yield* nowText, hosts)
    stores.set(name, store)
    if (options?.retryFailed !== undefined) {
      for (const entry of recordedOf(store, options.retryFailed)) if (entry.state === "failed") reopen(store, entry)
    }
    const member = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const member: Member = { sealed: false }
        store.members.add(member)
        return member
      }),
      (member) =>
        Effect.sync(() => {
          leave(store, member)
          if (store.members.size === 0 && store.entries.size === 0) stores.delete(name)
        })
    )
    return makeRun(store, member)
  })
  return Frontier.Frontier.of({
    open,
    runs: Effect.sync(() => Array.from(stores.values(), summary).toReversed()),
    find: (name) => Effect.map(get(name), summary),
    tags: (name) => Effect.map(get(name), countTags),
    outcomes: (name, filter = {}) =>
      Stream.unwrap(
        Effect.map(get(name), (store) => Stream.fromIterable(recordedOf(store, filter).map((entry) => entry.outcome)))
      )
  })
})

/** Runs kept in memory. */
export const layer: Layer.Layer<Frontier.Frontier> = Layer.effect(Frontier.Frontier, make)
