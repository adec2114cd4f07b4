/** What the batcher promises: nobody waits for company, everybody goes with the next flush, a bad one fails alone, and a full queue says so at once. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch } from "effect"
import { TestClock } from "effect/testing"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as GroupCommit from "../../../src/services/tasks/GroupCommit.ts"

type Sent = Effect.Effect<Exit.Exit<string, string>>

const setUp = Effect.fnUntraced(function*(options: { readonly capacity?: number } = {}) {
  const batches: Array<ReadonlyArray<string>> = []
  const gate = yield* Latch.make(false)
  const begun = yield* Deferred.make<void>()
  const submit = yield* GroupCommit.make<string, string, string>({
    inFlight: 1,
    maxBatch: 10,
    capacity: options.capacity ?? 100,
    isCommon: (error) => error === "no connection",
    full: () => "full",
    late: () => "late",
    flush: (requests) =>
      Effect.gen(function*() {
        batches.push(requests)
        yield* Deferred.succeed(begun, undefined)
        yield* gate.await
        if (requests.includes("down")) return yield* Effect.fail("no connection")
        if (requests.includes("poison")) return yield* Effect.fail("rejected")
        return requests.map((request) => request === "bad" ? Exit.fail("bad") : Exit.succeed(`${request}!`))
      })
  })
  const send = (request: string, dueMillis?: number) =>
    Effect.forkChild(
      (dueMillis === undefined ? (self: Sent) => self : Deadline.marked(dueMillis))(
        Effect.exit(Effect.withFiber((fiber) => submit(request, fiber)))
      ),
      { startImmediately: true }
    )
  return { batches, gate, begun, send }
})

it.effect("the first goes alone at once, those that come meanwhile go together", () =>
  Effect.gen(function*() {
    const { batches, begun, gate, send } = yield* setUp()
    const first = yield* send("a")
    yield* Deferred.await(begun)
    const rest = yield* Effect.forEach(["b", "bad", "c"], (request) => send(request))
    yield* gate.open
    assert.deepStrictEqual(yield* Fiber.join(first), Exit.succeed("a!"))
    const exits = yield* Effect.forEach(rest, Fiber.join)
    assert.deepStrictEqual(exits, [Exit.succeed("b!"), Exit.fail("bad"), Exit.succeed("c!")])
    assert.deepStrictEqual(batches, [["a"], ["b", "bad", "c"]])
  }))

it.effect("a flush that breaks is tried one by one, so that only the culprit fails", () =>
  Effect.gen(function*() {
    const { batches, begun, gate, send } = yield* setUp()
    const first = yield* send("a")
    yield* Deferred.await(begun)
    const rest = yield* Effect.forEach(["b", "poison", "c"], (request) => send(request))
    yield* gate.open
    yield* Fiber.join(first)
    const exits = yield* Effect.forEach(rest, Fiber.join)
    assert.deepStrictEqual(exits, [Exit.succeed("b!"), Exit.fail("rejected"), Exit.succeed("c!")])
    assert.deepStrictEqual(batches.slice(2), [["b"], ["poison"], ["c"]])
  }))

it.effect("a failure that says nothing about one request is everyone's, and is not tried again", () =>
  Effect.gen(function*() {
    const { batches, begun, gate, send } = yield* setUp()
    const first = yield* send("a")
    yield* Deferred.await(begun)
    const rest = yield* Effect.forEach(["b", "down"], (request) => send(request))
    yield* gate.open
    yield* Fiber.join(first)
    assert.deepStrictEqual(yield* Effect.forEach(rest, Fiber.join), [
      Exit.fail("no connection"),
      Exit.fail("no connection")
    ])
    assert.strictEqual(batches.length, 2)
    // And it goes on.
    assert.deepStrictEqual(yield* Effect.flatMap(send("d"), Fiber.join), Exit.succeed("d!"))
  }))

it.effect("a full queue fails at once, and a caller who leaves does not stop the flush", () =>
  Effect.gen(function*() {
    const { batches, begun, gate, send } = yield* setUp({ capacity: 2 })
    const first = yield* send("a")
    yield* Deferred.await(begun)
    const [leaver, stayer] = yield* Effect.forEach(["b", "c"], (request) => send(request))
    assert.deepStrictEqual(yield* Effect.flatMap(send("d"), Fiber.join), Exit.fail("full"))
    if (leaver !== undefined) yield* Fiber.interrupt(leaver)
    yield* gate.open
    yield* Fiber.join(first)
    assert.deepStrictEqual(stayer === undefined ? undefined : yield* Fiber.join(stayer), Exit.succeed("c!"))
    assert.deepStrictEqual(yield* Effect.flatMap(send("e"), Fiber.join), Exit.succeed("e!"))
    assert.deepStrictEqual(batches[1], ["b", "c"])
  }))

it.effect("a caller is told at its own deadline, whether its request is in flight or waits, and the others go on", () =>
  Effect.gen(function*() {
    const { batches, begun, gate, send } = yield* setUp()
    const flying = yield* send("a", 1000)
    yield* Deferred.await(begun)
    const [long, short, free] = [yield* send("b", 5000), yield* send("c", 200), yield* send("d")]
    yield* TestClock.adjust(199)
    assert.isUndefined(short.pollUnsafe())
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(yield* Fiber.join(short), Exit.fail("late"))
    assert.isUndefined(flying.pollUnsafe())
    yield* TestClock.adjust(800)
    assert.deepStrictEqual(yield* Fiber.join(flying), Exit.fail("late"))
    yield* gate.open
    assert.deepStrictEqual(yield* Fiber.join(long), Exit.succeed("b!"))
    assert.deepStrictEqual(yield* Fiber.join(free), Exit.succeed("d!"))
    assert.deepStrictEqual(batches, [["a"], ["b", "c", "d"]])
  }))
