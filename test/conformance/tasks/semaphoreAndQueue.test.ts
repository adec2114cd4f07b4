import { assert } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { Boom, failuresOf, makeTrace, scenario } from "../../support/scenario.ts"

const fork = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })
/** Lets everything that can run now run. */
const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })

// ---- semaphore --------------------------------------------------------------------------------------------------------

scenario(
  "116 x/sync TestLargeAcquireDoesntStarve",
  "a large request gets its permits although small ones never stop coming",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(4)
    let rounds = 0
    const small = Effect.forever(semaphore.withPermit(Effect.andThen(Effect.sync(() => rounds++), Effect.yieldNow)))
    const loops = yield* Effect.forEach(Array.from({ length: 8 }), () => fork(small))
    yield* settle
    const before = rounds
    yield* semaphore.withPermits(4)(Effect.void)
    assert.isAtMost(rounds - before, 16)
    yield* Fiber.interruptAll(loops)
  })
)

scenario(
  "117 x/sync TestAllocCancelDoesntStarve",
  "a large request that gives up lets the small ones behind it pass at once",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(10)
    const { events, mark } = makeTrace()
    const holder = yield* fork(semaphore.withPermit(Effect.never))
    const large = yield* fork(semaphore.withPermits(10)(mark("large")))
    const small = yield* fork(semaphore.withPermit(mark("small")))
    yield* settle
    assert.deepStrictEqual(events, [])
    yield* Fiber.interrupt(large)
    yield* Fiber.join(small)
    assert.deepStrictEqual(events, ["small"])
    yield* Fiber.interrupt(holder)
  })
)

scenario(
  "118 x/sync TestWeightedDoesntBlockIfTooBig",
  "more than there is in all is a typed error, and nobody waits behind it",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(2, { name: "host a" })
    const error = yield* Effect.flip(semaphore.withPermits(3)(Effect.void))
    assert.deepStrictEqual(error, new FairSemaphore.PermitsUnavailable({ semaphore: "host a", requested: 3, total: 2 }))
    assert.strictEqual(yield* semaphore.withPermits(2)(Effect.succeed("fine")), "fine")
  })
)

scenario(
  "119 CPython test_cancel_race",
  "a waiter that is interrupted as it is handed its permit passes it on",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const { events, mark } = makeTrace()
    const gate = yield* Deferred.make<void>()
    const holder = yield* fork(semaphore.withPermit(Deferred.await(gate)))
    const first = yield* fork(semaphore.withPermit(mark("first")))
    const second = yield* fork(semaphore.withPermit(mark("second")))
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.interrupt(first)
    yield* Fiber.joinAll([holder, second])
    assert.deepStrictEqual(events, ["second"])
    assert.strictEqual((yield* semaphore.stats).taken, 0)
  })
)

scenario(
  "120 CPython test_acquire_cancel_before_awoken",
  "two waiters are interrupted before they wake: the third gets the permit",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const gate = yield* Deferred.make<void>()
    const holder = yield* fork(semaphore.withPermit(Deferred.await(gate)))
    const waiters = yield* Effect.forEach([1, 2, 3, 4], (n) => fork(semaphore.withPermit(Effect.succeed(n))))
    const [a, b, c, d] = waiters
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.interruptAll([a, b].flatMap((fiber) => fiber === undefined ? [] : [fiber]))
    yield* Fiber.join(holder)
    assert.deepStrictEqual(yield* Fiber.joinAll([c, d].flatMap((fiber) => fiber === undefined ? [] : [fiber])), [3, 4])
  })
)

scenario(
  "121 CPython test_cancelled_wakeup",
  "permits of woken and interrupted waiters are not lost",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(3)
    const gate = yield* Deferred.make<void>()
    const holder = yield* fork(semaphore.withPermits(3)(Deferred.await(gate)))
    const waiters = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => fork(semaphore.withPermit(Effect.never)))
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.interruptAll(waiters)
    yield* Fiber.join(holder)
    assert.deepStrictEqual(yield* semaphore.stats, { total: 3, taken: 0, waiting: 0 })
  })
)

