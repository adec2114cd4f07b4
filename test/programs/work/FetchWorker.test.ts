/** `POST /v1/fetches`: a list of URLs over the API, fetched as a job, and never anything that only this machine can reach. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as FetchWorker from "../../../src/programs/work/FetchWorker.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import { post, request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { eventually } from "../../support/eventually.ts"

const layer = Layer.merge(Harness.serve(), FetchWorker.layer({ poll: "20 millis" })).pipe(
  Layer.provide([Harness.ready, HttpFetcher.layer.pipe(Layer.provide(Http1Client.layer()))]),
  Layer.provideMerge(Harness.memory)
)

withLayer(layer, { excludeTestServices: true })("fetches over the API", (it) => {
  it.effect(
    "a run is accepted, worked off, and found; private addresses are refused with their reason",
    () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        const urls = [
          `${base}/livez`,
          "http://127.0.0.1:1/",
          "http://[::1]/",
          "http://169.254.169.254/latest/meta-data/"
        ]
        const started = yield* post(`${base}/v1/fetches`, { urls, name: "private" })
        assert.strictEqual(started.status, 202, started.text)
        assert.strictEqual(started.headers.get("location"), "/v1/fetches/private")
        const ended = yield* eventually(
          request(`${base}/v1/fetches/private`),
          (answer) => answer.json?.counts?.done + answer.json?.counts?.failed === urls.length
        )
        assert.deepStrictEqual([ended.status, ended.json.counts.failed], [200, urls.length])
        const frontier = yield* Frontier
        const outcomes = yield* Stream.runCollect(frontier.outcomes("private"))
        assert.deepStrictEqual(outcomes.map((outcome) => outcome.error?._tag), urls.map(() => "ForbiddenAddress"))
      }),
    180_000
  )

  it.effect("a run without a name gets one; unknown runs and lists that are none are refused", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const started = yield* post(`${base}/v1/fetches`, { urls: ["http://127.0.0.1:1/"] })
      assert.strictEqual(started.status, 202)
      assert.strictEqual((yield* request(base + (started.headers.get("location") ?? ""))).status, 200)
      const unknown = yield* request(`${base}/v1/fetches/nobody`)
      assert.deepStrictEqual([unknown.status, unknown.json.type], [404, "/problems/fetch-not-found"])
      for (
        const body of [{ urls: [] }, { urls: ["ftp://x/"] }, { urls: ["not a url"] }, {
          urls: ["http://x/"],
          name: "a b"
        }]
      ) {
        assert.strictEqual((yield* post(`${base}/v1/fetches`, body)).status, 400)
      }
    }))
})
