/**
 * What came over the network is guarded whoever fetches it: the address policy goes with the URL, through redirects,
 * retries and robots.txt, through the database and into other processes.
 */
import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import { fetchRun } from "../../../src/programs/fetch/FetchRun.ts"
import * as Outcomes from "../../../src/programs/fetch/Outcomes.ts"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import { TransportWatch } from "../../../src/services/fetch/TransportWatch.ts"
import { target } from "../../conformance/Frontier.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

interface Sent {
  readonly path: string
  readonly isGuarded: boolean | undefined
  readonly token: string | undefined
}

/** Sends everything on from /a to another host's /b, answers that with 503 once, and notes how each request was to be guarded. */
const recorder = () => {
  const sent: Array<Sent> = []
  const client = HttpClient.make((request) =>
    Effect.map(TransportWatch, (watch) => {
      const { host, pathname } = new URL(request.url)
      sent.push({ path: `${host}${pathname}`, isGuarded: watch?.denyPrivate, token: request.headers["authorization"] })
      const isFirst = sent.filter(({ path }) => path === `${host}${pathname}`).length === 1
      const [status, headers] = pathname === "/a"
        ? [302, { location: "http://other.test/b" }] as const
        : pathname === "/b" && isFirst
        ? [503, undefined] as const
        : [pathname === "/robots.txt" ? 404 : 200, undefined] as const
      return HttpClientResponse.fromWeb(request, new Response("", { status, ...(headers && { headers }) }))
    })
  )
  return { sent, layer: Layer.provide(HttpFetcher.layer, Layer.succeed(HttpClient.HttpClient)(client)) }
}

const url = "http://one.test/a"

/** How it was added, by one after another, in runs of one process each. */
const adders = [
  { who: "the operator", untrusted: [false], isTrusted: true },
  { who: "the network", untrusted: [true], isTrusted: false },
  { who: "the network, and again", untrusted: [true, true], isTrusted: false },
  { who: "the network, then the operator", untrusted: [true, false], isTrusted: true },
  { who: "the operator, then the network", untrusted: [false, true], isTrusted: true }
]

const policies: ReadonlyArray<readonly [FetchPolicy.FetchPolicy["denyPrivate"], (isTrusted: boolean) => boolean]> = [
  [true, () => true],
  [false, () => false],
  ["untrusted", (isTrusted) => !isTrusted]
]

const matrix = <E>(name: string, frontier: Layer.Layer<Frontier, E>) =>
  layer(Layer.orDie(frontier), { excludeTestServices: true })(name, (it) => {
    for (const { isTrusted, untrusted, who } of adders) {
      for (const [denyPrivate, isGuarded] of policies) {
        it.effect(`added by ${who}, denyPrivate ${denyPrivate}`, () =>
          Effect.gen(function*() {
            const run = `${name}-${who}-${denyPrivate}`.replaceAll(/[^a-z-]/gi, "-")
            const { layer, sent } = recorder()
            for (const one of untrusted) {
              yield* Effect.scoped(Effect.gen(function*() {
                const opened = yield* (yield* Frontier).open(run)
                yield* opened.add([one ? { ...target(url), untrusted: true } : target(url)])
              }))
            }
            const report = yield* fetchRun<never, never>({
              name: run,
              headers: { authorization: "Bearer operator" },
              output: Outcomes.none,
              onMalformed: () => Effect.void,
              meter: new RunMeter(0)
            }).pipe(
              Effect.provideService(
                FetchPolicy.FetchPolicy,
                FetchPolicy.make({ denyPrivate, robots: true, retry: { base: Duration.millis(1) } })
              ),
              Effect.provide(layer)
            )
            assert.deepStrictEqual(report.counts, { pending: 0, leased: 0, done: 1, failed: 0, deferred: 0 })
            const paths = new Set(sent.map(({ path }) => path))
            for (const path of ["one.test/robots.txt", "one.test/a", "other.test/robots.txt", "other.test/b"]) {
              assert.isTrue(paths.has(path), path)
            }
            assert.deepStrictEqual(new Set(sent.map((one) => one.isGuarded)), new Set([isGuarded(isTrusted)]))
            const tokens = sent.filter(({ token }) => token !== undefined).map(({ path }) => path)
            assert.deepStrictEqual(new Set(tokens), new Set(isTrusted ? ["one.test/a"] : []))
          }))
      }
    }
  })

matrix("in memory", MemoryFrontier.layer)
matrix("in Postgres", Layer.provide(PostgresFrontier.layer, TestDatabase.layer))
