/** The claimer's state machine: each state with each event, and, with a store and a worker played at random, that no wake-up is lost. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as ClaimPolicy from "../../../src/services/jobs/ClaimPolicy.ts"

type State = ClaimPolicy.State
type Tag = State["_tag"]

const rules: ClaimPolicy.Rules = { queues: 2, pollMillis: 1000 }
const memory: ClaimPolicy.Memory = { known: "Asleep", probes: 9, busySinceMillis: undefined, isAwaited: false }
const a = { queue: "a", limit: 5 }
const b = { queue: "b", limit: 5 }

const whole: ClaimPolicy.Resting = { _tag: "Resting", memory, queues: ["a", "b"], untilMillis: 70 }
const part: ClaimPolicy.Resting = { _tag: "Resting", memory, queues: ["a"], untilMillis: 70 }
const full: ClaimPolicy.Full = { _tag: "Full", memory }
const asking = (requests = [a, b], isStale = false): State => ({ _tag: "Asking", memory, requests, isStale })
const looking = (before?: ClaimPolicy.Resting | ClaimPolicy.Full): State => ({ _tag: "Looking", memory, before })

const states = {
  "looking": looking(),
  "looking from full": looking(full),
  "looking from a part": looking(part),
  "asking all": asking(),
  "asking a part": asking([a]),
  "asking, stale": asking([a, b], true),
  "falling asleep": { _tag: "Announcing", memory, isAsleep: true },
  "waking up": { _tag: "Announcing", memory, isAsleep: false },
  "resting from all": whole,
  "resting from a part": part,
  "full": full,
  "failing": { _tag: "Failing", memory, untilMillis: 70 },
  "reconciling": { _tag: "Reconciling", memory },
  "closing": { _tag: "Closing", memory },
  "closed": { _tag: "Closed", memory }
} satisfies Record<string, State>

const events = {
  "freed": { _tag: "Freed" },
  "ready": { _tag: "Ready" },
  "awaited": { _tag: "Awaited" },
  "nothing fits": { _tag: "Fits", requests: [], isAtRest: false },
  "a fits": { _tag: "Fits", requests: [a], isAtRest: false },
  "all fits": { _tag: "Fits", requests: [a, b], isAtRest: false },
  "jobs": { _tag: "Answered", jobs: 3, isAtRest: false, nowMillis: 50 },
  "none": { _tag: "Answered", jobs: 0, isAtRest: true, nowMillis: 50 },
  "heard": { _tag: "Announced", isHeard: true },
  "unheard": { _tag: "Announced", isHeard: false },
  "reconciled": { _tag: "Reconciled" },
  "failed": { _tag: "Failed", nowMillis: 50 },
  "elapsed": { _tag: "Elapsed" },
  "draining": { _tag: "Draining" }
} satisfies Record<string, ClaimPolicy.Event>

/** A dash: the event changes nothing. */
const table: Record<keyof typeof states, Partial<Record<keyof typeof events, Tag>>> = {
  "looking": { "awaited": "Looking", "nothing fits": "Full", "a fits": "Asking", "all fits": "Asking" },
  "looking from full": { "awaited": "Looking", "nothing fits": "Full", "a fits": "Asking", "all fits": "Asking" },
  "looking from a part": {
    "ready": "Looking",
    "awaited": "Looking",
    "nothing fits": "Resting",
    "a fits": "Resting",
    "all fits": "Asking"
  },
  "asking all": { "ready": "Asking", "awaited": "Asking", "jobs": "Looking", "none": "Resting", "failed": "Failing" },
  "asking a part": {
    "ready": "Asking",
    "awaited": "Asking",
    "jobs": "Looking",
    "none": "Looking",
    "failed": "Failing"
  },
  "asking, stale": { "awaited": "Asking", "jobs": "Looking", "none": "Looking", "failed": "Failing" },
  "falling asleep": { "awaited": "Announcing", "heard": "Looking", "unheard": "Looking" },
  "waking up": { "awaited": "Announcing", "heard": "Looking", "unheard": "Looking" },
  "resting from all": { "ready": "Looking", "awaited": "Looking", "elapsed": "Looking" },
  "resting from a part": { "freed": "Looking", "ready": "Looking", "awaited": "Looking", "elapsed": "Looking" },
  "full": { "freed": "Looking", "ready": "Looking", "awaited": "Looking" },
  "failing": { "awaited": "Failing", "elapsed": "Reconciling" },
  "reconciling": { "awaited": "Reconciling", "reconciled": "Looking", "failed": "Failing" },
  "closing": { "jobs": "Closed", "none": "Closed", "failed": "Closed", "reconciled": "Closed" },
  "closed": {}
}

