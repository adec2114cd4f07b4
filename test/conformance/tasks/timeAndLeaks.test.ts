import { assert, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Logger, Schedule } from "effect"
import { TestClock } from "effect/testing"
import * as Net from "node:net"
import * as Timers from "node:timers"
import * as Threads from "node:worker_threads"
import * as NodeLeaks from "../../../src/layers/tasks/NodeLeaks.ts"
import * as Leaks from "../../../src/services/tasks/Leaks.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { Boom, failuresOf, makeTrace, scenario } from "../../support/scenario.ts"

const fork = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

// ---- virtual time -----------------------------------------------------------------------------------------------------

scenario(
  "143 Trio test_mock_clock_autojump",
  "differs: TestClock does not jump by itself; a year passes in one adjust",
  Effect.gen(function*() {
    const fiber = yield* fork(Effect.sleep("365 days"))
    yield* TestClock.adjust("365 days")
    yield* Fiber.join(fiber)
    assert.strictEqual(yield* Clock.currentTimeMillis, 365 * 86_400_000)
  })
)

scenario(
  "144 Trio test_mock_clock_autojump_interference",
  "two sleepers of one adjust wake in the order of their times",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fibers = yield* Effect.forEach(
      [3, 1, 2],
      (n) => fork(Effect.andThen(Effect.sleep(`${n} seconds`), mark(String(n))))
    )
    yield* TestClock.adjust("3 seconds")
    yield* Fiber.joinAll(fibers)
    assert.deepStrictEqual(events, ["1", "2", "3"])
  })
)

scenario(
  "145 Trio test_wait_all_tasks_blocked",
  "the tree tells when every task waits",
  Effect.gen(function*() {
    yield* TaskGroup.use()((group) =>
      Effect.gen(function*() {
        yield* group.spawn(Tasks.waiting("input")(Effect.never))
        yield* group.spawn(Effect.andThen(Effect.yieldNow, Tasks.waiting("output")(Effect.never)))
        const areAllBlocked = Effect.map(
          Tasks.snapshot(),
          (tree) => tree.tasks.filter((task) => task.kind === "task").every((task) => task.state === "waiting")
        )
        assert.isFalse(yield* areAllBlocked)
        while (!(yield* areAllBlocked)) yield* Effect.yieldNow
        yield* group.cancel
      })
    )
  })
)

scenario(
  "146 Trio test_Sequencer",
  "a chain of receipts fixes an order between tasks",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const turns = yield* Effect.forEach([0, 1, 2, 3], () => Deferred.make<void>())
    const turn = (n: number) => turns[n] === undefined ? Effect.void : Deferred.await(turns[n])
    const pass = (n: number) => turns[n] === undefined ? Effect.void : Deferred.succeed(turns[n], undefined)
    yield* TaskGroup.use()((group) =>
      Effect.gen(function*() {
        for (const n of [2, 0, 1]) {
          yield* group.spawn(Effect.andThen(turn(n), Effect.andThen(mark(String(n)), pass(n + 1))))
        }
        yield* pass(0)
      })
    )
    assert.deepStrictEqual(events, ["0", "1", "2"])
  })
)

scenario(
  "147 Kotlin testAdvanceTimeByDoesNotRunCurrent",
  "differs: what is due exactly at the new time runs",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fiber = yield* fork(Effect.andThen(Effect.sleep("1 second"), mark("ran")))
    yield* TestClock.adjust("999 millis")
    assert.deepStrictEqual(events, [])
    yield* TestClock.adjust("1 millis")
    yield* Fiber.join(fiber)
  })
)

scenario(
  "148 Kotlin testAdvanceTimeByEnormousDelays",
  "a sleep without end stays asleep and can be interrupted",
  Effect.gen(function*() {
    const fiber = yield* fork(Effect.sleep(Duration.infinity))
    yield* TestClock.adjust("10000 days")
    assert.isUndefined(fiber.pollUnsafe())
    yield* Fiber.interrupt(fiber)
  })
)

