import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import { fetchRun, type FetchRunOptions } from "../../../src/programs/fetch/FetchRun.ts"
import { decode, type Input, type MalformedLine } from "../../../src/programs/fetch/Inputs.ts"
import * as Outcomes from "../../../src/programs/fetch/Outcomes.ts"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import { OutputClosed } from "../../../src/programs/terminal/OutputError.ts"
import { type Fetched, Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import { BodyStoreError, StatusError } from "../../../src/services/fetch/FetchError.ts"
import { failure, type FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"
import type { FetchTarget } from "../../../src/services/fetch/FetchRequest.ts"
import type { FetchSource } from "../../../src/services/fetch/FetchSource.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import { succeeded } from "../../conformance/Frontier.suite.ts"

/** A fetcher that does as it is told with each target, four at a time. */
const fetcher = (fetch: (target: FetchTarget) => Effect.Effect<Fetched>) => {
  const targets = <E, R>(source: FetchSource<E, R>): Stream.Stream<FetchTarget, E, R> =>
    Stream.unwrap(Effect.map(source.pull({ limit: 4, closedHosts: new Set() }), (supply) =>
      supply._tag === "Done"
        ? Stream.empty
        : supply._tag === "Wait"
        ? Stream.concat(Stream.drain(Stream.fromEffect(supply.wake)), Stream.suspend(() => targets(source)))
        : Stream.concat(Stream.fromIterable(supply.targets), Stream.suspend(() => targets(source)))))
  const unused = () => Effect.die("not of this test")
  return Layer.succeed(Fetcher, {
    fetch: unused,
    outcome: unused,
    fetchAll: () => Stream.die("not of this test"),
    hosts: Effect.succeed([]),
    fetchSource: (source) => Stream.mapEffect(targets(source), fetch, { concurrency: 4, unordered: true })
  })
}

const inputs = (text: string) => decode("list", "detect")(Stream.succeed(new TextEncoder().encode(text)))

const list = (count: number) => inputs(Array.from({ length: count }, (_, n) => `http://h${n % 7}.test/${n}`).join("\n"))

const setup = () => {
  const written: Array<FetchOutcome> = []
  const malformed: Array<MalformedLine> = []
  const meter = new RunMeter(0)
  const options = (more: Partial<FetchRunOptions<never, never>>): FetchRunOptions<never, never> => ({
    name: "run",
    output: { ...Outcomes.none, write: (outcomes) => Effect.sync(() => void written.push(...outcomes)) },
    onMalformed: (line) => Effect.sync(() => void malformed.push(line)),
    meter,
    ...more
  })
  return { written, malformed, meter, options }
}

/** Runs with the clock moving: pauses to collect a batch are short and real time has no part in them. */
const moving = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* Effect.forkChild(Effect.forever(Effect.andThen(TestClock.adjust(10), Effect.yieldNow)))
    return yield* Fiber.join(fiber)
  })

const run = <A, E>(
  effect: Effect.Effect<A, E, Fetcher | Frontier | Scope.Scope>,
  fetch: (target: FetchTarget) => Effect.Effect<Fetched> = (target) => Effect.succeed(succeeded(target))
) => Effect.provide(Effect.scoped(effect), Layer.merge(MemoryFrontier.layer, fetcher(fetch)))

