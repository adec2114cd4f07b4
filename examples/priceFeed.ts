/**
 * Sluice inside another Effect app: a service of the app's own fetches through Sluice's limits, and the app's tests give it an
 * `HttpClient` of theirs. Run it: `node --conditions=sluice-source examples/priceFeed.ts`.
 */
import { Console, Context, Effect, Layer, Schema, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { Fetcher, FetchPolicy, HttpFetcher } from "sluice/fetch"

class Price extends Schema.Class<Price>("Price")({ sku: Schema.String, cents: Schema.Int }) {}

class PriceFeed extends Context.Service<PriceFeed, {
  /** Prices in the order in which they arrive; what cannot be had is logged and left out. */
  readonly prices: (skus: ReadonlyArray<string>) => Stream.Stream<Price>
}>()("shop/PriceFeed") {
  static readonly layer = Layer.effect(
    PriceFeed,
    Effect.gen(function*() {
      const fetcher = yield* Fetcher.Fetcher
      const decode = Schema.decodeEffect(Schema.fromJsonString(Price))
      const price = (sku: string) =>
        fetcher.fetch({ url: `https://prices.example/${sku}` }).pipe(
          Effect.flatMap((response) => decode(new TextDecoder().decode(response.body))),
          Effect.tapError((error) => Console.log(`${sku}: ${error._tag}`)),
          Effect.option
        )
      return PriceFeed.of({
        prices: (skus) =>
          Stream.fromIterable(skus).pipe(
            Stream.mapEffect(price, { concurrency: 8, unordered: true }),
            Stream.filter((found) => found._tag === "Some"),
            Stream.map((found) => found.value)
          )
      })
    })
  )
}

/** In production this is `Http1Client.layer()`; here it is a shop that does not know the third article. */
const TestHttpClient = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request, url) => {
    const sku = url.pathname.slice(1)
    const response = sku === "c3" ? new Response("", { status: 404 }) : Response.json({ sku, cents: 100 * sku.length })
    return Effect.succeed(HttpClientResponse.fromWeb(request, response))
  })
)

const program = Effect.gen(function*() {
  const feed = yield* PriceFeed
  const prices = yield* Stream.runCollect(feed.prices(["a1", "b22", "c3"]))
  for (const { cents, sku } of prices.toSorted((a, b) => a.cents - b.cents)) {
    yield* Console.log(`${sku}: ${cents} cents`)
  }
})

const AppLayer = PriceFeed.layer.pipe(
  Layer.provide(HttpFetcher.layer),
  Layer.provide(TestHttpClient),
  Layer.provide(Layer.succeed(FetchPolicy.FetchPolicy, FetchPolicy.make({ perHost: 4, retry: { times: 5 } })))
)

await Effect.runPromise(program.pipe(Effect.provide(AppLayer)))