scenario(
  "122 CPython test_acquire_fifo_order",
  "permits are given in the order of asking, newcomers included",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const { events, mark } = makeTrace()
    const task = (name: string) => semaphore.withPermit(Effect.andThen(mark(name), Effect.sleep("1 second")))
    yield* Effect.forEach(["a", "b", "c"], (name) => fork(task(name)))
    yield* TestClock.adjust("1 second")
    // The newcomer asks in the very moment in which b has the permit and c waits.
    const last = yield* fork(task("d"))
    for (let i = 0; i < 4; i++) yield* TestClock.adjust("1 second")
    yield* Fiber.join(last)
    assert.deepStrictEqual(events, ["a", "b", "c", "d"])
  })
)

scenario(
  "123 Kotlin SemaphoreTest.fairnessTest",
  "two loops over one permit take turns",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const { events, mark } = makeTrace()
    const loop = (name: string) =>
      Effect.forEach([1, 2, 3], () => semaphore.withPermit(Effect.andThen(mark(name), Effect.yieldNow)), {
        discard: true
      })
    yield* FanOut.all([loop("a"), loop("b")])
    assert.strictEqual(events.join(""), "ababab")
  })
)

scenario(
  "124 Kotlin SemaphoreTest.testCancellationReturnsPermitBack",
  "an interrupted holder gives its permits back",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(2)
    const holder = yield* fork(semaphore.withPermits(2)(Effect.never))
    yield* Fiber.interrupt(holder)
    assert.strictEqual(yield* semaphore.withPermits(2)(Effect.succeed(1)), 1)
  })
)

scenario(
  "125 Kotlin SemaphoreTest.testCancellationDoesNotResumeWaitingAcquirers",
  "a waiter that gives up wakes nobody who has no right to a permit",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const { events, mark } = makeTrace()
    const holder = yield* fork(semaphore.withPermit(Effect.never))
    const first = yield* fork(semaphore.withPermit(mark("first")))
    const second = yield* fork(semaphore.withPermit(mark("second")))
    yield* Fiber.interrupt(first)
    yield* settle
    assert.deepStrictEqual(events, [])
    assert.deepStrictEqual(yield* semaphore.stats, { total: 1, taken: 1, waiting: 1 })
    yield* Fiber.interruptAll([second, holder])
  })
)

scenario(
  "126 Trio test_CapacityLimiter_change_total_tokens",
  "growing wakes waiters in order; shrinking waits for holders; too large waiters get a typed error",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(0)
    const { events, mark } = makeTrace()
    const gate = yield* Deferred.make<void>()
    const hold = (name: string) => semaphore.withPermit(Effect.andThen(mark(name), Deferred.await(gate)))
    const fibers = yield* Effect.forEach(["a", "b", "c"], (name) => fork(hold(name)))
    yield* semaphore.resize(2)
    yield* settle
    assert.deepStrictEqual(events, ["a", "b"])
    yield* semaphore.resize(1)
    const large = yield* Effect.flip(semaphore.withPermits(2)(Effect.void))
    assert.strictEqual(large.total, 1)
    assert.deepStrictEqual(yield* semaphore.stats, { total: 1, taken: 2, waiting: 1 })
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.joinAll(fibers)
    yield* semaphore.resize(3)
    const holder = yield* fork(semaphore.withPermits(3)(Effect.never))
    const waiting = yield* fork(Effect.flip(semaphore.withPermits(3)(Effect.void)))
    yield* semaphore.resize(2)
    assert.strictEqual((yield* Fiber.join(waiting))._tag, "PermitsUnavailable")
    yield* Fiber.interrupt(holder)
  })
)

scenario(
  "126b Trio test_CapacityLimiter_memleak_548",
  "a thousand waiters that give up leave nothing in the line",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const holder = yield* fork(semaphore.withPermit(Effect.never))
    for (let i = 0; i < 1000; i++) yield* Fiber.interrupt(yield* fork(semaphore.withPermit(Effect.void)))
    assert.deepStrictEqual(yield* semaphore.stats, { total: 1, taken: 1, waiting: 0 })
    yield* Fiber.interrupt(holder)
  })
)