describe("fetchRun", () => {
  it.effect("records and tells every URL once, malformed lines beside them", () =>
    Effect.gen(function*() {
      const { malformed, meter, options, written } = setup()
      const bad: Stream.Stream<Input> = Stream.concat(list(2500), inputs("oops\nhttp://h0.test/0\n"))
      const report = yield* moving(fetchRun(options({ inputs: bad })))
      assert.strictEqual(new Set(written.map(({ url }) => url)).size, 2500)
      assert.strictEqual(written.length, 2500)
      assert.deepStrictEqual(malformed.map(({ line }) => line), [1])
      assert.deepStrictEqual(report.counts, { pending: 0, leased: 0, done: 2500, failed: 0, deferred: 0 })
      assert.deepStrictEqual([meter.done, meter.known, meter.repeated, meter.malformed, meter.taken], [
        2500,
        0,
        1,
        1,
        0
      ])
      assert.strictEqual(report.stopped, undefined)
    }).pipe(run))

  it.effect("tells an outcome only when it is recorded", () =>
    Effect.gen(function*() {
      const { options } = setup()
      const frontier = yield* Frontier
      const output = {
        ...Outcomes.none,
        write: (outcomes: ReadonlyArray<FetchOutcome>) =>
          Effect.gen(function*() {
            const recorded = yield* Effect.orDie(Stream.runCollect(frontier.outcomes("run")))
            for (const { url } of outcomes) assert.include(recorded.map((one) => one.url), url)
          })
      }
      yield* moving(fetchRun(options({ inputs: list(20), output })))
    }).pipe(run))

  it.effect("gives every request the headers that are not stored", () =>
    Effect.gen(function*() {
      const { options } = setup()
      const frontier = yield* Frontier
      const line = inputs("{\"url\":\"http://a.test/\",\"headers\":{\"accept\":\"x/y\"}}\nhttp://b.test/")
      yield* moving(fetchRun(options({ inputs: line, headers: { accept: "*/*", authorization: "secret" } })))
      const again = yield* frontier.open("run", { again: { failed: true } })
      const supply = yield* again.source.pull({ limit: 9, closedHosts: new Set() })
      const targets = supply._tag === "Targets" ? supply.targets : []
      assert.deepStrictEqual(targets.map(({ request }) => request.headers), [{ accept: "x/y" }, undefined])
    }).pipe(
      (effect) =>
        run(effect, (target) => {
          assert.deepStrictEqual(target.headers, { accept: "*/*", authorization: "secret" })
          assert.deepStrictEqual(target.request.headers, target.host === "a.test" ? { accept: "x/y" } : undefined)
          const error = failure(new StatusError({ url: target.url, status: 500 }))
          return Effect.succeed({ target, outcome: { ...succeeded(target).outcome, ok: false, error } })
        })
    ))

  const noBodies = [
    ["ENOSPC", "the disk is full (ENOSPC)"],
    ["EDQUOT", "the quota is used up (EDQUOT)"],
    ["EROFS", "the file system is read-only (EROFS)"],
    ["EACCES", "no permission (EACCES)"],
    ["ENOENT", "there is no such directory (ENOENT)"]
  ] as const
  it.effect.each(noBodies)(
    "stops when no body can be kept any more, for %s: what is left stays pending, what cannot be kept too",
    ([code, why]) => {
      let saved = 0
      return Effect.gen(function*() {
        const { options, written } = setup()
        const error = yield* Effect.flip(moving(fetchRun(options({ inputs: list(2000) }))))
        assert.strictEqual(error.message, `cannot save the body to /disk/body: ${why}`)
        const { counts } = yield* (yield* Frontier).find("run")
        assert.strictEqual(counts.failed, 0)
        assert.strictEqual(counts.done, written.length)
        assert.isAtLeast(counts.done, 20)
        assert.isAbove(counts.pending, 1000)
      }).pipe((effect) =>
        run(effect, (target) => {
          if (saved++ < 20) return Effect.succeed(succeeded(target))
          const error = failure(new BodyStoreError({ url: target.url, path: "/disk/body", code }))
          return Effect.as(Effect.sleep(5), { target, outcome: { ...succeeded(target).outcome, ok: false, error } })
        })
      )
    }
  )

  it.effect("says that an input is empty, and goes on without one", () =>
    Effect.gen(function*() {
      const { options } = setup()
      const empty = yield* Effect.flip(moving(fetchRun(options({ inputs: inputs("# nothing\n") }))))
      assert.strictEqual(empty.message, "the input is empty: there is nothing to fetch")
      const malformed = yield* Effect.flip(moving(fetchRun(options({ inputs: inputs("a\nb\n") }))))
      assert.include(malformed.message, "2 lines are malformed")
      const report = yield* moving(fetchRun(options({})))
      assert.strictEqual(report.done, 0)
    }).pipe(run))

  it.effect("interrupted, records what has ended and gives the rest back", () =>
    Effect.gen(function*() {
      const stuck = yield* Deferred.make<void>()
      const { options, written } = setup()
      yield* run(
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(fetchRun(options({ inputs: list(50) })))
          yield* Deferred.await(stuck)
          yield* moving(Fiber.interrupt(fiber))
          const { counts } = yield* (yield* Frontier).find("run")
          const done = written.length
          assert.deepStrictEqual(counts, { pending: 50 - done, leased: 0, done, failed: 0, deferred: 0 })
          assert.isAbove(done, 0)
          assert.isBelow(done, 50)
        }),
        (target) =>
          target.path === "/40"
            ? Effect.andThen(Deferred.succeed(stuck, undefined), Effect.never)
            : Effect.succeed(succeeded(target))
      )
    }))

  it.effect("at its deadline cancels what is in flight and leaves the rest pending", () =>
    Effect.gen(function*() {
      const { options } = setup()
      const report = yield* moving(fetchRun(options({ inputs: list(4), deadline: Duration.minutes(1) })))
      assert.strictEqual(report.stopped, "deadline")
      assert.deepStrictEqual(report.counts.done + report.counts.pending + report.counts.leased, 4)
      const after = yield* (yield* Frontier).find("run")
      assert.strictEqual(after.counts.leased, 0)
      assert.strictEqual(after.counts.pending, 1)
    }).pipe((effect) =>
      run(effect, (target) => target.path === "/2" ? Effect.never : Effect.succeed(succeeded(target)))
    ))

  it.effect("ends quietly when nobody reads the output any more", () =>
    Effect.gen(function*() {
      const { options } = setup()
      const gone = { ...Outcomes.none, write: () => Effect.fail(new OutputClosed()) }
      const report = yield* moving(fetchRun(options({ inputs: list(5000), output: gone })))
      assert.strictEqual(report.stopped, "output closed")
      assert.strictEqual((yield* (yield* Frontier).find("run")).counts.leased, 0)
    }).pipe(run))

  it.effect("an input that breaks off ends the run, and what was read of it stays", () =>
    Effect.gen(function*() {
      const { options } = setup()
      const broken: Stream.Stream<Input, "broken"> = Stream.concat(list(1500), Stream.fail("broken"))
      const exit = yield* Effect.exit(moving(fetchRun({ ...options({}), inputs: broken })))
      assert.strictEqual(Exit.isFailure(exit) && Cause.squash(exit.cause), "broken")
      const { counts } = yield* (yield* Frontier).find("run")
      assert.strictEqual(counts.pending + counts.done, 1500)
    }).pipe(run))
})
