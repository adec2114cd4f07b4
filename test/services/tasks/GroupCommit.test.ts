/**
 * Group commit: nobody waits for company, everybody goes with the next flush, a bad one fails alone, and everyone is
 * answered once, whatever happens.
 */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as GroupCommit from "../../../src/services/tasks/GroupCommit.ts"
import { InvalidOption } from "../../../src/services/tasks/InvalidOption.ts"
import { leakFree } from "../../support/leakFree.ts"
import { sweep } from "../../support/sweep.ts"

type Sent = Effect.Effect<Exit.Exit<string, string>>

const setUp = Effect.fnUntraced(function*(options: Partial<GroupCommit.Options<string, string, string>> = {}) {
  const groups: Array<ReadonlyArray<string>> = []
  const gate = yield* Latch.make(false)
  const begun = yield* Deferred.make<void>()
  const submit = yield* GroupCommit.make<string, string, string>({
    inFlight: 1,
    maxWeight: 10,
    capacity: 100,
    isOverlapping: false,
    isCommon: (error) => error === "no connection",
    whenFull: () => "full",
    late: () => "late",
    flush: (requests) =>
      Effect.gen(function*() {
        groups.push(requests)
        yield* Deferred.succeed(begun, undefined)
        yield* gate.await
        if (requests.includes("down")) return yield* Effect.fail("no connection")
        if (requests.includes("poison")) return yield* Effect.fail("rejected")
        if (requests.includes("bug")) return yield* Effect.die("bug")
        if (requests.includes("short")) return [Exit.succeed("only one")]
        return requests.map((request) => request === "bad" ? Exit.fail("bad") : Exit.succeed(`${request}!`))
      }),
    ...options
  })
  const send = (request: string, dueMillis?: number) =>
    Effect.forkChild(
      (dueMillis === undefined ? (self: Sent) => self : Deadline.marked(dueMillis))(
        Effect.exit(Effect.withFiber((fiber) => submit(request, fiber)))
      ),
      { startImmediately: true }
    )
  /** What the second group is answered, while the first holds up the flusher. */
  const afterOne = Effect.fnUntraced(function*(requests: ReadonlyArray<string>) {
    const first = yield* send("a")
    yield* Deferred.await(begun)
    const rest = yield* Effect.forEach(requests, (request) => send(request))
    yield* gate.open
    assert.deepStrictEqual(yield* Fiber.join(first), Exit.succeed("a!"))
    return yield* Effect.forEach(rest, Fiber.join)
  })
  return { groups, gate, begun, send, afterOne }
})

for (const isOverlapping of [false, true]) {
  const name = isOverlapping ? "overlapping" : "one after the other"

  it.effect(`${name}: the first goes alone at once, those that come meanwhile go together`, () =>
    Effect.gen(function*() {
      const { afterOne, groups } = yield* setUp({ isOverlapping })
      assert.deepStrictEqual(
        yield* afterOne(["b", "bad", "c"]),
        [Exit.succeed("b!"), Exit.fail("bad"), Exit.succeed("c!")]
      )
      assert.deepStrictEqual(groups, [["a"], ["b", "bad", "c"]])
    }))

  it.effect(`${name}: a flush that breaks is tried one by one, so that only the culprit fails`, () =>
    Effect.gen(function*() {
      const { afterOne, groups } = yield* setUp({ isOverlapping })
      assert.deepStrictEqual(
        yield* afterOne(["b", "poison", "c"]),
        [Exit.succeed("b!"), Exit.fail("rejected"), Exit.succeed("c!")]
      )
      assert.deepStrictEqual(groups.slice(2), [["b"], ["poison"], ["c"]])
    }))

  it.effect(`${name}: a failure that says nothing about one request is everyone's, and is not tried again`, () =>
    Effect.gen(function*() {
      const { afterOne, groups, send } = yield* setUp({ isOverlapping })
      assert.deepStrictEqual(yield* afterOne(["b", "down"]), [Exit.fail("no connection"), Exit.fail("no connection")])
      assert.strictEqual(groups.length, 2)
      // And it goes on.
      assert.deepStrictEqual(yield* Effect.flatMap(send("d"), Fiber.join), Exit.succeed("d!"))
    }))
}

it.effect("a bug in a flush is everyone's, and an answer too few is a bug of its own; it goes on", () =>
  Effect.gen(function*() {
    const { afterOne, groups, send } = yield* setUp()
    assert.deepStrictEqual(yield* afterOne(["b", "bug"]), [Exit.die("bug"), Exit.die("bug")])
    assert.strictEqual(groups.length, 2)
    const [first, second] = yield* Effect.forEach(["short", "e"], (request) => send(request))
    assert.deepStrictEqual(first && (yield* Fiber.join(first)), Exit.succeed("only one"))
    assert.deepStrictEqual(second && (yield* Fiber.join(second)), Exit.die("a flush answered too little"))
    assert.deepStrictEqual(yield* Effect.flatMap(send("d"), Fiber.join), Exit.succeed("d!"))
  }))

