/** What a process adds to an open run in Postgres. */
import { Effect } from "effect"
import type { FetchTarget } from "../../services/fetch/FetchRequest.ts"
import type { Added, Run } from "../../services/fetch/Frontier.ts"
import { targetColumns } from "./OutcomeRows.ts"
import type { MembershipOptions, RunMembership } from "./RunMembership.ts"

/** Rows in one statement at most. */
const batchMax = 1000
/** Hosts whose lane is remembered, so that adding need not ask for it. */
const laneCacheMax = 50_000

export const make = (
  { id, outage, statements }: MembershipOptions,
  member: RunMembership
): Pick<Run, "add" | "seal"> => {
  const lanes = new Map<string, bigint>()

  const laneIds = Effect.fnUntraced(function*(targets: ReadonlyArray<FetchTarget>) {
    if (lanes.size > laneCacheMax) lanes.clear()
    const missing = new Set<string>()
    for (const { host } of targets) if (!lanes.has(host)) missing.add(host)
    if (missing.size > 0) {
      const made = yield* outage.through("add", () => statements.lanes(id, Array.from(missing)))
      for (const lane of made) lanes.set(lane.host, lane.id)
    }
    // Each host that was asked for has a lane.
    return targets.map(({ host }) => lanes.get(host) ?? 0n)
  })

  const addBatch = Effect.fnUntraced(function*(targets: ReadonlyArray<FetchTarget>, isUntrusted: boolean) {
    const columns = targetColumns(targets, yield* laneIds(targets), isUntrusted)
    while (true) {
      const membership = member.current
      let isAgain = false
      const rows = yield* member.send("add", membership, (sender, again) => {
        isAgain = again
        return statements.add(id, sender, columns)
      })
      if (rows.length === 0) {
        yield* member.rejoin(membership)
        continue
      }
      const added = { fresh: 0, repeated: 0 }
      for (const { added: fresh, lane, repeated } of rows) {
        added.fresh += fresh
        // What a try before may have added repeats nothing.
        if (!isAgain) added.repeated += repeated
        if (fresh > 0) member.current.book.grown(lane)
      }
      if (added.fresh > 0) member.announce()
      return added
    }
  })

  const add = Effect.fnUntraced(function*(targets: ReadonlyArray<FetchTarget>) {
    const all: Array<Added> = []
    for (const isUntrusted of [false, true]) {
      const some = targets.filter((target) => (target.untrusted === true) === isUntrusted)
      for (let at = 0; at < some.length; at += batchMax) {
        all.push(yield* addBatch(some.slice(at, at + batchMax), isUntrusted))
      }
    }
    const sum = (count: (added: Added) => number) => all.reduce((total, added) => total + count(added), 0)
    return { fresh: sum(({ fresh }) => fresh), repeated: sum(({ repeated }) => repeated) }
  })

  const seal = Effect.suspend(() => {
    member.isSealed = true
    return member.send("seal", member.current, (sender) => statements.seal(sender))
  }).pipe(Effect.map(() => member.announce()))

  return { add, seal }
}
