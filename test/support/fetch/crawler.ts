/**
 * A process that fetches one page of each of many hosts and says how each ended: `<hosts> <port> <concurrency> <name
 * server or -> <directory or ->`. Hosts are addresses of 127.0.0.0/8, or names if there is a name server.
 */
import { Duration, Effect, Layer, Stream } from "effect"
import * as FileBodyStore from "../../../src/layers/fetch/FileBodyStore.ts"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"

const [hosts = "", port = "", concurrency = "", server = "-", directory = "-"] = process.argv.slice(2)

const urls = Array.from({ length: Number(hosts) }, (_, n) => {
  const host = server === "-" ? `127.1.${n >> 8}.${n & 255}` : `n${n}.test`
  return { url: `http://${host}:${port}/` }
})

const crawl = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const ends: Record<string, number> = {}
  yield* Stream.runForEach(fetcher.fetchAll(Stream.fromIterable(urls)), (outcome) =>
    Effect.sync(() => {
      const end = outcome.error?.message ?? `ok at attempt ${outcome.attempts}`
      ends[end] = (ends[end] ?? 0) + 1
    }))
  console.log(JSON.stringify({ ends }))
})

await crawl.pipe(
  Effect.provideService(
    FetchPolicy.FetchPolicy,
    FetchPolicy.make({ concurrency: Number(concurrency), timeouts: { connect: Duration.seconds(20) } })
  ),
  Effect.provide(Layer.provide(
    HttpFetcher.layer,
    Http1Client.layer(server === "-" ? {} : { dns: { servers: [server] } })
  )),
  directory === "-" ? (self) => self : Effect.provide(FileBodyStore.layer(directory)),
  Effect.runPromise
)
