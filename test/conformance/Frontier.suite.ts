/**
 * What every frontier does. A suite is run on each layer; `crash` (where a layer can) ends an open run as `kill -9` would.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, type Layer, Result, Schema, Scope, Stream } from "effect"
import type { Fetched } from "../../src/services/fetch/Fetcher.ts"
import { RetryAfterTooLong, StatusError } from "../../src/services/fetch/FetchError.ts"
import { asked, failure, type FetchOutcome } from "../../src/services/fetch/FetchOutcome.ts"
import * as FetchRequest from "../../src/services/fetch/FetchRequest.ts"
import {
  Frontier,
  type OpenOptions,
  type OutcomeFilter,
  type Run,
  type RunsQuery
} from "../../src/services/fetch/Frontier.ts"
import type { HostState } from "../../src/services/fetch/HostState.ts"

export interface Harness<R, E> {
  readonly layer: Layer.Layer<Frontier | R, E>
  /** Takes the membership of every process of a run away, as if those had been killed some seconds ago. */
  readonly crash?: ((name: string) => Effect.Effect<void, never, R>) | undefined
}

export const target = (url: string, rest: Omit<FetchRequest.FetchRequest, "url"> = {}): FetchRequest.FetchTarget =>
  Result.getOrThrow(FetchRequest.parseTarget({ url, ...rest }))

const outcome = (request: FetchRequest.FetchRequest, error: FetchOutcome["error"] = null): FetchOutcome => ({
  url: request.url,
  ...asked(request),
  finalUrl: request.url,
  ok: error === null,
  status: 200,
  attempts: 1,
  bytes: 5,
  sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
  contentType: "text/plain",
  startedAt: "2026-01-02T03:04:05.678Z",
  durationMs: 12.25,
  savedTo: null,
  error
})

export const succeeded = (of: FetchRequest.FetchTarget): Fetched => ({ target: of, outcome: outcome(of.request) })

export const failed = (of: FetchRequest.FetchTarget): Fetched => ({
  target: of,
  outcome: outcome(of.request, failure(new StatusError({ url: of.url, status: 500 })))
})

export const deferred = (of: FetchRequest.FetchTarget, retryAt: string): Fetched => ({
  target: of,
  outcome: outcome(
    of.request,
    failure(new RetryAfterTooLong({ url: of.url, status: 503, retryAfterMillis: 1, retryAt }))
  )
})

/** What a host says that nobody may ask for so long, or that is open but slow. */
export const known = (host: string, blockedUntilMillis: number): HostState => ({
  host,
  blockedUntilMillis,
  blockStatus: 429,
  strikes: 2,
  struckAtMillis: 1_700_000_000_000,
  concurrency: 3,
  cooldownMillis: 0,
  openUntilMillis: 0
})

const noHosts: ReadonlySet<string> = new Set()

/** Pulls until there is something, or nothing ever again. */
const pull = (run: Run, limit: number, closedHosts = noHosts): Effect.Effect<ReadonlyArray<FetchRequest.FetchTarget>> =>
  Effect.flatMap(Effect.orDie(run.source.pull({ limit, closedHosts })), (supply) =>
    supply._tag === "Targets"
      ? Effect.succeed(supply.targets)
      : supply._tag === "Done"
      ? Effect.succeed([])
      : Effect.andThen(supply.wake, Effect.suspend(() => pull(run, limit, closedHosts))))

type Targets<N extends number> =
  & ReadonlyArray<FetchRequest.FetchTarget>
  & (
    N extends 1 ? readonly [FetchRequest.FetchTarget, ...Array<FetchRequest.FetchTarget>]
      : N extends 2 ? readonly [FetchRequest.FetchTarget, FetchRequest.FetchTarget, ...Array<FetchRequest.FetchTarget>]
      : readonly [
        FetchRequest.FetchTarget,
        FetchRequest.FetchTarget,
        FetchRequest.FetchTarget,
        ...Array<FetchRequest.FetchTarget>
      ]
  )

/** Just so many targets. */
const all = <N extends number>(targets: ReadonlyArray<FetchRequest.FetchTarget>, count: N): Targets<N> => {
  assert.strictEqual(targets.length, count)
  // The length was checked, which TypeScript does not carry over to a tuple.
  return targets as unknown as Targets<N>
}

/** Pulls and settles until nothing is left; the URLs in the order of recording. */
const drain = Effect.fnUntraced(function*(run: Run, limit = 7, settled = succeeded) {
  const urls: Array<string> = []
  while (true) {
    const targets = yield* pull(run, limit)
    if (targets.length === 0) return urls
    assert.isAtMost(targets.length, limit)
    for (const { target } of yield* run.settle(targets.map(settled))) urls.push(target.url)
  }
})

const openIn = (scope: Scope.Scope, name: string, options?: OpenOptions) =>
  Effect.flatMap(Frontier, (frontier) => Scope.provide(frontier.open(name, options), scope))