it.effect("callers that are runnable now go together, also when nothing is under way", () =>
  Effect.gen(function*() {
    const { gate, groups, send } = yield* setUp()
    yield* gate.open
    const sent = yield* Effect.forEach(["a", "b", "c"], (request) => send(request))
    yield* Fiber.awaitAll(sent)
    assert.deepStrictEqual(groups, [["a", "b", "c"]])
  }))

const inOrder = (isOverlapping: boolean) =>
  Effect.gen(function*() {
    const log: Array<string> = []
    const submit = yield* GroupCommit.make<number, number, never>({
      inFlight: 1,
      maxWeight: 100,
      capacity: 100,
      isOverlapping,
      isCommon: () => true,
      whenFull: "wait",
      flush: (requests) =>
        Effect.gen(function*() {
          log.push(`flush of ${requests.length}`)
          yield* Effect.sleep(10)
          return requests.map((request) => Exit.succeed(request))
        })
    })
    const callers = (count: number) =>
      Effect.forEach(Array.from({ length: count }), (_, index) =>
        Effect.forkChild(
          Effect.tap(Effect.withFiber((fiber) => submit(index, fiber)), () =>
            Effect.sync(() => {
              if (log.at(-1) !== "answers") log.push("answers")
            })),
          { startImmediately: true }
        ))
    const first = yield* callers(16)
    yield* TestClock.adjust(1)
    const second = yield* callers(60)
    yield* TestClock.adjust(30)
    yield* Fiber.joinAll([...first, ...second])
    return log
  })

it.effect("one after the other, the answers come first, and then all who wait go", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* inOrder(false), ["flush of 16", "answers", "flush of 60", "answers"])
  }))

it.effect("overlapping, the next group is sent before the one before is answered, and is half of all who wait", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(
      yield* inOrder(true),
      ["flush of 16", "flush of 38", "answers", "flush of 22", "answers"]
    )
  }))

it.effect("a full one fails at once, and a caller who leaves does not stop the flush", () =>
  Effect.gen(function*() {
    const { begun, gate, groups, send } = yield* setUp({ capacity: 2 })
    const first = yield* send("a")
    yield* Deferred.await(begun)
    const [leaver, stayer] = yield* Effect.forEach(["b", "c"], (request) => send(request))
    assert.deepStrictEqual(yield* Effect.flatMap(send("d"), Fiber.join), Exit.fail("full"))
    if (leaver !== undefined) yield* Fiber.interrupt(leaver)
    yield* gate.open
    yield* Fiber.join(first)
    assert.deepStrictEqual(stayer === undefined ? undefined : yield* Fiber.join(stayer), Exit.succeed("c!"))
    assert.deepStrictEqual(yield* Effect.flatMap(send("e"), Fiber.join), Exit.succeed("e!"))
    assert.deepStrictEqual(groups[1], ["b", "c"])
  }))

it.effect("a full one that lets wait takes them in in their order, but who leaves outside is not written", () =>
  Effect.gen(function*() {
    const { begun, gate, groups, send } = yield* setUp({ capacity: 2, maxWeight: 2, whenFull: "wait" })
    yield* send("a")
    yield* Deferred.await(begun)
    const rest = yield* Effect.forEach(["b", "c", "d", "e", "f", "g"], (request) => send(request))
    if (rest[3] !== undefined) yield* Fiber.interrupt(rest[3])
    yield* gate.open
    yield* Fiber.awaitAll(rest)
    assert.deepStrictEqual(groups, [["a"], ["b", "c"], ["d", "f"], ["g"]])
  }))

it.effect("a request takes its weight of a flush, is never split, and goes alone when it is heavier than a flush", () =>
  Effect.gen(function*() {
    const { afterOne, groups } = yield* setUp({ weight: (text) => text === "a" ? 1 : Number(text), maxWeight: 10 })
    yield* afterOne(["4", "6", "1", "10", "0", "25", "3", "NaN"])
    assert.deepStrictEqual(groups, [["a"], ["4", "6"], ["1"], ["10"], ["0"], ["25"], ["3", "NaN"]])
  }))

