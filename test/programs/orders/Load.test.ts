/** What `sluice orders load` says when it cannot place orders. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { load } from "../../../src/programs/orders/Load.ts"

const options = { url: "http://shop.test", token: undefined, orders: 3, clients: 2, customers: 1, products: 1 }

it.effect("names the server that does not answer, and what to do", () =>
  Effect.gen(function*() {
    const client = HttpClient.make((request) =>
      Effect.fail(
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause: "ECONNREFUSED" })
        })
      )
    )
    const error = yield* Effect.flip(Effect.provideService(load(options), HttpClient.HttpClient, client))
    assert.strictEqual(
      error.message,
      "no server answers at http://shop.test: start one with `sluice serve`, or name yours with --url"
    )
  }))

it.effect("tells the answer of a server that refuses", () =>
  Effect.gen(function*() {
    const client = HttpClient.make((request) =>
      Effect.succeed(HttpClientResponse.fromWeb(request, new Response("no such customer", { status: 422 })))
    )
    const error = yield* Effect.flip(Effect.provideService(load(options), HttpClient.HttpClient, client))
    assert.strictEqual(error._tag, "LoadRefused")
    assert.match(error.message, /422: no such customer .*orders seed/)
  }))
