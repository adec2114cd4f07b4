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
    let missing: ReadonlyArray<string>
    do {
      missing = Array.from(new Set(targets.map(({ host }) => host))).filter((host) => !this.#lanes.has(host))
      if (missing.length === 0) break
      // A lane that another process is adding at this moment shows at the second look.
      const fresh = this.options.outage.through("add", () => this.options.statements.lanes(this.options.id, missing))
      for (const { host, id } of yield* fresh) {
        this.#lanes.set(host, id)
      }
    } while (missing.length > 0)
    return targets.map(({ host }) => this.#lanes.get(host) ?? 0n)
  })

  readonly #addBatch = Effect.fnUntraced(function*(
    this: RunIntake,
    targets: ReadonlyArray<FetchTarget>,
    untrusted: boolean
  ) {
    const columns = targetColumns(targets, yield* this.#laneIds(targets))
    const { id, statements } = this.options
    while (true) {
      const membership = this.#member.current
      const rows = yield* this.#member.send(
        "add",
        membership,
        (member) => statements.add(id, member, columns, { length: targets.length, untrusted })
      )
      if (rows.length === 0) {
        yield* this.#member.rejoin(membership)
        continue
      }
      let added = 0
      for (const { count, lane } of rows) {
        added += count
        if (count > 0) this.#member.current.book.grown(lane)
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