it.effect("a caller is told at its own deadline, whether its request is in flight, waits or is outside, and the others go on", () =>
  Effect.gen(function*() {
    const { begun, gate, groups, send } = yield* setUp({ capacity: 3, whenFull: "wait" })
    const flying = yield* send("a", 1000)
    yield* Deferred.await(begun)
    const [long, short, free] = [yield* send("b", 5000), yield* send("c", 200), yield* send("d")]
    const outside = yield* send("e", 500)
    yield* TestClock.adjust(199)
    assert.isUndefined(short.pollUnsafe())
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(yield* Fiber.join(short), Exit.fail("late"))
    assert.isUndefined(outside.pollUnsafe())
    yield* TestClock.adjust(300)
    assert.deepStrictEqual(yield* Fiber.join(outside), Exit.fail("late"))
    assert.isUndefined(flying.pollUnsafe())
    yield* TestClock.adjust(500)
    assert.deepStrictEqual(yield* Fiber.join(flying), Exit.fail("late"))
    yield* gate.open
    assert.deepStrictEqual(yield* Fiber.join(long), Exit.succeed("b!"))
    assert.deepStrictEqual(yield* Fiber.join(free), Exit.succeed("d!"))
    assert.deepStrictEqual(groups, [["a"], ["b", "c", "d"]])
  }))

it.effect("when its scope closes, who waits inside, outside or in flight is interrupted, and so is whoever comes after", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const { begun, send } = yield* Scope.provide(setUp({ capacity: 1, whenFull: "wait" }), scope)
    const flying = yield* send("a")
    yield* Deferred.await(begun)
    const waiting = yield* Effect.forEach(["b", "c"], (request) => send(request))
    yield* Scope.close(scope, Exit.void)
    const after = yield* send("d")
    for (const fiber of [flying, ...waiting, after]) {
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isSuccess(exit) ? Exit.hasInterrupts(exit.value) : Exit.hasInterrupts(exit))
    }
  }))

it.effect("closed just as the next group is sent, what was written before is still said to be", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const gate = yield* Latch.make(false)
    let nth = 0
    const submit = yield* Scope.provide(
      GroupCommit.make<string, string, never>({
        inFlight: 1,
        maxWeight: 1,
        capacity: 10,
        isOverlapping: true,
        isCommon: () => true,
        whenFull: "wait",
        flush: (requests) => {
          const exits = requests.map((request) => Exit.succeed(`${request}!`))
          if (nth++ === 0) return Effect.as(gate.await, exits)
          // The group before has ended, and its callers have not been told yet.
          return Effect.andThen(
            Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true }),
            Effect.never
          )
        }
      }),
      scope
    )
    const [first, second] = yield* Effect.forEach(
      ["a", "b"],
      (request) => Effect.forkChild(Effect.withFiber((fiber) => submit(request, fiber)), { startImmediately: true })
    )
    yield* gate.open
    assert.deepStrictEqual(first && (yield* Fiber.await(first)), Exit.succeed("a!"))
    const exit = second && (yield* Fiber.await(second))
    assert.isTrue(exit !== undefined && Exit.hasInterrupts(exit))
  }))

it.effect("nonsense is refused by name", () =>
  Effect.gen(function*() {
    for (const [name, value] of [["maxWeight", 0], ["inFlight", Number.NaN], ["capacity", 1.5]] as const) {
      const exit = yield* Effect.exit(Effect.scoped(setUp({ [name]: value })))
      const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
      const defect = reason?._tag === "Die" ? reason.defect : undefined
      assert.isTrue(defect instanceof InvalidOption && defect.option === `GroupCommit ${name}`)
    }
  }))

it.effect("sweep: wherever its caller is interrupted, a request is written at most once and the others are answered", () =>
  Effect.gen(function*() {
    const hits = yield* sweep(Effect.gen(function*() {
      const { gate, groups, send } = yield* setUp({ capacity: 1, maxWeight: 1, whenFull: "wait" })
      yield* gate.open
      const other = (request: string) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* Effect.flatMap(send(request), Fiber.join), Exit.succeed(`${request}!`))
        })
      return {
        victim: Effect.flatMap(send("v"), Fiber.join),
        others: ["b", "c", "d"].map(other),
        check: (at) => Effect.sync(() => assert.isAtMost(groups.flat().filter((name) => name === "v").length, 1, at))
      }
    }))
    assert.isAbove(hits, 0)
  }))

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** A caller: when it comes, what its request weighs, when it leaves (0: never), and how long it has (0: for ever). */
const Caller = Schema.Struct({ at: int(0, 6), weight: int(1, 5), leavesAt: int(0, 9), deadline: int(0, 6) })

/** What a flush comes to. */
const Flush = Schema.Struct({ millis: int(0, 3), end: Schema.Literals(["well", "well", "common", "alone", "bug"]) })

