/** A line for the shell is what the shell makes of it. */
import { assert, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import * as CurlLine from "../../../src/layers/http/docs/CurlLine.ts"

/** The arguments that curl would get. */
const argumentsOf = (line: string): ReadonlyArray<string> =>
  execFileSync("bash", ["-c", `curl() { printf '%s\\0' "$@"; }; ${line}`], {
    env: { ...process.env, SLUICE_API_TOKEN: "s3cret" }
  }).toString().split("\0").slice(0, -1)

it("quotes what the shell would take for its own, and encodes what a URL would", () => {
  const body = { note: "it's $HOME `id` \"quoted\" \\ and !", list: [1] }
  const line = CurlLine.of("http://127.0.0.1:3000", {
    verb: "put",
    path: "/v1/things/{id}/of/{owner}",
    parameters: [
      { name: "id", in: "path", example: "a b/c'd" },
      { name: "owner", in: "path", example: "$&" },
      { name: "idempotency-key", in: "header", example: "k'1" }
    ],
    body
  }, true)
  assert.deepStrictEqual(argumentsOf(line), [
    "-sS",
    "-X",
    "PUT",
    "http://127.0.0.1:3000/v1/things/a%20b%2Fc'd/of/%24%26",
    "-H",
    "content-type: application/json",
    "-H",
    "idempotency-key: k'1",
    "-H",
    "authorization: Bearer s3cret",
    "-d",
    JSON.stringify(body)
  ])
})

it("without a token it asks for none", () => {
  const line = CurlLine.of("http://[::1]:80", { verb: "post", path: "/v1/x", parameters: [], body: {} }, false)
  assert.deepStrictEqual(argumentsOf(line), [
    "-sS",
    "http://[::1]:80/v1/x",
    "-H",
    "content-type: application/json",
    "-d",
    "{}"
  ])
})