/** What draining makes of each state. */
const drained = (tag: Tag): Tag => tag === "Asking" || tag === "Reconciling" || tag === "Closing" ? "Closing" : "Closed"

const keys = <K extends string>(record: Record<K, unknown>): ReadonlyArray<K> => Object.keys(record) as Array<K>
const step = (state: State, ...happened: ReadonlyArray<ClaimPolicy.Event>): State =>
  happened.reduce((state, event) => ClaimPolicy.next(state, event, rules), state)

describe("each state with each event", () => {
  for (const from of keys(states)) {
    for (const on of keys(events)) {
      const to = on === "draining" ? drained(states[from]._tag) : table[from][on]
      it(`${from}, ${on}: ${to ?? "-"}`, () => {
        const state: State = states[from]
        const after = ClaimPolicy.next(state, events[on], rules)
        if (to === undefined) assert.strictEqual(after, state)
        else assert.strictEqual(after._tag, to)
        assert.strictEqual(after.memory.isAwaited, on === "awaited" && after !== state)
      })
    }
  }

  it("a rest or a lack of room that goes on is the same object, so that nothing is woken", () => {
    assert.strictEqual(step(full, events["freed"], events["nothing fits"]), full)
    assert.strictEqual(step(part, events["freed"], events["nothing fits"]), part)
    assert.strictEqual(step(part, events["freed"], events["a fits"]), part)
  })
})

