/**
 * A process that saves bodies until it is killed or done: `saver.ts DIRECTORY URL COUNT` prints how its outcomes ended,
 * and with which codes.
 */
import { Duration, Effect, Layer, Stream } from "effect"
import * as FileBodyStore from "../../../src/layers/fetch/FileBodyStore.ts"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"

const [directory = "", url = "", count = "1"] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const requests = Stream.map(Stream.range(1, Number(count)), (n) => ({ url: `${url}/${n}.bin` }))
  const ends: Record<string, number> = {}
  yield* Stream.runForEach(fetcher.fetchAll(requests), ({ error }) =>
    Effect.sync(() => {
      const code = error?.["code"]
      const end = error === null ? "ok" : typeof code === "string" ? `${error._tag} ${code}` : error._tag
      ends[end] = (ends[end] ?? 0) + 1
    }))
  console.log(JSON.stringify(ends))
})

await program.pipe(
  Effect.provideService(
    FetchPolicy.FetchPolicy,
    FetchPolicy.make({ concurrency: 64, perHost: 64, retry: { times: 1, base: Duration.millis(10) } })
  ),
  Effect.provide(
    Layer.merge(Layer.provide(HttpFetcher.layer, Http1Client.layer()), FileBodyStore.layer(directory))
  ),
  Effect.runPromise
)