const urlsOf = (count: number, host = "a.test") => Array.from({ length: count }, (_, n) => `http://${host}/${n}`)

const recordedUrls = (name: string, filter = {}) =>
  Effect.flatMap(
    Frontier,
    (frontier) => Effect.map(Stream.runCollect(frontier.outcomes(name, filter)), (all) => all.map(({ url }) => url))
  )

/** The tests, on a clock that runs: a store has a clock of its own. */
export const frontierSuite = <R, E>(name: string, harness: Harness<R, E>): void =>
  layer(harness.layer, { excludeTestServices: true })(name, (tester) => {
    const it = (name: string, body: Effect.Effect<void, unknown, Frontier | R | Scope.Scope>) =>
      tester.effect(name, () => body)

    it(
      "hands out every URL once and records it",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("all")
        const urls = [...urlsOf(40), ...urlsOf(30, "b.test"), ...urlsOf(1, "c.test:8080")]
        assert.deepStrictEqual(yield* run.add(urls.map((url) => target(url))), { fresh: urls.length, repeated: 0 })
        yield* run.seal
        assert.deepStrictEqual((yield* drain(run)).sort(), urls.toSorted())
        assert.deepStrictEqual(yield* run.counts, { pending: 0, leased: 0, done: 71, failed: 0, deferred: 0 })
        assert.deepStrictEqual(yield* recordedUrls("all"), urls, "in the order of adding")
      })
    )

    it(
      "knows a URL by method, canonical URL, headers and body, and keeps it as it was written",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("dedup")
        const post = { method: "POST", body: "x" } as const
        const added = yield* run.add([
          target("HTTP://A.test:80/x#one"),
          target("http://a.test/x"),
          target("http://a.test/x", { headers: {} }),
          target("http://a.test/x", { headers: { "Accept-Language": "de", accept: "*/*" } }),
          target("http://a.test/x", { headers: { ACCEPT: "*/*", "accept-language": "de" } }),
          target("http://a.test/x", { headers: { accept: "*/*", "accept-language": "fr" } }),
          target("http://a.test/x", { method: "HEAD" }),
          target("http://a.test/x", post),
          target("http://a.test/x", post),
          target("http://a.test/x", { ...post, body: "y" })
        ])
        assert.deepStrictEqual(added, { fresh: 6, repeated: 4 })
        assert.deepStrictEqual(yield* run.add([target("http://a.test/x#two")]), { fresh: 0, repeated: 1 })
        yield* run.seal
        const targets = yield* pull(run, 10)
        assert.deepStrictEqual(targets.map(({ request }) => request), [
          { url: "HTTP://A.test:80/x#one" },
          { url: "http://a.test/x", headers: { "Accept-Language": "de", accept: "*/*" } },
          { url: "http://a.test/x", headers: { accept: "*/*", "accept-language": "fr" } },
          { url: "http://a.test/x", method: "HEAD" },
          { url: "http://a.test/x", ...post },
          { url: "http://a.test/x", ...post, body: "y" }
        ])
      })
    )

    it(
      "says what a run does not know, and does not add it",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("unknown")
        const targets = Array.from({ length: 2500 }, (_, n) => target(`http://h${n % 3}.test/${n}`))
        yield* run.add(targets.filter((_, n) => n % 2 === 0))
        const post = target("http://h0.test/0", { method: "POST", body: "x" })
        const again = target("HTTP://h0.test:80/0#x")
        const unknown = yield* frontier.unknown("unknown", [...targets, post, again])
        assert.deepStrictEqual(unknown.slice(0, 2).map(({ url }) => url), ["http://h1.test/1", "http://h0.test/3"])
        assert.deepStrictEqual([unknown.length, unknown.at(-1)], [1251, post])
        assert.strictEqual((yield* run.counts).pending, 1250)
        assert.strictEqual((yield* Effect.flip(frontier.unknown("no such run", []))).name, "no such run")
      })
    )

    it(
      "headers that are stored nowhere are no part of what a URL is known by",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("unstored")
        yield* run.add([target("http://a.test/", { headers: { accept: "*/*" } }), target("http://a.test/b")])
        const lent = (yield* pull(run, 2)).map((each) => Object.assign({ headers: { authorization: "secret" } }, each))
        assert.strictEqual((yield* run.settle(lent.map(succeeded))).length, 2)
      })
    )

    it(
      "tells what repeats others that came while it was open from what was known before",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const targets = (from: number, to: number) =>
          Array.from({ length: to - from }, (_, n) => target(`http://r${(from + n) % 3}.test/${from + n}`))
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* frontier.open("repeats")
          assert.deepStrictEqual(yield* run.add([...targets(0, 10), ...targets(5, 7)]), { fresh: 10, repeated: 2 })
          assert.deepStrictEqual(yield* run.add(targets(8, 12)), { fresh: 2, repeated: 2 })
          yield* run.settle((yield* pull(run, 1)).map(failed))
        }))
        const again = yield* frontier.open("repeats", { again: { failed: true } })
        assert.deepStrictEqual(yield* again.add([...targets(0, 14), ...targets(0, 1), ...targets(13, 14)]), {
          fresh: 2,
          repeated: 1
        })
        assert.deepStrictEqual(yield* again.add([...targets(0, 2), ...targets(12, 13)]), { fresh: 0, repeated: 1 })
      })
    )

    it(
      "keeps what a URL is called by whoever asks: the first one's, over a retry too",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const labels = [
          undefined,
          { source: "list.csv", line: 2 },
          {
            id: "ü\0\ud800",
            source: "-",
            line: 2_147_483_647,
            input: { "": [1, null, { a: "\0" }], ["__proto__"]: 1 }
          },
          { id: 0.5 },
          { id: { of: ["a"] }, input: { name: "x" } },
          { id: false, line: 1 }
        ]
        const targets = labels.map((label, n) =>
          target(`http://l${n % 2}.test/${n}`, label === undefined ? {} : { label })
        )
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* frontier.open("labels")
          yield* run.add(targets)
          yield* run.add(targets.map((each) => ({ ...each, request: { ...each.request, label: { id: "second" } } })))
          const got = yield* pull(run, 10)
          yield* run.settle(got.map(failed))
        }))
        const run = yield* frontier.open("labels", { again: { failed: true } })
        const got = yield* pull(run, 10)
        const byUrl = new Map(got.map(({ request, url }) => [url, request.label]))
        assert.deepStrictEqual(targets.map(({ url }) => byUrl.get(url)), labels)
        yield* run.settle(got.map(succeeded))
        const outcomes = yield* Stream.runCollect(frontier.outcomes("labels"))
        const told = new Map(outcomes.map(({ id, input, line, source, url }) => [url, { id, input, line, source }]))
        assert.deepStrictEqual(
          targets.map(({ url }) => told.get(url)),
          labels.map((label) => Object.assign({ id: null, input: null, line: null, source: null }, label))
        )
      })
    )

    it(
      "gives outcomes back as they were recorded",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("exact")
        yield* run.add([
          target("http://a.test/ok"),
          target("http://a.test/no", { method: "PUT", body: "\0", headers: { "x-a": "1" } })
        ])
        const [first, second] = all(yield* pull(run, 2), 2)
        const bare: FetchOutcome = {
          ...failed(second).outcome,
          finalUrl: null,
          status: null,
          sha256: null,
          contentType: null
        }
        yield* run.settle([succeeded(first), { target: second, outcome: bare }])
        assert.deepStrictEqual(yield* Stream.runCollect(frontier.outcomes("exact")), [succeeded(first).outcome, bare])
      })
    )

    it(
      "skips closed hosts, however much waits on them",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("closed")
        yield* run.add([...urlsOf(3000, "blocked.test"), ...urlsOf(5, "open.test")].map((url) => target(url)))
        const targets = yield* pull(run, 100, new Set(["blocked.test"]))
        assert.deepStrictEqual(targets.map(({ url }) => url).sort(), urlsOf(5, "open.test"))
        const supply = yield* run.source.pull({ limit: 100, closedHosts: new Set(["blocked.test"]) })
        assert.strictEqual(supply._tag, "Wait")
        assert.strictEqual((yield* pull(run, 100)).length, 100)
      })
    )

    it(
      "waits while more may come, wakes when it does, and ends when it cannot",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("wait")
        const waiting = yield* Effect.forkScoped(pull(run, 1))
        yield* run.add([target("http://a.test/")])
        const [only] = all(yield* Fiber.join(waiting), 1)
        yield* run.seal
        // Leased but not settled: not done.
        assert.strictEqual((yield* run.source.pull({ limit: 1, closedHosts: noHosts }))._tag, "Wait")
        const ending = yield* Effect.forkScoped(pull(run, 1))
        yield* run.settle([succeeded(only)])
        assert.deepStrictEqual(yield* Fiber.join(ending), [])
      })
    )

    it(
      "records an outcome once, and only for who holds the lease",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("once")
        yield* run.add([target("http://a.test/1"), target("http://a.test/2")])
        const targets = yield* pull(run, 2)
        const [first] = all(targets, 2)
        const other = yield* frontier.open("once")
        assert.deepStrictEqual(yield* other.settle([succeeded(first)]), [])
        assert.deepStrictEqual(yield* run.settle([succeeded(target("http://a.test/unknown"))]), [])
        assert.strictEqual((yield* run.settle([succeeded(first), succeeded(first)])).length, 1)
        assert.deepStrictEqual(yield* run.settle([failed(first)]), [])
        assert.deepStrictEqual(yield* run.counts, { pending: 0, leased: 1, done: 1, failed: 0, deferred: 0 })
      })
    )

    it(
      "gives leases back at once when it is closed, and does not fetch again what is recorded",
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const first = yield* openIn(scope, "resume")
        yield* first.add(urlsOf(50).map((url) => target(url)))
        const targets = yield* pull(first, 20)
        const settled = yield* first.settle(targets.filter((_, n) => n % 2 === 1).map(succeeded))
        yield* Scope.close(scope, Exit.void)
        const second = yield* (yield* Frontier).open("resume")
        assert.deepStrictEqual(yield* second.counts, { pending: 40, leased: 0, done: 10, failed: 0, deferred: 0 })
        assert.strictEqual((yield* second.add(urlsOf(51).map((url) => target(url)))).fresh, 1)
        yield* second.seal
        const rest = yield* drain(second)
        assert.deepStrictEqual([...settled.map(({ target }) => target.url), ...rest].sort(), urlsOf(51).toSorted())
      })
    )

    it(
      "leases nothing to who has closed it",
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const left = yield* openIn(scope, "left")
        yield* left.add(urlsOf(3).map((url) => target(url)))
        yield* Scope.close(scope, Exit.void)
        // One answers that nothing is left to do, the other that it is closed.
        yield* Effect.exit(left.source.pull({ limit: 3, closedHosts: noHosts })).pipe(
          Effect.timeoutOption("500 millis")
        )
        const run = yield* (yield* Frontier).open("left")
        assert.deepStrictEqual(yield* run.counts, { pending: 3, leased: 0, done: 0, failed: 0, deferred: 0 })
      })
    )

    it(
      "shares a run: a host is worked on by one at a time, and both end",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const [one, two] = [yield* frontier.open("shared"), yield* frontier.open("shared")]
        const urls = Array.from({ length: 20 }, (_, n) => urlsOf(10, `h${n}.test`)).flat()
        yield* one.add(urls.map((url) => target(url)))
        yield* one.seal
        yield* two.seal
        const busy = new Map<string, Run>()
        const work = Effect.fnUntraced(function*(run: Run) {
          const mine: Array<string> = []
          while (true) {
            const targets = yield* pull(run, 3)
            if (targets.length === 0) return mine
            for (const { host } of targets) {
              assert.isTrue((busy.get(host) ?? run) === run, `${host} is worked on by both`)
              busy.set(host, run)
            }
            yield* Effect.yieldNow
            for (const { host } of targets) busy.delete(host)
            for (const { target } of yield* run.settle(targets.map(succeeded))) mine.push(target.url)
          }
        })
        const [a, b] = yield* Effect.all([work(one), work(two)], { concurrency: 2 })
        assert.deepStrictEqual([...a, ...b].sort(), urls.toSorted())
      })
    )

    it(
      "retries what failed when asked to, by tag and host",
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const first = yield* openIn(scope, "retry")
        yield* first.add([...urlsOf(4), ...urlsOf(2, "b.test")].map((url) => target(url)))
        const [ok, ...rest] = all(yield* pull(first, 4), 4)
        yield* first.settle([succeeded(ok), ...rest.map(failed)])
        yield* first.settle((yield* pull(first, 9)).map(failed))
        yield* Scope.close(scope, Exit.void)
        const none = yield* Scope.make()
        const second = yield* openIn(none, "retry", { again: { failed: true, tag: "IdleTimeout" } })
        assert.strictEqual((yield* second.counts).failed, 5)
        yield* Scope.close(none, Exit.void)
        const third = yield* (yield* Frontier).open("retry", {
          again: { failed: true, tag: "StatusError", host: "b.test" }
        })
        assert.deepStrictEqual(yield* third.counts, { pending: 2, leased: 0, done: 1, failed: 3, deferred: 0 })
        yield* third.seal
        assert.deepStrictEqual((yield* drain(third)).sort(), urlsOf(2, "b.test"))
        const again = yield* (yield* Frontier).open("retry", { again: { failed: true } })
        yield* again.seal
        yield* drain(again)
        assert.deepStrictEqual(yield* again.counts, { pending: 0, leased: 0, done: 6, failed: 0, deferred: 0 })
      })
    )

    it(
      "fetches again what is recorded when asked to, done or failed, by status and host, and not what is deferred",
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const first = yield* openIn(scope, "again")
        yield* first.add([...urlsOf(4), ...urlsOf(2, "b.test")].map((url) => target(url)))
        const byPath: Record<string, (of: FetchRequest.FetchTarget) => Fetched> = {
          "/0": (of) => ({ target: of, outcome: { ...failed(of).outcome, status: 404 } }),
          "/1": (of) => ({ target: of, outcome: { ...failed(of).outcome, status: 503 } }),
          "/2": (of) => deferred(of, "2999-01-01T00:00:00.000Z")
        }
        const settled = (of: FetchRequest.FetchTarget) => (byPath[of.path] ?? succeeded)(of)
        yield* first.seal
        yield* drain(first, 7, settled)
        const opened = (filter: OutcomeFilter) =>
          Effect.scoped(Effect.gen(function*() {
            const run = yield* (yield* Frontier).open("again", { again: filter })
            yield* run.seal
            const { pending } = yield* run.counts
            return [pending, (yield* drain(run, 7, settled)).sort()] as const
          }))
        yield* Scope.close(scope, Exit.void)
        const range = (least: number, most: number): OutcomeFilter => ({ status: { least, most } })
        assert.deepStrictEqual(yield* opened(range(404, 404)), [3, ["http://a.test/0", "http://b.test/0"]])
        assert.deepStrictEqual(yield* opened({ ...range(500, 599), host: "b.test" }), [2, ["http://b.test/1"]])
        assert.deepStrictEqual(yield* opened({ failed: true, ...range(400, 499) }), [3, [
          "http://a.test/0",
          "http://b.test/0"
        ]])
        assert.deepStrictEqual(yield* opened(range(405, 502)), [1, []])
        const rest = [...urlsOf(4), ...urlsOf(2, "b.test")].filter((url) => !url.endsWith("/2")).sort()
        assert.deepStrictEqual(yield* opened({}), [6, rest])
        assert.deepStrictEqual(yield* recordedUrls("again", range(500, 599)), ["http://a.test/1", "http://b.test/1"])
        assert.deepStrictEqual((yield* (yield* Frontier).find("again")).counts, {
          pending: 1,
          leased: 0,
          done: 1,
          failed: 4,
          deferred: 1
        })
      })
    )

    it(
      "keeps what is noted with a run, name by name, whoever notes it",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const one = yield* frontier.open("noted", { notes: { a: 1, gone: true, list: ["x", null] } })
        yield* one.add([target("http://a.test/")])
        assert.deepStrictEqual(one.notes, { a: 1, gone: true, list: ["x", null] })
        const [two, three] = yield* Effect.all([
          frontier.open("noted", { notes: { a: 2, gone: null } }),
          frontier.open("noted", { notes: { b: "ü'\"" } })
        ], { concurrency: 2 })
        assert.strictEqual(two.notes["a"], 2)
        assert.strictEqual(three.notes["b"], "ü'\"")
        const noted = { a: 2, b: "ü'\"", list: ["x", null] }
        assert.deepStrictEqual(yield* frontier.notes("noted"), noted)
        assert.deepStrictEqual(
          (yield* frontier.open("noted")).notes,
          noted,
          "opening it without a word changes nothing"
        )
        assert.deepStrictEqual((yield* frontier.open("bare", { notes: { no: null } })).notes, {})
        assert.strictEqual((yield* Effect.flip(frontier.notes("nobody")))._tag, "RunNotFound")
      })
    )

    it(
      "lists as many runs as are asked for, and those that nobody has touched for long",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        for (const name of ["first", "second", "third"]) {
          yield* Effect.scoped(
            Effect.flatMap(frontier.open(name), (run) => run.add([target("http://a.test/")]))
          )
        }
        const names = (query: RunsQuery) => Effect.map(frontier.runs(query), (runs) => runs.map(({ name }) => name))
        assert.deepStrictEqual(yield* names({ most: 2 }), ["third", "second"])
        assert.deepStrictEqual(yield* names({ most: 1, idleSinceMillis: Date.now() + 60_000 }), ["third"])
        assert.deepStrictEqual(yield* names({ idleSinceMillis: Date.now() - 60_000 }), [])
      })
    )

    it(
      "removes a run that nobody works on, and all of it; its name is as if it had never been",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const begin = Effect.fnUntraced(function*(name: string) {
          const run = yield* frontier.open(name, { notes: { of: name } })
          yield* run.add([...urlsOf(2500), ...urlsOf(5, "b.test")].map((url) => target(url)))
          const targets = yield* pull(run, 2200)
          yield* run.settle(targets.map(succeeded))
          return targets.length
        }, Effect.scoped)
        const done = yield* begin("kept")
        yield* begin("removed")
        yield* frontier.remove("removed")
        assert.strictEqual((yield* Effect.flip(frontier.find("removed")))._tag, "RunNotFound")
        assert.strictEqual((yield* Effect.flip(frontier.remove("removed")))._tag, "RunNotFound")
        assert.notInclude((yield* frontier.runs()).map(({ name }) => name), "removed")
        assert.strictEqual((yield* frontier.find("kept")).counts.done, done, "another is as it was")
        assert.strictEqual((yield* recordedUrls("kept")).length, done)
        const again = yield* frontier.open("removed")
        assert.deepStrictEqual(again.notes, {})
        assert.deepStrictEqual(
          yield* again.add(urlsOf(3).map((url) => target(url))),
          { fresh: 3, repeated: 0 },
          "nothing is known"
        )
        assert.deepStrictEqual(yield* recordedUrls("removed"), [])
      })
    )

    it(
      "does not remove a run that is worked on, unless it is forced to: then whoever works on it is told",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("busy")
        yield* run.add(urlsOf(9).map((url) => target(url)))
        const targets = yield* pull(run, 3)
        const busy = yield* Effect.flip(frontier.remove("busy"))
        assert.strictEqual(busy.message, "run busy is worked on by a process now")
        assert.strictEqual((yield* run.settle(targets.slice(0, 1).map(succeeded))).length, 1, "as if nothing had been")
        yield* frontier.remove("busy", { isForced: true })
        const message = "run busy was removed while this process worked on it"
        assert.strictEqual((yield* Effect.flip(run.settle(targets.slice(1).map(succeeded)))).message, message)
        assert.strictEqual((yield* Effect.flip(run.add([target("http://new.test/")]))).message, message)
        assert.strictEqual((yield* Effect.flip(run.counts)).message, message)
        // One of that name is another, and the old one does not get at it.
        const other = yield* frontier.open("busy")
        yield* other.add([target("http://a.test/0")])
        yield* Effect.exit(run.settle(targets.map(succeeded)))
        assert.deepStrictEqual(yield* other.counts, { pending: 1, leased: 0, done: 0, failed: 0, deferred: 0 })
      })
    )

    it(
      "defers a URL whose server asks to come later, ends without it, and fetches it when it is time",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("later")
        yield* run.add(urlsOf(3).map((url) => target(url)))
        yield* run.seal
        const [one, two, three] = all(yield* pull(run, 3), 3)
        const recorded = yield* run.settle([
          deferred(one, "2000-01-01T00:00:00.000Z"),
          deferred(two, "2999-01-01T00:00:00.000Z"),
          succeeded(three)
        ])
        assert.strictEqual(recorded.length, 3)
        const [again] = yield* pull(run, 9)
        assert.strictEqual(again?.url, one.url)
        yield* run.settle([succeeded(one)])
        assert.deepStrictEqual(yield* pull(run, 9), [], "done, though one is pending")
        assert.deepStrictEqual(yield* run.counts, { pending: 1, leased: 0, done: 2, failed: 0, deferred: 1 })
        assert.deepStrictEqual(yield* recordedUrls("later", { tag: "RetryAfterTooLong" }), [two.url])
      })
    )

    it(
      "lists runs, their counts, tags and filtered outcomes",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const run = yield* frontier.open("listed")
        yield* run.add([...urlsOf(3), ...urlsOf(1, "b.test")].map((url) => target(url)))
        const targets = yield* pull(run, 4)
        yield* run.settle(
          targets.map((one) => one.host === "b.test" || one.path === "/0" ? failed(one) : succeeded(one))
        )
        yield* frontier.open("younger")
        assert.deepStrictEqual((yield* frontier.runs()).map(({ name }) => name).slice(0, 2), ["younger", "listed"])
        assert.deepStrictEqual(
          (yield* frontier.find("listed")).counts,
          { pending: 0, leased: 0, done: 2, failed: 2, deferred: 0 }
        )
        assert.deepStrictEqual(
          (yield* frontier.tags("listed")).toSorted((a, b) => Number(a.tag !== null) - Number(b.tag !== null)),
          [{ tag: null, count: 2 }, { tag: "StatusError", count: 2 }]
        )
        assert.deepStrictEqual(yield* recordedUrls("listed", { failed: true, host: "b.test" }), ["http://b.test/0"])
        assert.deepStrictEqual(yield* recordedUrls("listed", { tag: "StatusError" }), [
          "http://a.test/0",
          "http://b.test/0"
        ])
        assert.deepStrictEqual(yield* recordedUrls("listed", { tag: "DnsError" }), [])
        const missing = yield* Effect.flip(frontier.find("nobody"))
        assert.strictEqual(missing._tag, "RunNotFound")
      })
    )

    /** What comes with the first targets of these hosts, in a run of its own. */
    const knownOf = Effect.fnUntraced(function*(name: string, hosts: ReadonlyArray<string>) {
      const run = yield* (yield* Frontier).open(name)
      yield* run.add(hosts.map((host) => target(`http://${host}/`)))
      yield* run.seal
      const supply = yield* run.source.pull({ limit: hosts.length, closedHosts: noHosts })
      assert.strictEqual(supply._tag, "Targets")
      return supply._tag === "Targets" ? supply.hosts ?? [] : []
    })

    it(
      "keeps what is known of a host beside its outcomes, and gives it to whoever works on that host next",
      Effect.gen(function*() {
        const until = Date.now() + 3_600_000
        const scope = yield* Scope.make()
        const run = yield* openIn(scope, "hosts")
        yield* run.add([...urlsOf(3, "shut.test"), ...urlsOf(1, "well.test")].map((url) => target(url)))
        const supply = yield* run.source.pull({ limit: 3, closedHosts: noHosts })
        assert.deepStrictEqual(supply._tag === "Targets" ? supply.hosts ?? [] : undefined, [], "nothing is known yet")
        const targets = supply._tag === "Targets" ? supply.targets : []
        const shut = targets.filter(({ host }) => host === "shut.test")
        const [one, two] = all(shut, 2)
        const well = targets.filter(({ host }) => host === "well.test").map(succeeded)
        yield* run.settle([
          { ...succeeded(one), host: known("shut.test", until - 1000) },
          ...well,
          { ...succeeded(two), host: known("shut.test", until) }
        ])
        yield* Scope.close(scope, Exit.void)
        const again = yield* (yield* Frontier).open("hosts")
        yield* again.add(urlsOf(2, "well.test").map((url) => target(url)))
        const next = yield* again.source.pull({ limit: 9, closedHosts: noHosts })
        assert.deepStrictEqual(next._tag === "Targets" ? next.hosts : [], [known("shut.test", until)])
        assert.deepStrictEqual(yield* knownOf("hosts-of-another", ["well.test", "shut.test"]), [
          known("shut.test", until)
        ])
      })
    )

    it(
      "takes the last word on a host, but ends no block before its time, and forgets what is over",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const now = Date.now()
        const words = Effect.fnUntraced(function*(host: string, states: ReadonlyArray<HostState | undefined>) {
          const run = yield* frontier.open(`words-${host}`)
          yield* run.add(urlsOf(states.length, host).map((url) => target(url)))
          for (const state of states) {
            const [one] = all(yield* pull(run, 1), 1)
            yield* run.settle([{ ...succeeded(one), host: state }])
          }
        })
        const heard = (host: string) => knownOf(`heard-${host}`, [host])
        yield* words("longer.test", [known("longer.test", now + 60_000), known("longer.test", now + 90_000)])
        assert.deepStrictEqual(yield* heard("longer.test"), [known("longer.test", now + 90_000)])
        yield* words("shorter.test", [known("shorter.test", now + 90_000), known("shorter.test", 0), undefined])
        assert.deepStrictEqual(yield* heard("shorter.test"), [known("shorter.test", now + 90_000)])
        yield* words("slow.test", [known("slow.test", now - 5000), known("slow.test", 0)])
        assert.deepStrictEqual(yield* heard("slow.test"), [known("slow.test", 0)])
        yield* words("recovered.test", [known("recovered.test", now - 5000), undefined])
        assert.deepStrictEqual(yield* heard("recovered.test"), [])
      })
    )

    it(
      "forgets a run to which nothing was ever added, once nobody has it open",
      Effect.gen(function*() {
        const frontier = yield* Frontier
        const [one, two] = [yield* Scope.make(), yield* Scope.make()]
        const first = yield* openIn(one, "empty")
        yield* openIn(two, "empty")
        yield* first.seal
        yield* Scope.close(one, Exit.void)
        assert.strictEqual((yield* frontier.find("empty")).name, "empty")
        yield* Scope.close(two, Exit.void)
        assert.strictEqual((yield* Effect.flip(frontier.find("empty")))._tag, "RunNotFound")
        // Some drop it while others are about to join it.
        const visit = Effect.scoped(Effect.flatMap(frontier.open("empty"), ({ counts }) => counts))
        yield* Effect.forEach(Array.from({ length: 100 }), () => visit, { concurrency: 8, discard: true })
        assert.strictEqual((yield* Effect.flip(frontier.find("empty")))._tag, "RunNotFound")
        const again = yield* frontier.open("empty")
        assert.strictEqual((yield* again.add([target("http://a.test/")])).fresh, 1)
      })
    )

    const { crash } = harness
    if (crash !== undefined) {
      it(
        "gives the leases of the dead to others, and refuses what they settle afterwards",
        Effect.gen(function*() {
          const frontier = yield* Frontier
          const dead = yield* frontier.open("crash")
          yield* dead.add(urlsOf(30).map((url) => target(url)))
          yield* dead.seal
          const targets = yield* pull(dead, 20)
          yield* dead.settle(targets.slice(5, 10).map(succeeded))
          yield* crash("crash")
          const heir = yield* frontier.open("crash")
          yield* heir.seal
          const inherited = yield* pull(heir, 30)
          const zombie = yield* dead.settle(targets.slice(10).map(succeeded))
          assert.deepStrictEqual(zombie, [], "a lapsed lease records nothing")
          yield* heir.settle(inherited.map(succeeded))
          yield* drain(heir)
          assert.deepStrictEqual(yield* heir.counts, { pending: 0, leased: 0, done: 30, failed: 0, deferred: 0 })
          assert.deepStrictEqual((yield* recordedUrls("crash")).sort(), urlsOf(30).toSorted())
        })
      )
    }

    tester.effect.prop(
      "any interleaving of adding, pulling, settling, leaving, dying and coming back records every URL exactly once",
      { steps: Schema.Array(Step).check(Schema.isMaxLength(60)) },
      ({ steps }) => interleave(harness, steps),
      { arbitrary: { runs: process.env["SLUICE_LONG"] === "1" ? 300 : 25 } }
    )
  })