scenario(
  "127 anyio test_nowait_acquire_after_release_does_not_oversubscribe",
  "after a release with waiters, one who does not wait gets nothing",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const gate = yield* Deferred.make<void>()
    const holder = yield* fork(semaphore.withPermit(Deferred.await(gate)))
    const waiter = yield* fork(semaphore.withPermit(Effect.never))
    yield* Deferred.succeed(gate, undefined)
    assert.deepStrictEqual(yield* semaphore.withPermitsIfAvailable(1)(Effect.void), Option.none())
    yield* Fiber.join(holder)
    yield* Fiber.interrupt(waiter)
    assert.deepStrictEqual(yield* semaphore.withPermitsIfAvailable(1)(Effect.succeed(1)), Option.some(1))
  })
)

scenario(
  "128 anyio test_cancel_after_release",
  "a holder that is interrupted after it has released releases once",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const fiber = yield* fork(Effect.andThen(semaphore.withPermit(Effect.void), Effect.never))
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(yield* semaphore.stats, { total: 1, taken: 0, waiting: 0 })
  })
)

scenario(
  "own: T8 permit of host",
  "who waits for a permit shows it in the live tree",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(0, { name: "host example.org" })
    const fiber = yield* fork(Tasks.named("fetch /a")(semaphore.withPermit(Effect.void)))
    assert.include(yield* Tasks.dump, "fetch /a  0  waiting: permit of host example.org")
    yield* Fiber.interrupt(fiber)
  })
)

scenario(
  "own: takeScoped",
  "permits taken for a scope come back when it closes",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(3)
    yield* Effect.scoped(Effect.gen(function*() {
      yield* semaphore.takeScoped(2)
      assert.strictEqual((yield* semaphore.stats).taken, 2)
    }))
    assert.strictEqual((yield* semaphore.stats).taken, 0)
  })
)

// ---- queue ------------------------------------------------------------------------------------------------------------

scenario(
  "129 CPython test_get_cancel_drop_many_pending_readers",
  "readers that give up take nothing with them",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(10)
    const { events, mark } = makeTrace()
    const reader = (name: string) => queue.process((n) => mark(`${name} got ${n}`))
    const gone = yield* Effect.forEach(["a", "b", "c"], (name) => fork(reader(name)))
    const last = yield* fork(reader("d"))
    yield* queue.offer(1)
    yield* Fiber.interruptAll(gone.slice(1))
    yield* queue.offer(2)
    yield* Fiber.joinAll([...gone.slice(0, 1), last])
    assert.deepStrictEqual(events, ["a got 1", "d got 2"])
  })
)

scenario(
  "130 CPython test_put_cancelled_race",
  "an offer that is interrupted while it waits leaves no item and no count behind",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<string>(1)
    yield* queue.offer("a")
    const waiting = yield* fork(queue.offer("b"))
    yield* Fiber.interrupt(waiting)
    assert.strictEqual(yield* queue.process(Effect.succeed), "a")
    yield* queue.join
    assert.deepStrictEqual(yield* queue.stats, { queued: 0, inFlight: 0, capacity: 1 })
  })
)

scenario(
  "131 CPython test_cancelled_puts_not_being_held_in_self_putters",
  "a thousand interrupted offers leave room for the next one",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(1)
    yield* queue.offer(0)
    for (let i = 1; i <= 1000; i++) yield* Fiber.interrupt(yield* fork(queue.offer(i)))
    const patient = yield* fork(queue.offer(-1))
    assert.strictEqual(yield* queue.process(Effect.succeed), 0)
    yield* Fiber.join(patient)
    assert.strictEqual(yield* queue.process(Effect.succeed), -1)
  })
)