describe("a claim", () => {
  const none = (isAtRest = true, nowMillis = 50): ClaimPolicy.Event => ({
    _tag: "Answered",
    jobs: 0,
    isAtRest,
    nowMillis
  })
  const jobs = (nowMillis: number): ClaimPolicy.Event => ({ _tag: "Answered", jobs: 1, isAtRest: false, nowMillis })

  it("is stale when something becomes ready while it is on its way: there is another one, and nobody is told that we sleep", () => {
    const awake = { ...asking(), memory: { ...memory, known: "Awake" as const } }
    assert.strictEqual(step(awake, events.ready, none())._tag, "Looking")
    assert.strictEqual(step(awake, events.ready, none(), events["all fits"], none())._tag, "Announcing")
  })

  it("that left a queue out is followed by a look for room there", () => {
    const after = step(asking([a]), none())
    assert.strictEqual(step(after, events["a fits"])._tag, "Resting")
    assert.deepInclude(step(after, events["all fits"]), { _tag: "Asking", requests: [a, b] })
  })

  it("without an answer is reconciled before the next, after a pause of a second at most", () => {
    const failing = step(asking(), { _tag: "Failed", nowMillis: 50 })
    assert.deepInclude(failing, { _tag: "Failing", untilMillis: 1050 })
    assert.deepInclude(
      ClaimPolicy.next(asking(), { _tag: "Failed", nowMillis: 50 }, { queues: 2, pollMillis: 60_000 }),
      { untilMillis: 1050 }
    )
    assert.deepInclude(
      ClaimPolicy.next(asking(), { _tag: "Failed", nowMillis: 50 }, { queues: 2, pollMillis: 20 }),
      { untilMillis: 70 }
    )
    assert.strictEqual(step(failing, events.ready, events.freed, events.elapsed)._tag, "Reconciling")
  })

  it("that falls asleep asks at once, then after 5, 25 and 100 ms, then after each poll", () => {
    let state: State = { ...asking(), memory: { ...memory, known: "Awake", probes: 3 } }
    state = step(state, none(), events.heard)
    const pauses: Array<number> = []
    for (let i = 0; i < 5; i++) {
      state = step(state, events["all fits"], none(true, 0))
      if (state._tag === "Resting") pauses.push(state.untilMillis)
      state = step(state, events.elapsed)
    }
    assert.deepStrictEqual(pauses, [5, 25, 100, 1000, 1000])
  })

  it("whose announcement fails rests for a poll, and announces again with the next that finds nothing", () => {
    let state: State = { ...asking(), memory: { ...memory, known: "Awake" } }
    state = step(state, none(), events.unheard, events["all fits"], none(true, 0))
    assert.deepInclude(state, { _tag: "Resting", untilMillis: 1000 })
    assert.deepInclude(step(state, events.elapsed, events["all fits"], none()), { _tag: "Announcing", isAsleep: true })
  })

  it("tells the store that we woke up when claims have found jobs for 200 ms on end", () => {
    const busy = step(asking(), jobs(1000), events["all fits"], jobs(1200), events["all fits"])
    assert.deepInclude(step(busy, jobs(1201)), { _tag: "Announcing", isAsleep: false })
    assert.strictEqual(step(busy, none(), events.ready, events["all fits"], jobs(1300))._tag, "Looking")
    const told = step(busy, jobs(1201), events.heard, events["all fits"])
    assert.strictEqual(step(told, jobs(2000))._tag, "Looking")
    const untold = step(busy, jobs(1201), events.unheard, events["all fits"])
    assert.strictEqual(step(untold, jobs(2000))._tag, "Announcing")
  })

  it("without an answer to the word that we woke up, that we sleep is said anew: the store may have taken that word", () => {
    const busy = step(asking(), jobs(1000), events["all fits"], jobs(1200), events["all fits"])
    const untold = step(busy, jobs(1201), events.unheard, events["all fits"])
    assert.deepInclude(step(untold, none()), { _tag: "Announcing", isAsleep: true })
  })

  it("answers who waits for idleness when it asked all queues after the question, found nothing, and nothing is under way", () => {
    const isAwaited = (state: State) => state.memory.isAwaited
    const waiting = step(whole, events.awaited, events["all fits"])
    assert.isFalse(isAwaited(step(waiting, none())))
    assert.isTrue(isAwaited(step(waiting, none(false))), "something is under way")
    assert.isTrue(isAwaited(step(waiting, jobs(50))))
    assert.isTrue(isAwaited(step(asking(), events.awaited, none())), "the claim is older than the question")
    assert.isTrue(isAwaited(step(waiting, events.ready, none())), "something became ready")
    assert.isTrue(isAwaited(step(whole, events.awaited, events["a fits"], none())), "a queue was left out")
  })

  it("is made for who waits for idleness when the worker comes to rest, and not while it is busy", () => {
    const busy = step(whole, events.awaited, events["all fits"], none(false))
    assert.strictEqual(busy._tag, "Resting")
    assert.strictEqual(step(busy, events.freed, events["all fits"]), busy)
    const atRest: ClaimPolicy.Event = { _tag: "Fits", requests: [a, b], isAtRest: true }
    assert.strictEqual(step(busy, events.freed, atRest)._tag, "Asking")
  })
})

/** What happens around a claimer; each number picks one of the things that may happen then. */
class World {
  state: State = ClaimPolicy.initial
  now = 0
  /** Jobs that are ready, those that are claimed, and the room, of each queue. */
  readonly ready = [0, 0]
  readonly held = [0, 0]
  private readonly size = 2
  /** Since when a job is ready and has room, the store is well and the claimer could have asked. */
  readonly dueSince: Array<number | undefined> = [undefined, undefined]
  private claims = 0
  private isUnsure = false

  requests(): ReadonlyArray<ClaimPolicy.Request> {
    return ["a", "b"].flatMap((queue, i) => {
      const limit = this.size - (this.held[i] ?? 0)
      return limit > 0 ? [{ queue, limit }] : []
    })
  }

  get isAtRest(): boolean {
    return this.held.every((held) => held === 0)
  }

  feed(event: ClaimPolicy.Event): void {
    const before = this.state
    let after = ClaimPolicy.next(before, event, rules)
    if (after._tag === "Looking") {
      after = ClaimPolicy.next(after, { _tag: "Fits", requests: this.requests(), isAtRest: this.isAtRest }, rules)
    }
    if (after._tag === "Asking" && (before._tag !== "Asking" || event._tag === "Answered")) {
      assert.strictEqual(++this.claims, 1, "two claims at once")
      assert.isFalse(this.isUnsure, "the claim before was not reconciled")
    }
    if (before.memory.isAwaited && !after.memory.isAwaited) {
      assert.deepStrictEqual([event._tag, this.held], ["Answered", [0, 0]], "idle, and yet not")
    }
    this.state = after
  }

