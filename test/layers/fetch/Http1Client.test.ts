/**
 * The lean client over real sockets: Effect's combinators work on it, and nothing stays open.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Scope, Stream } from "effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { Readable } from "node:stream"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"

const client = Http1Client.layer()
const fetcher = Layer.provide(HttpFetcher.layer, client)

describe("Http1Client", () => {
  it.live("whole and streamed bodies, text, JSON, bytes, headers and cookies", () =>
    Effect.gen(function*() {
      const origin = yield* Origin.make((request, response) => {
        response.setHeader("set-cookie", ["a=1", "b=2"])
        response.end(request.url === "/big" ? Buffer.alloc(1_000_000, "x") : JSON.stringify({ url: request.url }))
      })
      const http = yield* HttpClient.HttpClient
      const small = yield* http.get(`${origin.url}/small?x=1`, { urlParams: { y: "2" } })
      assert.deepStrictEqual(yield* small.json, { url: "/small?x=1&y=2" })
      assert.strictEqual(yield* small.text, `{"url":"/small?x=1&y=2"}`)
      assert.strictEqual(small.headers["set-cookie"], "a=1, b=2")
      assert.deepStrictEqual(Object.keys(small.cookies.cookies), ["a", "b"])
      const big = yield* http.get(`${origin.url}/big`)
      assert.strictEqual((yield* big.arrayBuffer).byteLength, 1_000_000)
      const streamed = yield* http.get(`${origin.url}/big`)
      const bytes = yield* Stream.runFold(streamed.stream, () => 0, (sum, chunk) => sum + chunk.length)
      assert.strictEqual(bytes, 1_000_000)
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("a body that nobody reads is held back at the socket, and goes on when it is read", () =>
    Effect.gen(function*() {
      const size = 64 * 1024 * 1024
      let isSent = false
      const origin = yield* Origin.make((request, response) => {
        if (request.url !== "/big") return response.end("small")
        response.writeHead(200, { "content-length": size })
        response.write(Buffer.alloc(size, "x"), () => {
          isSent = true
        })
        return response.end()
      })
      const http = yield* HttpClient.HttpClient
      const big = yield* http.get(`${origin.url}/big`)
      let bytes = 0
      yield* Stream.runForEach(big.stream, (chunk) =>
        Effect.gen(function*() {
          if (bytes === 0) {
            // Other traffic on the same loop: time enough for all of it to come, if anybody took it.
            yield* Effect.forEach(Array.from({ length: 200 }), () =>
              Effect.flatMap(http.get(`${origin.url}/small`), (response) => response.text))
            assert.isFalse(isSent)
          }
          bytes += chunk.length
        }))
      assert.strictEqual(bytes, size)
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("request bodies of every kind arrive", () =>
    Effect.gen(function*() {
      const origin = yield* Origin.make((request, response) => {
        request.setEncoding("utf8")
        let body = ""
        request.on("data", (chunk: string) => body += chunk)
        request.on("end", () => response.end(body))
      })
      const http = yield* HttpClient.HttpClient
      const echo = (request: HttpClientRequest.HttpClientRequest) =>
        Effect.flatMap(http.execute(request), (response) => response.text)
      const post = HttpClientRequest.post(origin.url)
      assert.strictEqual(yield* echo(HttpClientRequest.bodyText(post, "plain")), "plain")
      assert.strictEqual(yield* echo(HttpClientRequest.bodyJsonUnsafe(post, { a: 1 })), `{"a":1}`)
      const stream = Stream.make(new TextEncoder().encode("one "), new TextEncoder().encode("two"))
      assert.strictEqual(yield* echo(HttpClientRequest.bodyStream(post, stream)), "one two")
      const form = new FormData()
      form.append("field", "value")
      assert.include(yield* echo(HttpClientRequest.bodyFormData(post, form)), "value")
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("raw bodies of every kind that fetch takes arrive", () =>
    Effect.gen(function*() {
      const origin = yield* Origin.make((request, response) => {
        request.setEncoding("utf8")
        let body = ""
        request.on("data", (chunk: string) => body += chunk)
        request.on("end", () => response.end(`${request.headers["content-type"]}|${body}`))
      })
      const http = yield* HttpClient.HttpClient
      const echo = (raw: unknown) =>
        Effect.flatMap(
          http.execute(HttpClientRequest.setBody(HttpClientRequest.post(origin.url), HttpBody.raw(raw))),
          (response) => response.text
        )
      const bytes = new TextEncoder().encode("caf\u00e9")
      assert.strictEqual(yield* echo("caf\u00e9"), "undefined|caf\u00e9")
      assert.strictEqual(yield* echo(bytes), "undefined|caf\u00e9")
      assert.strictEqual(yield* echo(new Blob([bytes], { type: "text/x" })), "text/x|caf\u00e9")
      assert.match(yield* echo(new URLSearchParams({ a: "b c" })), /^application\/x-www-form-urlencoded.*\|a=b\+c$/)
      assert.strictEqual(yield* echo(new Blob([bytes]).stream()), "undefined|caf\u00e9")
      assert.strictEqual(yield* echo(Readable.from([Buffer.from("one "), "two"])), "undefined|one two")
      assert.strictEqual(yield* echo(undefined), "undefined|")
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("a body that is not as long as it was said to be is a request that fails", () =>
    Effect.gen(function*() {
      const origin = yield* Origin.make((request, response) => request.resume().on("end", () => response.end("ok")))
      const http = yield* HttpClient.HttpClient
      const send = (contentLength: number) =>
        http.execute(
          HttpClientRequest.setBody(
            HttpClientRequest.post(origin.url),
            HttpBody.stream(Stream.make(new TextEncoder().encode("four")), "text/plain", contentLength)
          )
        )
      assert.strictEqual(yield* Effect.flatMap(send(4), (response) => response.text), "ok")
      for (const length of [3, 5]) {
        const error = yield* Effect.flip(send(length))
        const cause = error.reason._tag === "TransportError" ? error.reason.cause : undefined
        assert.include(cause instanceof Error ? cause.message : "", `content-length of ${length}`)
      }
      yield* origin.socketsFallTo(1)
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("an answer that comes before the body has gone out ends the upload", () =>
    Effect.gen(function*() {
      const origin = yield* Origin.makeRaw((socket) => {
        socket.once("data", () => socket.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"))
      })
      const http = yield* HttpClient.HttpClient
      const endless = Stream.forever(Stream.succeed(new Uint8Array(65_536)))
      const response = yield* http.execute(
        HttpClientRequest.setBody(HttpClientRequest.put(origin.url), HttpBody.stream(endless))
      )
      assert.strictEqual(response.status, 413)
      assert.strictEqual(yield* response.text, "no")
      yield* origin.socketsFallTo(0)
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("expect: 100-continue: the body waits for the word, and does not go out after a refusal", () =>
    Effect.gen(function*() {
      const received: Array<string> = []
      const origin = yield* Origin.makeRaw((socket) => {
        socket.on("data", (chunk) => {
          const text = chunk.toString("latin1")
          received.push(text.includes("\r\n\r\n") ? `head ${text.split("\r\n\r\n")[1]}` : text)
          if (text.startsWith("POST /no")) socket.write("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")
          else if (text.startsWith("POST")) socket.write("HTTP/1.1 100 Continue\r\n\r\n")
          else socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        })
      })
      const http = yield* HttpClient.HttpClient
      const send = (path: string) =>
        http.execute(
          HttpClientRequest.post(`${origin.url}${path}`).pipe(
            HttpClientRequest.setHeader("expect", "100-continue"),
            HttpClientRequest.bodyText("body")
          )
        )
      assert.strictEqual((yield* send("/yes")).status, 200)
      assert.deepStrictEqual(received.splice(0), ["head ", "body"])
      assert.strictEqual((yield* send("/no")).status, 417)
      assert.deepStrictEqual(received, ["head "])
      // What the server would take the next bytes for is not known.
      yield* origin.socketsFallTo(0)
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("combinators: filterStatusOk, mapRequest, retry, followRedirects, withScope, timeout", () =>
    Effect.gen(function*() {
      let asked = 0
      const origin = yield* Origin.make((request, response) => {
        if (request.url === "/flaky" && ++asked < 3) response.writeHead(503).end()
        else if (request.url === "/moved") response.writeHead(302, { location: "/x" }).end()
        else if (request.url === "/never") response.flushHeaders()
        else response.end(`${request.method} ${String(request.headers["x-from"])}`)
      })
      const http = (yield* HttpClient.HttpClient).pipe(
        HttpClient.mapRequest(HttpClientRequest.setHeader("x-from", "map")),
        HttpClient.filterStatusOk
      )
      assert.strictEqual(yield* Effect.flatMap(http.get(origin.url), (each) => each.text), "GET map")
      const patient = HttpClient.retryTransient(http, { times: 3 })
      assert.strictEqual((yield* patient.get(`${origin.url}/flaky`)).status, 200)
      const following = HttpClient.followRedirects(yield* HttpClient.HttpClient, 3)
      assert.strictEqual((yield* following.get(`${origin.url}/moved`)).status, 200)
      const scoped = HttpClient.withScope(yield* HttpClient.HttpClient)
      const scope = yield* Scope.make()
      yield* Effect.provideService(scoped.get(`${origin.url}/never`), Scope.Scope, scope)
      assert.strictEqual(origin.sockets(), 1)
      yield* Scope.close(scope, Exit.void)
      yield* origin.socketsFallTo(0)
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("an event stream's head and events come as they are sent", () =>
    Effect.gen(function*() {
      let finish = () => {}
      const origin = yield* Origin.make((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write("data: 1\n\n")
        finish = () => response.end("data: 2\n\n")
      })
      const http = yield* HttpClient.HttpClient
      const response = yield* http.get(origin.url)
      const events = yield* Stream.runCollect(
        Stream.tap(Stream.decodeText(response.stream), () => Effect.sync(() => finish()))
      )
      assert.deepStrictEqual(events.join("").split("\n\n"), ["data: 1", "data: 2", ""])
    }).pipe(Effect.provide(client), Effect.scoped, leakFree))

  it.live("two hundred fibers interrupted in the middle of their bodies leave no socket", () =>
    Effect.gen(function*() {
      const arrived = yield* Latch.make(false)
      const origin = yield* Origin.make((_, response) => {
        response.write("some of it")
        if (origin.sockets() === 200) arrived.openUnsafe()
      })
      const f = yield* Fetcher
      const fibers = yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) => Effect.forkChild(f.fetch({ url: `${origin.url}/${n}` }))
      )
      yield* arrived.await
      yield* Fiber.interruptAll(fibers)
      yield* origin.socketsFallTo(0)
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ concurrency: 200, perHost: 200 })),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ))

  it.live("an interrupted connect leaves no socket either", () =>
    Effect.gen(function*() {
      const full = yield* Origin.makeFull
      const f = yield* Fetcher
      const error = yield* Effect.flip(f.fetch({ url: full.url }))
      assert.strictEqual(error._tag, "ConnectTimeout")
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make({ retry: { times: 0 }, timeouts: { connect: 100 as never } })
      ),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ))

  it.live("an abandoned big body gives its connection up", () =>
    Effect.gen(function*() {
      const origin = yield* Origin.make((request, response) => {
        response.writeHead(request.url === "/moved" ? 302 : 404, { location: "/gone" })
        response.write(Buffer.alloc(100_000))
      })
      const f = yield* Fetcher
      const outcome = yield* f.outcome({ url: `${origin.url}/moved` })
      assert.strictEqual(outcome.status, 404)
      yield* origin.socketsFallTo(0)
    }).pipe(Effect.provide(fetcher), Effect.scoped, leakFree))
})