scenario(
  "132 CPython test_shutdown_immediate_with_unfinished",
  "shutdownNow gives back what was not started; join ends with what is in flight",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(2)
    const gate = yield* Deferred.make<void>()
    yield* queue.offer(1)
    const inFlight = yield* fork(queue.process(() => Deferred.await(gate)))
    yield* queue.offer(2)
    yield* queue.offer(3)
    const blocked = yield* fork(Effect.exit(queue.offer(4)))
    const joined = yield* fork(queue.join)
    const back = yield* queue.shutdownNow
    assert.deepStrictEqual(back, [2, 3, 4])
    yield* settle
    assert.isUndefined(joined.pollUnsafe())
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.joinAll([joined, inFlight, blocked])
    assert.strictEqual((yield* Effect.flip(queue.offer(5)))._tag, "QueueClosed")
    assert.strictEqual((yield* Effect.flip(queue.process(() => Effect.void)))._tag, "QueueClosed")
  })
)

scenario(
  "132b CPython test_shutdown_nonempty",
  "shutdown lets readers have what is there, then says so",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(4, { name: "frontier" })
    yield* queue.offer(1)
    const waiting = yield* fork(
      Effect.flip(Effect.andThen(queue.process(Effect.succeed), queue.process(Effect.succeed)))
    )
    yield* queue.shutdown
    assert.strictEqual((yield* Fiber.join(waiting)).message, "frontier is shut down")
    yield* queue.join
  })
)

scenario(
  "133 Trio test_channel_fairness",
  "waiting readers are served in the order in which they came",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(10)
    const { events, mark } = makeTrace()
    const readers = yield* Effect.forEach(["a", "b", "c"], (name) => fork(queue.process((n) => mark(`${name}${n}`))))
    for (const n of [1, 2, 3]) {
      yield* queue.offer(n)
      yield* settle
    }
    yield* Fiber.joinAll(readers)
    assert.deepStrictEqual(events, ["a1", "b2", "c3"])
  })
)

scenario(
  "134 Trio test_close_multiple_send_handles",
  "many producers: consumers go on until the last one has shut the queue",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(2)
    let sum = 0
    const producers = FanOut.forEachDiscard([1, 2, 3], (n) => Effect.andThen(queue.offer(n), queue.offer(n * 10)))
    yield* FanOut.all([
      Effect.andThen(producers, queue.shutdown),
      WorkQueue.consume(queue, (n) => Effect.sync(() => void (sum += n)), { concurrency: 2 })
    ])
    assert.strictEqual(sum, 66)
  })
)

scenario(
  "135 anyio test_cancel_during_receive_buffered",
  "an item that is there is taken by the reader or stays: it is never between",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(1)
    const { events, mark } = makeTrace()
    const reader = yield* fork(queue.process((n) => mark(`got ${n}`)))
    yield* queue.offer(1)
    yield* Fiber.interrupt(reader)
    const left = (yield* queue.stats).queued
    assert.strictEqual(left + events.length, 1)
  })
)

scenario(
  "136 anyio test_send_to_natively_cancelled_receiver",
  "an item offered to a reader that is interrupted goes to the next one",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(1)
    const first = yield* fork(queue.process(Effect.succeed))
    const second = yield* fork(queue.process(Effect.succeed))
    yield* Fiber.interrupt(first)
    yield* queue.offer(7)
    assert.strictEqual(yield* Fiber.join(second), 7)
  })
)

scenario(
  "137 Kotlin ChannelUndeliveredElementTest.testRendezvousSendCancelled",
  "a resource that was never taken can be released: shutdownNow returns it",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<string>(2)
    yield* queue.offer("socket 1")
    yield* queue.offer("socket 2")
    assert.deepStrictEqual(yield* queue.shutdownNow, ["socket 1", "socket 2"])
    assert.deepStrictEqual(yield* queue.shutdownNow, [])
  })
)

scenario(
  "own: T17 failing consumer",
  "a consumer that fails stops the others, and its item counts as done",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(10)
    for (const n of [1, 2, 3]) yield* queue.offer(n)
    const exit = yield* Effect.exit(
      WorkQueue.consume(queue, (n) => n === 2 ? new Boom({ who: "two" }) : Effect.yieldNow, { concurrency: 2 })
    )
    assert.deepStrictEqual(failuresOf(exit), ["two"])
    const { inFlight } = yield* queue.stats
    assert.strictEqual(inFlight, 0)
  })
)