const Step = Schema.Struct({
  what: Schema.Literals(["add", "add", "pull", "pull", "pull", "settle", "settle", "fail", "leave", "crash", "count"]),
  who: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 })),
  size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20 }))
})

interface Worker {
  readonly scope: Scope.Closeable
  readonly run: Run
  held: ReadonlyArray<FetchRequest.FetchTarget>
}

let interleavings = 0

/**
 * Three workers on one run, against a model that is only sets: what was added, what was recorded, and what each worker holds.
 */
const interleave = Effect.fnUntraced(function*<R, E>(harness: Harness<R, E>, steps: ReadonlyArray<typeof Step.Type>) {
  const name = `interleaving-${interleavings++}`
  const start = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const worker: Worker = { scope, run: yield* openIn(scope, name), held: [] }
    return worker
  })
  const workers: [Worker, Worker, Worker] = [yield* start, yield* start, yield* start]
  const added = new Set<string>()
  const recorded = new Map<string, boolean>()
  const settle = Effect.fnUntraced(function*(worker: Worker, count: number, as: typeof succeeded) {
    const batch = worker.held.slice(0, count)
    worker.held = worker.held.slice(count)
    const kept = yield* worker.run.settle(batch.map(as))
    for (const { outcome, target } of kept) {
      assert.isFalse(recorded.has(target.url), `${target.url} was recorded twice`)
      recorded.set(target.url, outcome.ok)
    }
    return [kept.length, batch.length] as const
  })
  for (const { size, what, who } of steps) {
    const worker = workers[who as 0 | 1 | 2]
    if (what === "add") {
      const urls = Array.from({ length: size * 3 }, (_, n) => `http://h${(n * size) % 5}.test/${(n * 7 + size) % 90}`)
      const fresh = new Set(urls.filter((url) => !added.has(url)))
      assert.strictEqual((yield* worker.run.add(urls.map((url) => target(url)))).fresh, fresh.size)
      for (const url of fresh) added.add(url)
    } else if (what === "pull") {
      const supply = yield* worker.run.source.pull({ limit: size, closedHosts: new Set([`h${who + 1}.test`]) })
      assert.notStrictEqual(supply._tag, "Done", "nobody has sealed")
      if (supply._tag === "Targets") {
        for (const { url } of supply.targets) {
          assert.isTrue(added.has(url) && !recorded.has(url), `${url} was handed out again`)
          assert.isFalse(workers.some(({ held }) => held.some((one) => one.url === url)), `${url} is leased to two`)
        }
        worker.held = [...worker.held, ...supply.targets]
      }
    } else if (what === "settle" || what === "fail") {
      const [kept, all] = yield* settle(worker, size, what === "fail" ? failed : succeeded)
      assert.strictEqual(kept, all, "all were held")
    } else if (what === "leave") {
      yield* Scope.close(worker.scope, Exit.void)
      workers[who as 0 | 1 | 2] = yield* start
    } else if (what === "crash" && harness.crash !== undefined) {
      yield* harness.crash(name)
      // What the dead settle now is refused.
      for (const dead of workers) {
        const [kept] = yield* settle(dead, dead.held.length, succeeded)
        assert.strictEqual(kept, 0)
        yield* Scope.close(dead.scope, Exit.void)
      }
      for (const index of [0, 1, 2] as const) workers[index] = yield* start
    } else if (what === "count") {
      const { done, failed, leased, pending } = yield* worker.run.counts
      assert.strictEqual(pending + leased, added.size - recorded.size)
      assert.strictEqual(done + failed, recorded.size)
      assert.strictEqual(failed, Array.from(recorded.values()).filter((ok) => !ok).length)
    }
  }
  for (const { run, scope } of workers.slice(1)) {
    yield* run.seal
    yield* Scope.close(scope, Exit.void)
  }
  const [last] = workers
  yield* settle(last, last.held.length, succeeded)
  yield* last.run.seal
  for (const url of yield* drain(last.run, 20)) {
    assert.isFalse(recorded.has(url), `${url} was recorded twice`)
    recorded.set(url, true)
  }
  assert.deepStrictEqual(Array.from(recorded.keys()).sort(), Array.from(added).sort())
  assert.deepStrictEqual((yield* recordedUrls(name)).toSorted(), Array.from(added).sort())
  yield* Scope.close(last.scope, Exit.void)
})
