/**
 * A list of URLs from start to end: `listClient.ts count|save LIST DIRECTORY`.
 */
import { Effect, Layer, Stream } from "effect"
import { readFileSync } from "node:fs"
import * as FileBodyStore from "../../src/layers/fetch/FileBodyStore.ts"
import * as Http1Client from "../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../src/services/fetch/FetchPolicy.ts"

const [mode = "count", list = "", directory = ""] = process.argv.slice(2)

const fetching = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const urls = readFileSync(list, "utf8").split("\n")
  yield* Stream.runForEach(
    fetcher.fetchAll(Stream.map(Stream.fromIterable(urls), (url) => ({ url }))),
    ({ error }) =>
      Effect.sync(() => {
        if (error !== null) throw new Error(error.message)
      })
  )
}).pipe(
  Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ concurrency: 100, perHost: 100 })),
  Effect.provide(Layer.provide(HttpFetcher.layer, Http1Client.layer()))
)

await Effect.runPromise(mode === "save" ? Effect.provide(fetching, FileBodyStore.layer(directory)) : fetching)