scenario(
  "own: T8 queue waits",
  "who waits for an item or for room shows it",
  Effect.gen(function*() {
    const queue = yield* WorkQueue.make<number>(1, { name: "frontier" })
    const reader = yield* fork(Tasks.named("worker")(queue.process(() => Effect.never)))
    assert.include(yield* Tasks.dump, "worker  0  waiting: an item of frontier")
    yield* queue.offer(1)
    yield* queue.offer(2)
    const writer = yield* fork(Tasks.named("feeder")(queue.offer(3)))
    assert.include(yield* Tasks.dump, "feeder  0  waiting: room in frontier")
    yield* Fiber.interruptAll([reader, writer])
  })
)

// ---- p-queue ----------------------------------------------------------------------------------------------------------

scenario(
  "138 p-queue 'aborting multiple jobs at the same time'",
  "aborting waiting and running jobs together frees every slot",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(2)
    const jobs = yield* Effect.forEach(Array.from({ length: 10 }), () => fork(semaphore.withPermit(Effect.never)))
    yield* Fiber.interruptAll(jobs)
    assert.strictEqual(yield* semaphore.withPermits(2)(Effect.succeed("free")), "free")
  })
)

scenario(
  "139 p-queue 'clear() does not accumulate abort listeners'",
  "a thousand rounds of cancelled fan-outs leave no task and no fiber",
  Effect.gen(function*() {
    for (let i = 0; i < 1000; i++) {
      const fiber = yield* fork(FanOut.all([Effect.never, Effect.never], { concurrency: 1 }))
      yield* Fiber.interrupt(fiber)
    }
    assert.strictEqual(yield* Tasks.liveCount, 0)
  })
)

scenario(
  "140 p-queue 'aborted jobs do not use interval cap'",
  "a waiter that gave up is never counted as a holder",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const gate = yield* Deferred.make<void>()
    const holder = yield* fork(semaphore.withPermit(Deferred.await(gate)))
    const aborted = yield* Effect.forEach(Array.from({ length: 5 }), () => fork(semaphore.withPermit(Effect.void)))
    const next = yield* fork(semaphore.withPermit(Effect.succeed("next")))
    yield* Fiber.interruptAll(aborted)
    yield* Deferred.succeed(gate, undefined)
    assert.strictEqual(yield* Fiber.join(next), "next")
    yield* Fiber.join(holder)
  })
)

scenario(
  "141 p-queue 'should not cause stack overflow with many aborted tasks'",
  "twenty thousand waiters interrupted at once",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(1)
    const holder = yield* fork(semaphore.withPermit(Effect.never))
    const waiters = yield* Effect.forEach(Array.from({ length: 20_000 }), () => fork(semaphore.withPermit(Effect.void)))
    yield* Fiber.interruptAll(waiters)
    assert.strictEqual((yield* semaphore.stats).waiting, 0)
    yield* Fiber.interrupt(holder)
  })
)

scenario(
  "142 p-queue 'strict mode prevents boundary bursts'",
  "a resize in the middle never lets more run than the larger of the two totals",
  Effect.gen(function*() {
    const semaphore = yield* FairSemaphore.make(3)
    let running = 0
    let most = 0
    const job = semaphore.withPermit(Effect.acquireUseRelease(
      Effect.sync(() => {
        most = Math.max(most, ++running)
      }),
      () => Effect.sleep("1 second"),
      () => Effect.sync(() => running--)
    ))
    const all = yield* fork(FanOut.all(Array.from({ length: 12 }, () => job)))
    yield* TestClock.adjust("500 millis")
    yield* semaphore.resize(1)
    for (let i = 0; i < 12; i++) yield* TestClock.adjust("1 second")
    yield* Fiber.join(all)
    assert.strictEqual(most, 3)
    assert.isTrue(Exit.isSuccess(yield* Fiber.await(all)))
  })
)