scenario(
  "149 Kotlin testDelaysPriority",
  "equal times wake in the order of going to sleep",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const fibers = yield* Effect.forEach(
      ["a", "b", "c"],
      (name) => fork(Effect.andThen(Effect.sleep("1 second"), mark(name)))
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.joinAll(fibers)
    assert.deepStrictEqual(events, ["a", "b", "c"])
  })
)

// ---- leaks ------------------------------------------------------------------------------------------------------------

const impatient = Leaks.check({ settle: 0 })

/** What a check says about work that leaks; `mend` then takes the leak away, so that this test leaves nothing. */
const leakOf = <A>(
  check: <B, E, R>(self: Effect.Effect<B, E, R>) => Effect.Effect<B, E | Leaks.LeakFound, R>,
  leak: Effect.Effect<A>,
  mend: (a: A) => Effect.Effect<unknown>
) =>
  Effect.gen(function*() {
    let made: A | undefined
    const error = yield* Effect.flip(check(Effect.map(leak, (a) => {
      made = a
    })))
    if (made !== undefined) yield* mend(made)
    return error
  })

scenario(
  "150 Kotlin TestScopeTest.testActiveJobsThrowing",
  "a fiber that outlives its test is a failure",
  Effect.gen(function*() {
    const error = yield* leakOf(impatient, Effect.forkDetach(Effect.never, { startImmediately: true }), Fiber.interrupt)
    assert.deepStrictEqual(error.leaks, [{ kind: "fibers", before: 0, after: 1 }])
  })
)

scenario(
  "151 Kotlin TestScopeTest.testBackgroundWorkCancelled",
  "scoped background work is over when the scope is, and is no leak",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* impatient(Effect.scoped(Effect.forkScoped(untilCancelled("background"), { startImmediately: true })))
    assert.deepStrictEqual(events, ["background cancelled"])
  })
)

scenario(
  "152 Kotlin TestScopeTest.testBackgroundWorkFinalizing",
  "cleanup of background work is finished before the check counts",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const background = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.yieldNow, mark("finalized")))
    yield* impatient(Effect.scoped(Effect.forkScoped(background, { startImmediately: true })))
    assert.deepStrictEqual(events, ["finalized"])
  })
)

scenario(
  "153 Kotlin RunTestTest.testListingActiveCoroutinesOnTimeout",
  "the leak names the tasks that did not end",
  Effect.gen(function*() {
    const leak = Effect.forkDetach(Tasks.named("forgotten poller")(Effect.never), { startImmediately: true })
    const error = yield* leakOf(impatient, leak, Fiber.interrupt)
    assert.strictEqual(error.message, "leaked fibers: 0 -> 1, tasks: 0 -> 1 (tasks: forgotten poller)")
  })
)

scenario(
  "154 Kotlin DebugLeaksTest.testAbandonedGlobalCoroutineLeak",
  "the tree does not keep what has ended",
  Effect.gen(function*() {
    const task = yield* TaskGroup.use()((group) => group.spawn(Effect.succeed(Array.from({ length: 1000 }, () => 0))))
    assert.strictEqual(yield* Tasks.liveCount, 0)
    assert.strictEqual((yield* task.join).length, 1000)
  })
)

scenario(
  "155 Kotlin CoroutinesDumpTest.testFinishedCoroutineRemoved",
  "a finished task is gone from the next dump",
  Effect.gen(function*() {
    yield* TaskGroup.use({ name: "group" })((group) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const task = yield* group.spawn(Deferred.await(gate), { name: "short" })
        assert.include(yield* Tasks.dump, "short")
        yield* Deferred.succeed(gate, undefined)
        yield* task.join
        assert.notInclude(yield* Tasks.dump, "short")
      })
    )
  })
)

const impatientNode = NodeLeaks.check({ settle: 0 })

scenario(
  "166 aiotools test_timer_leak_*",
  "a timer that outlives its test is a failure",
  Effect.gen(function*() {
    const error = yield* leakOf(
      impatientNode,
      Effect.sync(() => Timers.setTimeout(() => {}, 60_000)),
      (timer) => Effect.sync(() => clearTimeout(timer))
    )
    assert.deepStrictEqual(error.leaks.map((leak) => leak.kind), ["timers"])
  })
)

const listen = Effect.callback<Net.Server>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
})

const close = (server: Net.Server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))