  /** The claimer's own affairs, as they may go on. */
  go(pick: number): void {
    const { state } = this
    switch (state._tag) {
      case "Asking": {
        this.claims--
        if (pick % 4 === 0) {
          this.isUnsure = true
          this.dueSince.fill(undefined)
          return this.feed({ _tag: "Failed", nowMillis: this.now })
        }
        let jobs = 0
        for (const { limit, queue } of state.requests) {
          const i = queue === "a" ? 0 : 1
          const taken = Math.min(limit, this.ready[i] ?? 0)
          this.ready[i] = (this.ready[i] ?? 0) - taken
          this.held[i] = (this.held[i] ?? 0) + taken
          this.dueSince[i] = undefined
          jobs += taken
        }
        // What the claim could not see.
        if (pick % 4 === 1) {
          this.ready[0] = (this.ready[0] ?? 0) + 1
          this.feed({ _tag: "Ready" })
        }
        return this.feed({ _tag: "Answered", jobs, isAtRest: this.isAtRest, nowMillis: this.now })
      }
      case "Announcing":
        return this.feed({ _tag: "Announced", isHeard: pick % 3 > 0 })
      case "Reconciling": {
        const isWell = pick % 3 > 0
        if (isWell) this.isUnsure = false
        return this.feed(isWell ? { _tag: "Reconciled" } : { _tag: "Failed", nowMillis: this.now })
      }
      case "Resting":
      case "Failing":
        this.now = Math.max(this.now, state.untilMillis)
        return this.feed({ _tag: "Elapsed" })
      default:
    }
  }

  /** Nobody loses a job: one that is ready and has room is asked for within a poll. */
  check(): void {
    for (const i of [0, 1]) {
      const fits = (this.ready[i] ?? 0) > 0 && (this.held[i] ?? 0) < this.size
      const isStoreWell = this.state._tag !== "Failing" && this.state._tag !== "Reconciling"
      this.dueSince[i] = fits && isStoreWell ? this.dueSince[i] ?? this.now : undefined
      const waits = this.now - (this.dueSince[i] ?? this.now)
      assert.isAtMost(waits, rules.pollMillis, `a job of queue ${i} waits in ${this.state._tag}`)
      assert.isFalse(fits && this.state._tag === "Full", "full, and yet there is room")
    }
  }
}

const Happening = Schema.Struct({
  _tag: Schema.Literals(["job", "told job", "end", "go", "go", "go", "await"]),
  pick: Schema.Int
})

it.prop(
  "whenever a job may be ready and there is room it is asked for within a poll, by one claim at a time, none of them unreconciled",
  { happenings: Schema.Array(Happening).pipe(Schema.check(Schema.isMaxLength(120))) },
  ({ happenings }) => {
    const world = new World()
    world.feed({ _tag: "Ready" })
    for (const { _tag, pick } of happenings) {
      const i = Math.abs(pick) % 2
      if (_tag === "go") world.go(Math.abs(pick))
      else if (_tag === "await") world.feed({ _tag: "Awaited" })
      else if (_tag === "end") {
        if ((world.held[i] ?? 0) === 0) continue
        world.held[i] = (world.held[i] ?? 0) - 1
        world.feed({ _tag: "Freed" })
      } else {
        world.ready[i] = (world.ready[i] ?? 0) + 1
        if (_tag === "told job") {
          world.feed({ _tag: "Ready" })
          assert.notInclude(
            ["Resting"],
            world.requests().length === 2 ? world.state._tag : "",
            "told, and yet it rests"
          )
        }
      }
      world.check()
    }
    // Left alone with a store that is well, a claimer that somebody waits for works everything off and says so.
    world.feed({ _tag: "Awaited" })
    for (let left = 400; left > 0 && world.state.memory.isAwaited; left--) {
      world.go(2)
      for (const i of [0, 1]) {
        if ((world.held[i] ?? 0) === 0) continue
        world.held[i] = (world.held[i] ?? 0) - 1
        world.feed({ _tag: "Freed" })
      }
    }
    assert.deepInclude({ ready: world.ready, held: world.held }, { ready: [0, 0], held: [0, 0] })
    assert.isFalse(world.state.memory.isAwaited, `nobody says that ${world.state._tag} is idle`)
  },
  { arbitrary: { runs: 500 } }
)
