/**
 * One contender in a process of its own: `client.ts NAME URL SECONDS CONCURRENCY HOSTS` prints `{requests, seconds, cpuSeconds, rssMiB}`.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Effect, Layer, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import { Agent, request } from "undici"
import * as Http1Client from "../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../src/layers/fetch/HttpFetcher.ts"
import * as NodeLoopMonitor from "../../src/layers/tasks/NodeLoopMonitor.ts"
import { Fetcher } from "../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../src/services/fetch/FetchPolicy.ts"

const [name = "", url = "", secondsText = "5", concurrencyText = "100", hostsText = "1"] = process.argv.slice(2)
const seconds = Number(secondsText)
const concurrency = Number(concurrencyText)
const hosts = Number(hostsText)
const warmUp = 2

const port = new URL(url).port
const urls = Array.from(
  { length: Math.max(500, hosts) },
  (_, n) =>
    hosts === 1 ? `${url}/${n}` : `http://127.0.${1 + (n % hosts >> 8)}.${1 + (n % hosts & 255) % 254}:${port}/${n}`
)
const urlOf = (n: number) => urls[n % urls.length] ?? url

let requests = 0
const over = { is: false }
const start = { at: 0, cpu: process.cpuUsage(), requests: 0 }
setTimeout(() => {
  start.at = performance.now()
  start.cpu = process.cpuUsage()
  start.requests = requests
}, warmUp * 1000)
setTimeout(() => {
  over.is = true
  const cpu = process.cpuUsage(start.cpu)
  console.log(JSON.stringify({
    requests: requests - start.requests,
    seconds: (performance.now() - start.at) / 1000,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    rssMiB: process.memoryUsage().rss / 2 ** 20
  }))
}, (warmUp + seconds) * 1000)

const loops = (one: (n: number) => Promise<unknown>) =>
  Promise.all(Array.from({ length: concurrency }, async () => {
    while (!over.is) {
      await one(requests)
      requests++
    }
  }))

/** Requests until the time is over, in batches as a file reader would give them. */
const endless = Stream.flatMap(
  Stream.takeWhile(Stream.forever(Stream.make(0)), () => !over.is),
  () => Stream.fromArray(urls.map((url) => ({ url })))
)

const effect = (one: (client: HttpClient.HttpClient, url: string) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    yield* Stream.runForEach(
      Stream.mapEffect(endless, ({ url }) => one(client, url), { concurrency, unordered: true }),
      () => Effect.sync(() => requests++)
    )
  }).pipe(Effect.provide(NodeHttpClient.layerUndici), Effect.runPromise)

const agent = new Agent({ connections: concurrency, pipelining: 1 })

/** Sluice with every policy on; `beside` is what else the process has running. */
const sluice = <E>(beside: Layer.Layer<never, E>) =>
  Effect.gen(function*() {
    const fetcher = yield* Fetcher
    yield* Stream.runForEachArray(fetcher.fetchAll(endless), (outcomes) =>
      Effect.sync(() => {
        requests += outcomes.length
      }))
  }).pipe(
    Effect.provideService(
      FetchPolicy.FetchPolicy,
      FetchPolicy.make({
        concurrency,
        perHost: concurrency,
        ratePerSecond: 1e9,
        perHostRatePerSecond: 1e9,
        denyPrivate: false
      })
    ),
    Effect.provide(Layer.merge(Layer.provide(HttpFetcher.layer, Http1Client.layer()), beside)),
    Effect.runPromise
  )

const contenders: Record<string, () => Promise<unknown>> = {
  "sluice": () => sluice(Layer.empty),
  "sluice, loop monitor on": () => sluice(Layer.effectDiscard(Layer.build(NodeLoopMonitor.layer()))),
  "undici.request": () =>
    loops(async (n) => {
      const { body } = await request(urlOf(n), { dispatcher: agent })
      await body.arrayBuffer()
    }),
  "undici.request, abort and timer": () =>
    loops(async (n) => {
      const abort = new AbortController()
      const timer = setTimeout(() => abort.abort(), 30_000)
      const { body } = await request(urlOf(n), { dispatcher: agent, signal: abort.signal })
      await body.arrayBuffer()
      clearTimeout(timer)
    }),
  "fetch": () => loops(async (n) => (await fetch(urlOf(n))).arrayBuffer()),
  "Effect undici layer": () =>
    effect((client, url) => Effect.flatMap(client.get(url), (response) => response.arrayBuffer)),
  "Effect undici layer, timeout and retry": () =>
    effect((client, url) =>
      Effect.flatMap(client.get(url), (response) => response.arrayBuffer).pipe(
        Effect.timeout("30 seconds"),
        Effect.retry({ times: 3 })
      )
    )
}

await contenders[name]?.()
await agent.close()
