/**
 * What the fetch wing shows in `sluice demo`: concurrency, limits and retries, a race, a clean interrupt.
 */
import { ByteSize, Clock, Context, Duration, Effect, Fiber, Layer, Schedule, Stream } from "effect"
import * as UnrulyOrigin from "../../layers/fetch/UnrulyOrigin.ts"
import { Fetcher } from "../../services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../services/fetch/FetchPolicy.ts"
import { fetchRun } from "../fetch/FetchRun.ts"
import * as Inputs from "../fetch/Inputs.ts"
import * as Outcomes from "../fetch/Outcomes.ts"
import * as Progress from "../fetch/Progress.ts"
import { RunMeter } from "../fetch/RunMeter.ts"
import * as Summary from "../fetch/Summary.ts"
import { CalledAs } from "../terminal/CalledAs.ts"
import { withLiveRegion } from "../terminal/LiveRegion.ts"
import * as ShellLine from "../terminal/ShellLine.ts"
import { bar, bold, count, dim, green, seconds } from "../terminal/Style.ts"

interface Lane {
  readonly name: string
  readonly concurrency: number
  done: number
  endedAfterMillis: number | undefined
}

const laneUrls = 10

const runLane = Effect.fnUntraced(function*(lane: Lane, startedAt: number) {
  const fetcher = yield* Fetcher
  // An origin of its own: a host's gate is shared by all that this process sends there.
  const origin = Context.get(yield* Layer.build(Layer.fresh(UnrulyOrigin.layer)), UnrulyOrigin.UnrulyOrigin)
  const urls = Stream.range(1, laneUrls).pipe(Stream.map((item) => ({ url: `${origin.url}/delay/1000?${item}` })))
  yield* fetcher.fetchAll(urls).pipe(
    Stream.runForEach((outcome) =>
      Effect.sync(() => {
        if (outcome.ok) lane.done++
      })
    ),
    Effect.provideService(
      FetchPolicy.FetchPolicy,
      FetchPolicy.make({ concurrency: lane.concurrency, perHost: lane.concurrency })
    )
  )
  lane.endedAfterMillis = (yield* Clock.currentTimeMillis) - startedAt
}, Effect.scoped)

const renderLane = (lane: Lane, nowMillis: number, referenceMillis: number | undefined) => {
  const millis = lane.endedAfterMillis ?? nowMillis
  const gain = referenceMillis === undefined ? "" : dim(`${(referenceMillis / millis).toFixed(1)}x`)
  const time = lane.endedAfterMillis === undefined ? dim(seconds(millis)) : green(seconds(millis))
  const done = `${String(lane.done).padStart(3)}/${laneUrls}`
  return `  ${lane.name.padEnd(15)} ${bar(lane.done / laneUrls, 30)} ${done}  ${time}  ${gain}`
}

/** Ten one-second URLs, fetched one by one, by three workers, and all at once, side by side. */
export const lanes = Effect.gen(function*() {
  const startedAt = yield* Clock.currentTimeMillis
  const all: ReadonlyArray<Lane> = [
    { name: "one by one", concurrency: 1, done: 0, endedAfterMillis: undefined },
    { name: "three workers", concurrency: 3, done: 0, endedAfterMillis: undefined },
    { name: "all at once", concurrency: laneUrls, done: 0, endedAfterMillis: undefined }
  ]
  const render = Effect.map(
    Clock.currentTimeMillis,
    (now) => all.map((lane) => renderLane(lane, now - startedAt, all[0]?.endedAfterMillis))
  )
  yield* withLiveRegion(
    Effect.forEach(all, (lane) => runLane(lane, startedAt), { concurrency: all.length, discard: true }),
    render
  )
})

const itemCount = 3000

const bulkPolicy = FetchPolicy.make({
  concurrency: 64,
  perHost: 64,
  perHostRatePerSecond: 2000,
  timeouts: { headers: Duration.millis(500) },
  retry: { times: 3, base: Duration.millis(50) },
  maxBody: ByteSize.kibibytes(256)
})

/** Thousands of items through limits and retries, recorded as a run; ends in the table that `sluice fetch` ends in. */
export const bulk = Effect.gen(function*() {
  const origin = yield* UnrulyOrigin.UnrulyOrigin
  const startedMillis = yield* Clock.currentTimeMillis
  const before = yield* origin.counts
  const calledAs = yield* CalledAs
  const meter = new RunMeter(startedMillis)
  const name = `demo-${startedMillis}`
  const report = yield* withLiveRegion(
    fetchRun({
      name,
      inputs: Inputs.fromArguments(Array.from({ length: itemCount }, (_, item) => `${origin.url}/item/${item + 1}`)),
      output: Outcomes.none,
      onMalformed: () => Effect.void,
      meter
    }).pipe(Effect.provideService(FetchPolicy.FetchPolicy, bulkPolicy)),
    Progress.draw(name, meter)
  )
  const after = yield* origin.counts
  return [
    "",
    ...Summary.table(report, ShellLine.of(calledAs, "fetch", "--run", name)),
    `  the origin saw ${count(after.requests - before.requests)} requests, never more than ${
      bold(String(after.inFlightMax))
    } at once`,
    `  every outcome is in Postgres: ${bold(ShellLine.of(calledAs, "runs", "show", name, "--failed"))}`
  ]
})

/** Waits until the origin's counts are so; what never comes is a failure of the demo, not a demo without end. */
const until = Effect.fnUntraced(function*(hold: (counts: UnrulyOrigin.OriginCounts) => boolean) {
  const origin = yield* UnrulyOrigin.UnrulyOrigin
  return yield* Effect.repeat(origin.counts, { schedule: Schedule.spaced("5 millis"), until: hold }).pipe(
    Effect.timeout("10 seconds")
  )
})

const quiet = until((counts) => counts.inFlight === 0)

/** Three mirrors asked at once: the first that answers wins, and the losers' requests are cancelled. */
export const race = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const origin = yield* UnrulyOrigin.UnrulyOrigin
  const before = yield* quiet
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

/** Two hundred requests in flight, interrupted: how long until nothing of ours is open. */
export const interrupt = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const origin = yield* UnrulyOrigin.UnrulyOrigin
  const inFlight = 200
  const fiber = yield* fetcher.fetchAll(
    Stream.range(1, 1000).pipe(Stream.map((item) => ({ url: `${origin.url}/delay/60000?${item}` })))
  ).pipe(
    Stream.runDrain,
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ concurrency: inFlight, perHost: inFlight })),
    Effect.forkChild
  )
  const busy = yield* until((counts) => counts.inFlight === inFlight)
  const [duration] = yield* Effect.timed(Effect.andThen(Fiber.interrupt(fiber), quiet))
  const after = yield* origin.counts
  return [
    `  interrupted ${busy.inFlight} requests in flight on ${busy.sockets} sockets; `
    + `${
      bold(`${Duration.toMillis(duration).toFixed(0)} ms`)
    } later ${after.inFlight} requests and ${after.sockets} sockets are open`
  ]
})