const Play = {
  callers: Schema.Array(Caller).check(Schema.isMaxLength(14)),
  flushes: Schema.NonEmptyArray(Flush),
  maxWeight: int(1, 8),
  inFlight: int(1, 3),
  capacity: int(1, 8),
  isOverlapping: Schema.Boolean,
  isWaiting: Schema.Boolean,
  /** When the scope closes; 0: at the end. */
  closesAt: int(0, 12)
}

it.effect.prop(
  "whatever fails, leaves or is late: each is answered once, in its order, within weight and capacity, and only what was written is said to be",
  Play,
  (play) =>
    leakFree(Effect.gen(function*() {
      const { callers, closesAt, flushes, isOverlapping, isWaiting } = play
      const scope = yield* Scope.make()
      const seen: Array<number> = []
      const written: Array<number> = []
      // The model of who waits: what capacity means.
      let inside: Array<number> = []
      let outside: Array<number> = []
      const weightOf = (index: number) => callers[index]?.weight ?? 0
      const weigh = (indices: ReadonlyArray<number>) => indices.reduce((sum, index) => sum + weightOf(index), 0)
      const isFull = () => weigh(inside) >= play.capacity
      let flying = 0
      let nth = 0
      // What fails in a flush is told to its callers, and not to the test.
      const wrong: Array<string> = []

      const submit = yield* Scope.provide(
        GroupCommit.make<number, number, string>({
          maxWeight: play.maxWeight,
          inFlight: play.inFlight,
          capacity: play.capacity,
          isOverlapping,
          weight: weightOf,
          whenFull: isWaiting ? "wait" : () => "full",
          late: (index) => {
            outside = outside.filter((other) => other !== index)
            return "late"
          },
          isCommon: (error) => error === "common",
          flush: (requests) =>
            Effect.gen(function*() {
              const { end, millis } = flushes[nth++ % flushes.length] ?? flushes[0]
              const fresh = requests.filter((request) => !seen.includes(request))
              seen.push(...fresh)
              if (requests.length > 1 && weigh(requests) > play.maxWeight) wrong.push("a group is too heavy")
              if (++flying > play.inFlight) wrong.push("too many flushes at once")
              if (String(fresh) !== String(inside.slice(0, fresh.length))) {
                wrong.push(`${String(fresh)} are flushed, of ${String(inside)} inside`)
              }
              inside = inside.slice(fresh.length)
              while (outside[0] !== undefined && !isFull()) {
                inside.push(outside[0])
                outside = outside.slice(1)
              }
              yield* Effect.ensuring(Effect.sleep(millis), Effect.sync(() => flying--))
              if (end === "bug") return yield* Effect.die("bug")
              if (end !== "well") return yield* Effect.fail(end)
              written.push(...requests)
              return requests.map((request) => request % 5 === 4 ? Exit.fail("bad") : Exit.succeed(request))
            })
        }),
        scope
      )

      const fibers = new Map<number, Fiber.Fiber<number, string>>()
      for (let millis = 0; millis <= 12; millis++) {
        for (const [index, { at, deadline }] of callers.entries()) {
          if (at !== millis) continue
          const mark = deadline === 0 ? <A, E>(self: Effect.Effect<A, E>) => self : Deadline.marked(deadline)
          const asking = mark(Effect.withFiber((fiber) => {
            if (!isFull()) inside.push(index)
            else if (isWaiting) outside.push(index)
            return submit(index, fiber)
          }))
          fibers.set(index, yield* Effect.forkChild(asking, { startImmediately: true }))
        }
        yield* TestClock.adjust(1)
        for (const [index, { leavesAt }] of callers.entries()) {
          if (leavesAt !== millis || leavesAt === 0) continue
          fibers.get(index)?.interruptUnsafe()
        }
        outside = outside.filter((index) => fibers.get(index)?.pollUnsafe() === undefined)
        if (closesAt === millis && closesAt !== 0) yield* Scope.close(scope, Exit.void)
      }
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(wrong, [])
      assert.strictEqual(new Set(written).size, written.length)
      for (const [index, caller] of callers.entries()) {
        const exit = fibers.get(index)?.pollUnsafe()
        if (exit === undefined) assert.fail(`caller ${index} was never answered`)
        if (Exit.isSuccess(exit)) {
          assert.strictEqual(exit.value, index)
          assert.include(written, index)
        }
        if (Exit.hasInterrupts(exit)) assert.isTrue(caller.leavesAt > 0 || closesAt > 0)
        const error = Exit.isFailure(exit) && exit.cause.reasons[0]?._tag === "Fail" ? exit.cause.reasons[0].error : ""
        if (error === "full") assert.notInclude(seen, index)
        if (error === "late") assert.isAbove(caller.deadline, 0)
        if (error === "bad") assert.include(written, index)
      }
      yield* Scope.close(scope, Exit.void)
    })),
  { arbitrary: { runs: 500 } }
)