it.live("[own: T13 sockets] a server and a connection that stay open are named", () =>
  NodeLeaks.check()(Effect.gen(function*() {
    const leak = Effect.flatMap(listen, (server) =>
      Effect.callback<readonly [Net.Server, Net.Socket]>((resume) => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed([server, socket])))
      }))
    const error = yield* leakOf(
      impatientNode,
      leak,
      ([server, socket]) => Effect.andThen(Effect.sync(() => socket.destroy()), close(server))
    )
    assert.includeMembers(error.leaks.map((leak) => leak.kind), ["servers", "sockets"])
  })).pipe(Tasks.isolated("test")))

it.live("[own: T13 threads] a worker thread that was forgotten is named", () =>
  NodeLeaks.check()(Effect.gen(function*() {
    const start = Effect.callback<Threads.Worker>((resume) => {
      const worker = new Threads.Worker("setInterval(() => {}, 1000)", { eval: true })
      worker.once("online", () => resume(Effect.succeed(worker)))
    })
    const error = yield* leakOf(impatientNode, start, (worker) => Effect.promise(() => worker.terminate()))
    assert.include(error.leaks.map((leak) => leak.kind), "worker threads")
  })).pipe(Tasks.isolated("test")))

scenario(
  "own: T13 settle",
  "what closes in its own time is no leak",
  Effect.gen(function*() {
    yield* NodeLeaks.check({ settle: "5 seconds" })(Effect.sync(() => Timers.setTimeout(() => {}, 30)))
  })
)

scenario(
  "own: T13 failures",
  "work that fails keeps its failure",
  Effect.gen(function*() {
    assert.deepStrictEqual(failuresOf(yield* Effect.exit(impatient(new Boom({ who: "work" })))), ["work"])
  })
)

scenario(
  "own: T13 more counters",
  "own counters take part",
  Effect.gen(function*() {
    let connections = 0
    const check = NodeLeaks.check({ settle: 0, also: { "pg connections": Effect.sync(() => connections) } })
    const error = yield* leakOf(check, Effect.sync(() => void connections++), () => Effect.void)
    assert.deepStrictEqual(error.leaks, [{ kind: "pg connections", before: 0, after: 1 }])
  })
)

// ---- how programs end -------------------------------------------------------------------------------------------------

scenario(
  "157 CPython test_asyncio_run_cancels_hanging_tasks",
  "leaving the scope of a program cancels what it forked",
  Effect.gen(function*() {
    const { events, untilCancelled } = makeTrace()
    yield* Effect.scoped(
      Effect.andThen(Effect.forkScoped(untilCancelled("hanging"), { startImmediately: true }), Effect.void)
    )
    assert.deepStrictEqual(events, ["hanging cancelled"])
  })
)

scenario(
  "158 CPython test_asyncio_run_reports_hanging_tasks_errors",
  "a defect in the cleanup of a cancelled child is reported, not dropped",
  Effect.gen(function*() {
    const exit = yield* Effect.exit(
      TaskGroup.use()((group) =>
        Effect.andThen(group.spawn(Effect.ensuring(Effect.never, Effect.die("cleanup bug"))), group.cancel)
      )
    )
    assert.deepStrictEqual(failuresOf(exit), ["died: cleanup bug"])
  })
)

scenario(
  "159 CPython test_interrupt_cancelled_task",
  "interrupting a program that is on its way out waits for the same end",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const program = yield* fork(
      Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("1 second"), mark("out")))
    )
    const first = yield* fork(Fiber.interrupt(program))
    const second = yield* fork(Fiber.interrupt(program))
    yield* TestClock.adjust("1 second")
    yield* Fiber.joinAll([first, second])
    assert.deepStrictEqual(events, ["out"])
  })
)

scenario(
  "161 River EscalatesToHardStopAfterTimeout",
  "steps that outlive the grace are interrupted and named",
  Effect.gen(function*() {
    const { events, mark, untilCancelled } = makeTrace()
    const shutdown = yield* Shutdown.make
    yield* shutdown.onDrain("quick", mark("quick drained"))
    yield* shutdown.onDrain("slow", untilCancelled("slow"))
    const drain = yield* fork(shutdown.drain("SIGTERM", "10 seconds"))
    yield* TestClock.adjust("10 seconds")
    assert.deepStrictEqual(yield* Fiber.join(drain), { reason: "SIGTERM", overstayed: ["slow"] })
    assert.deepStrictEqual(events, ["quick drained", "slow cancelled"])
  })
)

