/**
 * The fetcher over clients that know nothing of it: Effect's own layers, and one that an app has put together.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as zlib from "node:zlib"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"
import { strict } from "../../support/zoo/Zoo.ts"

const manual = Layer.succeed(NodeHttpClient.RequestInit)({ redirect: "manual" })

/** An app's own client: its token on every request, over ours. */
const tokened = Layer.effect(HttpClient.HttpClient)(
  Effect.map(HttpClient.HttpClient, HttpClient.mapRequest(HttpClientRequest.setHeader("authorization", "Bearer app")))
).pipe(Layer.provide(Http1Client.layer()))

const clients: Record<string, Layer.Layer<HttpClient.HttpClient>> = {
  "Sluice's own": Http1Client.layer(),
  "Sluice's own with an app's token on every request": tokened,
  "Effect's undici layer": NodeHttpClient.layerUndici,
  "Effect's node:http layer": NodeHttpClient.layerNodeHttp,
  "Effect's fetch layer": Layer.provide(NodeHttpClient.layerFetch, manual)
}

const serve = (request: IncomingMessage, response: ServerResponse) => {
  switch (request.url) {
    case "/text":
      return response.end("hello")
    case "/gzip":
      return response.setHeader("content-encoding", "gzip").end(zlib.gzipSync("hello ".repeat(1000)))
    case "/big":
      return response.end(Buffer.alloc(500_000, "x"))
    case "/moved":
      return response.writeHead(302, { location: "/text" }).end()
    case "/missing":
      return response.writeHead(404).end("no")
    case "/cut":
      response.writeHead(200, { "content-length": "1000" })
      return response.write("short", () => response.destroy())
    case "/stall":
      response.writeHead(200, { "content-length": "1000" })
      return response.write("short")
    case "/silent":
      return undefined
    default:
      return response.end(String(request.headers.authorization))
  }
}

/** What comes out, by path: bytes, or the error's tag. */
const expected: Record<string, number | string> = {
  "/text": 5,
  "/gzip": 6000,
  "/big": 500_000,
  "/moved": 5,
  "/missing": "StatusError",
  "/cut": "TruncatedBody",
  "/stall": "IdleTimeout",
  "/silent": "HeadersTimeout"
}

describe("any HttpClient", () => {
  for (const [name, client] of Object.entries(clients)) {
    it.live(name, () =>
      Effect.gen(function*() {
        const origin = yield* Origin.make(serve)
        yield* Effect.gen(function*() {
          const fetcher = yield* Fetcher
          const outcomes = yield* Stream.runCollect(
            fetcher.fetchAll(
              Stream.map(Stream.fromIterable(Object.keys(expected)), (path) => ({ url: `${origin.url}${path}` }))
            )
          )
          for (const outcome of outcomes) {
            const wanted = expected[new URL(outcome.url).pathname]
            if (typeof wanted === "number") assert.strictEqual(outcome.bytes, wanted, JSON.stringify(outcome))
            else assert.strictEqual(outcome.error?._tag, wanted, JSON.stringify(outcome))
          }
          assert.lengthOf(outcomes, Object.keys(expected).length)
          if (name.includes("token")) {
            const { body } = yield* fetcher.fetch({ url: `${origin.url}/who` })
            assert.strictEqual(new TextDecoder().decode(body), "Bearer app")
          }
        }).pipe(Effect.provide(Layer.provide(HttpFetcher.layer, client)))
      }).pipe(
        Effect.provideService(
          FetchPolicy.FetchPolicy,
          FetchPolicy.make(strict, { timeouts: { connect: Duration.millis(300) } })
        ),
        Effect.scoped,
        // fetch and node:http keep their idle sockets in agents of their own.
        name.includes("Effect's") ? (self) => self : leakFree
      ))
  }
})
