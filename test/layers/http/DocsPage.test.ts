/** The lines of /docs name the server as whoever reads them has reached it, and take no other text from the request. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { get } from "node:http"
import * as Harness from "../../support/ApiHarness.ts"

/** fetch does not let a test set Host. */
const docs = (base: string, headers: Record<string, string>) =>
  Effect.callback<string>((resume) => {
    get(`${base}/docs`, { headers }, (response) => {
      let text = ""
      response.on("data", (chunk) => text += String(chunk))
      response.on("end", () => resume(Effect.succeed(text)))
    })
  })

const basesIn = (text: string) => new Set([...text.matchAll(/'([^']*)\/v1\/transfers'/g)].map(([, base]) => base))

withLayer(
  Harness.serve().pipe(Layer.provide(Harness.ready), Layer.provideMerge(Harness.memory)),
  { excludeTestServices: true }
)("docs page", (it) => {
  for (
    const [what, headers, expected] of [
      ["a name and port", { host: "shop.example:8080" }, "http://shop.example:8080"],
      ["an address of IPv6", { host: "[::1]:3000" }, "http://[::1]:3000"],
      ["a proxy with TLS", { host: "shop.example", "x-forwarded-proto": "https" }, "https://shop.example"],
      ["what is no host", { host: "x';rm -rf ~;'<b>" }, "http://127.0.0.1:3000"],
      ["what is no scheme", { host: "a.example", "x-forwarded-proto": "javascript" }, "http://a.example"]
    ] as const
  ) {
    it.effect(`${what}: ${expected}`, () =>
      Effect.gen(function*() {
        const text = yield* docs(yield* Harness.baseUrl, headers)
        assert.deepStrictEqual(basesIn(text), new Set([expected]))
        assert.notInclude(text, "rm -rf")
        assert.notInclude(text, "sluice.invalid")
        // Without a token there is none to send.
        assert.notInclude(text, "$SLUICE_API_TOKEN")
      }))
  }
})
