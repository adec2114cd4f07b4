/** Runs kept in memory: for libraries and tests. Everything stays for as long as the layer does, so a run is bounded by its memory. */
import { Clock, DateTime, Effect, Layer, type Scope, Stream } from "effect"
import { keyOf } from "../../services/fetch/FetchRequest.ts"
import * as Frontier from "../../services/fetch/Frontier.ts"
import { MemoryHosts } from "./MemoryHosts.ts"
import * as MemoryRun from "./MemoryRun.ts"

/** Runs that are listed. */
const runsMax = 10_000

const nowText = Effect.map(DateTime.now, DateTime.formatIso)

/** What a member does to a run, unless the run was removed. */
const onto = (run: MemoryRun.MemoryRun, operation: string) => <A>(what: Effect.Effect<A>) =>
  Effect.suspend((): Effect.Effect<A, Frontier.FrontierError> =>
    run.isRemoved ? Effect.fail(Frontier.removed(operation, run.name)) : what
  )

const handleOf = (run: MemoryRun.MemoryRun, member: MemoryRun.Member): Frontier.Run => ({
  name: run.name,
  notes: run.notes,
  add: (targets) =>
    Effect.map(nowText, (now) => {
      run.updatedAt = now
      const added = MemoryRun.add(run, member, targets)
      if (added.fresh > 0) MemoryRun.announce(run)
      return added
    }).pipe(onto(run, "add")),
  seal: Effect.sync(() => {
    member.isSealed = true
    MemoryRun.announce(run)
  }),
  source: {
    pull: (demand) => Effect.map(Clock.currentTimeMillis, (now) => MemoryRun.pull(run, member, demand, now))
  },
  settle: (fetched) =>
    Effect.map(DateTime.now, (now) => {
      run.updatedAt = DateTime.formatIso(now)
      return MemoryRun.settle(run, member, fetched, DateTime.toEpochMillis(now))
    }).pipe(onto(run, "settle")),
  counts: Effect.sync(() => run.counts).pipe(onto(run, "counts"))
})

const summary = ({ counts, createdAt, name, updatedAt }: MemoryRun.MemoryRun): Frontier.RunSummary => ({
  name,
  createdAt,
  updatedAt,
  counts
})

const countTags = (run: MemoryRun.MemoryRun): ReadonlyArray<Frontier.TagCount> => {
  const tags = new Map<string | null, number>()
  for (const { outcome } of MemoryRun.recorded(run, {})) {
    const tag = outcome.error?._tag ?? null
    tags.set(tag, (tags.get(tag) ?? 0) + 1)
  }
  return Array.from(tags, ([tag, count]) => ({ tag, count })).toSorted((a, b) => b.count - a.count)
}

const make = Effect.sync(() => {
  const known = new Map<string, MemoryRun.MemoryRun>()
  const hosts = new MemoryHosts()
  const get = (name: string) =>
    Effect.suspend(() => {
      const run = known.get(name)
      return run === undefined ? Effect.fail(new Frontier.RunNotFound({ name })) : Effect.succeed(run)
    })
  const open = Effect.fn("MemoryFrontier.open")(function*(
    name: string,
    options?: Frontier.OpenOptions
  ): Effect.fn.Return<Frontier.Run, never, Scope.Scope> {
    const run = known.get(name) ?? MemoryRun.make(name, yield* nowText, hosts)
    known.set(name, run)
    if (options?.notes !== undefined) MemoryRun.note(run, options.notes)
    if (options?.again !== undefined) {
      for (const entry of MemoryRun.recorded(run, options.again)) {
        if (entry.state !== "deferred") MemoryRun.reopen(run, entry)
      }
    }
    const member = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const member: MemoryRun.Member = { isSealed: false, since: run.order }
        run.members.add(member)
        return member
      }),
      (member) =>
        Effect.sync(() => {
          MemoryRun.leave(run, member)
          if (run.members.size === 0 && run.entries.size === 0 && !run.isRemoved) known.delete(name)
        })
    )
    return handleOf(run, member)
  })
  return Frontier.Frontier.of({
    open,
    runs: ({ idleSinceMillis = Infinity, most = runsMax } = {}) =>
      Effect.sync(() =>
        Array.from(known.values(), summary).toReversed()
          .filter(({ updatedAt }) => Date.parse(updatedAt) < idleSinceMillis)
          .slice(0, most)
      ),
    find: (name) => Effect.map(get(name), summary),
    notes: (name) => Effect.map(get(name), ({ notes }) => notes),
    unknown: (name, targets) =>
      Effect.map(get(name), ({ entries }) => targets.filter((target) => !entries.has(keyOf(target)))),
    tags: (name) => Effect.map(get(name), countTags),
    outcomes: (name, filter = {}) =>
      Stream.unwrap(
        Effect.map(
          get(name),
          (run) => Stream.fromIterable(MemoryRun.recorded(run, filter).map((entry) => entry.outcome))
        )
      ),
    remove: (name, options) =>
      Effect.flatMap(get(name), (run) => {
        if (run.members.size > 0 && options?.isForced !== true) {
          return Effect.fail(new Frontier.RunBusy({ name, processes: run.members.size }))
        }
        known.delete(name)
        return Effect.sync(() => MemoryRun.remove(run))
      })
  })
})

/** Runs kept in memory. */
export const layer: Layer.Layer<Frontier.Frontier> = Layer.effect(Frontier.Frontier, make)
