/**
 * What a process adds to an open run in Postgres.
 */
import { Effect } from "effect"
import type { FetchTarget } from "../../services/fetch/FetchRequest.ts"
import { targetColumns } from "./OutcomeRows.ts"
import type { MembershipOptions, RunMembership } from "./RunMembership.ts"

/** Rows in one statement at most. */
const batchMax = 1000
/** Hosts whose lane is remembered, so that adding need not ask for it. */
const laneCacheMax = 50_000

export class RunIntake {
  readonly options: MembershipOptions
  readonly #member: RunMembership
  readonly #lanes = new Map<string, bigint>()

  constructor(options: MembershipOptions, member: RunMembership) {
    this.options = options
    this.#member = member
  }

  readonly #laneIds = Effect.fnUntraced(function*(this: RunIntake, targets: ReadonlyArray<FetchTarget>) {
    if (this.#lanes.size > laneCacheMax) this.#lanes.clear()
    const missing = Array.from(new Set(targets.map(({ host }) => host))).filter((host) => !this.#lanes.has(host))
    if (missing.length > 0) {
      const { id, outage, statements } = this.options
      const made = yield* outage.through("add", () => statements.lanes(id, missing))
      for (const lane of made) this.#lanes.set(lane.host, lane.id)
    }
    return targets.map(({ host }) => this.#lanes.get(host) ?? 0n)
  })

  readonly #addBatch = Effect.fnUntraced(function*(
    this: RunIntake,
    targets: ReadonlyArray<FetchTarget>,
    untrusted: boolean
  ) {
    const columns = targetColumns(targets, yield* this.#laneIds(targets), untrusted)
    const { id, statements } = this.options
    while (true) {
      const membership = this.#member.current
      const rows = yield* this.#member.send(
        "add",
        membership,
        (member) => statements.add(id, member, columns)
      )
      if (rows.length === 0) {
        yield* this.#member.rejoin(membership)
        continue
      }
      let added = 0
      for (const { added: fresh, lane } of rows) {
        added += fresh
        if (fresh > 0) this.#member.current.book.grown(lane)
      }
      if (added > 0) this.#member.announce()
      return added
    }
  })

  readonly add = Effect.fnUntraced(function*(this: RunIntake, targets: ReadonlyArray<FetchTarget>) {
    let added = 0
    for (const untrusted of [false, true]) {
      const some = targets.filter((target) => (target.untrusted === true) === untrusted)
      for (let at = 0; at < some.length; at += batchMax) {
        added += yield* this.#addBatch(some.slice(at, at + batchMax), untrusted)
      }
    }
    return added
  }).bind(this)

  readonly seal = Effect.suspend(() => {
    this.#member.sealed = true
    return this.#member.send("seal", this.#member.current, (member) => this.options.statements.seal(member))
  }).pipe(
    Effect.tap(() => Effect.sync(() => this.#member.announce())),
    Effect.asVoid
  )
}