scenario(
  "162 River SoftStopSucceedsBeforeTimeout",
  "drained before the grace: nobody waits for the rest of it",
  Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    yield* shutdown.onDrain("step", Effect.sleep("2 seconds"))
    const drain = yield* fork(shutdown.drain("SIGINT", "1 hour"))
    assert.isTrue(yield* shutdown.isDraining)
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual(yield* Fiber.join(drain), { reason: "SIGINT", overstayed: [] })
  })
)

scenario(
  "163 River StartStopStress",
  "a hundred beginnings at once drain every step once",
  Effect.gen(function*() {
    let drained = 0
    const shutdown = yield* Shutdown.make
    yield* shutdown.onDrain("step", Effect.sync(() => void drained++))
    const drains = yield* Effect.forEach(Array.from({ length: 100 }), () => shutdown.drain("request", "1 second"), {
      concurrency: "unbounded"
    })
    assert.strictEqual(drained, 1)
    assert.strictEqual(new Set(drains).size <= 2, true)
    assert.isTrue(drains.every((drain) => drain.overstayed.length === 0))
  })
)

scenario(
  "163b own: a step that dies",
  "a drain step that dies is logged by name and does not stop the others",
  Effect.gen(function*() {
    const { events, mark } = makeTrace()
    const lines: Array<string> = []
    const shutdown = yield* Shutdown.make
    yield* shutdown.onDrain("broken", Effect.die("bug"))
    yield* shutdown.onDrain("fine", mark("drained"))
    const result = yield* shutdown.drain("request", "1 second").pipe(
      Effect.provide(Logger.layer([Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))]))
    )
    assert.deepStrictEqual(result.overstayed, [])
    assert.deepStrictEqual(events, ["drained"])
    assert.deepStrictEqual(lines, ["drain step broken died"])
  })
)

scenario(
  "164 Trio test_guest_warns_if_abandoned",
  "a program that was abandoned by its host is seen as a leak",
  Effect.gen(function*() {
    const abandon = Effect.map(Effect.context(), (context) => Effect.runForkWith(context)(Effect.never))
    const error = yield* leakOf(impatient, abandon, Fiber.interrupt)
    assert.deepStrictEqual(error.leaks.map((leak) => leak.kind), ["fibers"])
  })
)

scenario(
  "165 Trio test_host_can_directly_wake_trio_task",
  "a callback of the host wakes a task of ours",
  Effect.gen(function*() {
    let wake: ((value: string) => void) | undefined
    const result = yield* TaskGroup.use()((group) =>
      Effect.gen(function*() {
        const task = yield* group.spawn(Effect.callback<string>((resume) => {
          wake = (value) => resume(Effect.succeed(value))
        }))
        yield* Effect.sync(() => wake?.("from the host"))
        return yield* task.join
      })
    )
    assert.strictEqual(result, "from the host")
  })
)

scenario(
  "own: T10 callbacks and timing",
  "a completion callback sees every exit; timing and retry are Effect's",
  Effect.gen(function*() {
    const exits: Array<Exit.Exit<number, Boom>> = []
    let tries = 0
    const work = Effect.suspend(() =>
      ++tries < 3 ? new Boom({ who: "flaky" }) : Effect.as(Effect.sleep("2 seconds"), tries)
    ).pipe(
      Effect.onExit((exit) => Effect.sync(() => void exits.push(exit))),
      Effect.retry(Schedule.spaced("1 second")),
      Effect.timed
    )
    const fiber = yield* fork(work)
    for (let i = 0; i < 4; i++) yield* TestClock.adjust("1 second")
    const [took, value] = yield* Fiber.join(fiber)
    assert.strictEqual(value, 3)
    assert.strictEqual(Duration.toMillis(took), 4000)
    assert.deepStrictEqual(exits.map(Exit.isSuccess), [false, false, true])
  })
)
