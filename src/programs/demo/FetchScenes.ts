/**
 * What the fetch wing shows in `sluice demo`: concurrency, limits and retries, a race, a clean interrupt.
 */
import { ByteSize, Clock, Duration, Effect, Fiber, Schedule, Stream } from "effect"
import { UnrulyOrigin } from "../../layers/fetch/UnrulyOrigin.ts"
import { Fetcher } from "../../services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import * as FetchPolicy from "../../services/fetch/FetchPolicy.ts"
import { withLiveRegion } from "../terminal/LiveRegion.ts"
import { bar, bold, count, cyan, dim, green, red, seconds } from "../terminal/Style.ts"

interface Lane {
  readonly name: string
  readonly concurrency: number
  done: number
  endedAfterMillis: number | undefined
}

/** Ten one-second URLs, fetched one by one, by three workers, and all at once, side by side. */
export const lanes = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const origin = yield* UnrulyOrigin
  const startedAt = yield* Clock.currentTimeMillis
  const all: ReadonlyArray<Lane> = [
    { name: "one by one", concurrency: 1, done: 0, endedAfterMillis: undefined },
    { name: "three workers", concurrency: 3, done: 0, endedAfterMillis: undefined },
    { name: "all at once", concurrency: 10, done: 0, endedAfterMillis: undefined }
  ]
  const urls = Array.from({ length: 10 }, () => ({ url: `${origin.url}/delay/1000` }))

  const run = (lane: Lane) =>
    fetcher.fetchAll(Stream.fromIterable(urls)).pipe(
      Stream.runForEach((outcome) =>
        Effect.sync(() => {
          if (outcome.ok) lane.done++
        })
      ),
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make({ concurrency: lane.concurrency, perHost: lane.concurrency })
      ),
      Effect.andThen(Clock.currentTimeMillis),
      Effect.map((now) => {
        lane.endedAfterMillis = now - startedAt
      })
    )

  const slowest = () => all[0]?.endedAfterMillis
  const render = Effect.map(Clock.currentTimeMillis, (now) =>
    all.map((lane) => {
      const millis = lane.endedAfterMillis ?? now - startedAt
      const reference = slowest()
      const gain = reference === undefined ? "" : dim(`${(reference / millis).toFixed(1)}x`)
      const time = lane.endedAfterMillis === undefined ? dim(seconds(millis)) : green(seconds(millis))
      return `  ${lane.name.padEnd(15)} ${bar(lane.done / urls.length, 30)} ${
        String(lane.done).padStart(3)
      }/10  ${time}  ${gain}`
    }))

  yield* withLiveRegion(Effect.forEach(all, run, { concurrency: all.length, discard: true }), render)
})

const itemCount = 3000

/** Thousands of items through limits and retries; ends in a table by outcome tag. */
export const bulk = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const origin = yield* UnrulyOrigin
  const before = yield* origin.counts
  const startedAt = yield* Clock.currentTimeMillis
  const tags = new Map<string, { urls: number; attempts: number; message: string }>()
  let done = 0
  let attempts = 0

  const record = (outcome: FetchOutcome) => {
    const tag = outcome.error?._tag ?? "ok"
    const row = tags.get(tag) ?? { urls: 0, attempts: 0, message: outcome.error?.message ?? "" }
    tags.set(tag, { ...row, urls: row.urls + 1, attempts: row.attempts + outcome.attempts })
    done++
    attempts += outcome.attempts
  }
  const render = Effect.map(Clock.currentTimeMillis, (now) => {
    const elapsedMillis = Math.max(1, now - startedAt)
    return [
      `  ${bar(done / itemCount, 30)} ${count(done)}/${count(itemCount)}  ${seconds(elapsedMillis)}  `
      + dim(`${count((done / elapsedMillis) * 1000)} URLs/s, ${count(attempts - done)} retries`)
    ]
  })

  yield* withLiveRegion(
    fetcher.fetchAll(Stream.range(1, itemCount).pipe(Stream.map((item) => ({ url: `${origin.url}/item/${item}` }))))
      .pipe(
        Stream.runForEach((outcome) => Effect.sync(() => record(outcome))),
        Effect.provideService(FetchPolicy.FetchPolicy, bulkPolicy)
      ),
    render
  )
  const after = yield* origin.counts
  const rows = Array.from(tags).toSorted(([, a], [, b]) => b.urls - a.urls)
  return [
    "",
    dim(`  ${"outcome".padEnd(18)}${"URLs".padStart(6)}${"attempts".padStart(10)}  what it means`),
    ...rows.map(([tag, row]) =>
      `  ${(tag === "ok" ? green : red)(tag.padEnd(18))}${count(row.urls).padStart(6)}${
        count(row.attempts).padStart(10)
      }  ${dim(row.message)}`
    ),
    "",
    `  ${count(after.requests - before.requests)} requests, never more than ${bold(String(after.inFlightMax))} at once`
  ]
})

const bulkPolicy = FetchPolicy.make({
  concurrency: 64,
  perHost: 64,
  perHostRatePerSecond: 2000,
  timeouts: { headers: Duration.millis(500) },
  retry: { times: 3, base: Duration.millis(50) },
  maxBody: ByteSize.kibibytes(256)
})

/** Three mirrors asked at once: the first that answers wins, and the losers' requests are cancelled. */
export const race = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const origin = yield* UnrulyOrigin
  const before = yield* origin.counts
  const mirrors = [900, 80, 400]
  const winner = yield* Effect.raceAllFirst(
    mirrors.map((millis) => Effect.as(fetcher.fetch({ url: `${origin.url}/delay/${millis}` }), millis))
  )
  const after = yield* quiet
  return [
    `  asked ${mirrors.length} mirrors that take ${mirrors.join(", ")} ms; the ${bold(`${winner} ms`)} one answered, `
    + `${after.abandoned - before.abandoned} losers cancelled, ${after.inFlight} requests left open`
  ]
})

/** Waits until the origin answers nobody any more; fails to end if something was leaked, which the demo's own deadline then shows. */
const quiet = Effect.gen(function*() {
  const origin = yield* UnrulyOrigin
  return yield* Effect.repeat(origin.counts, {
    schedule: Schedule.spaced("5 millis"),
    until: (counts) => counts.inFlight === 0
  })
})

/** Two hundred requests in flight, interrupted: how long until nothing of ours is open. */
export const interrupt = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const origin = yield* UnrulyOrigin
  const inFlight = 200
  const fiber = yield* fetcher.fetchAll(
    Stream.range(1, 1000).pipe(Stream.map((item) => ({ url: `${origin.url}/delay/60000?${item}` })))
  ).pipe(
    Stream.runDrain,
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ concurrency: inFlight, perHost: inFlight })),
    Effect.forkChild
  )
  const busy = yield* Effect.repeat(origin.counts, {
    schedule: Schedule.spaced("5 millis"),
    until: (counts) => counts.inFlight === inFlight
  })
  const [duration] = yield* Effect.timed(Effect.andThen(Fiber.interrupt(fiber), quiet))
  const after = yield* origin.counts
  return [
    `  interrupted ${busy.inFlight} requests in flight on ${busy.sockets} sockets; ${
      bold(`${Duration.toMillis(duration).toFixed(0)} ms`)
    } later the origin has `
    + `${after.inFlight} requests of ours and ${cyan(count(after.requests))} answered in all`
  ]
})
