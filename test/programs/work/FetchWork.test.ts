/** API-only servers and separate workers share fetch runs: real processes on one database, one of them killed in the middle. */
import { assert, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { createServer } from "node:http"
import { post, request } from "../../support/ApiClient.ts"
import { eventually } from "../../support/eventually.ts"
import * as Sluice from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

interface Origin {
  readonly base: string
  /** How often each path was asked. */
  readonly asked: ReadonlyMap<string, number>
}

/** Answers `/fast` at once, and `/slow` from the second time on: the first is left waiting. */
const origin: Effect.Effect<Origin, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.callback<{ readonly origin: Origin; readonly close: () => void }>((resume) => {
      const asked = new Map<string, number>()
      const server = createServer((incoming, outgoing) => {
        const path = incoming.url ?? ""
        const times = (asked.get(path) ?? 0) + 1
        asked.set(path, times)
        if (path.startsWith("/fast") || times > 1) outgoing.end("ok")
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({
          origin: { base: `http://127.0.0.1:${port}`, asked },
          close: () => {
            server.close()
            server.closeAllConnections()
          }
        }))
      })
    }),
    ({ close }) => Effect.sync(close)
  ),
  ({ origin }) => origin
)

const countsOf = (base: string, run: string) =>
  Effect.map(request(`${base}/v1/fetches/${run}`), (answer) => answer.json?.counts)

it.live(
  "a worker process does what an API-only server accepted; when it is killed, another one finishes",
  () =>
    Effect.gen(function*() {
      const { asked, base: site } = yield* origin
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory, SLUICE_FETCH_ALLOW_PRIVATE: "true" }
      const server = yield* Sluice.start(["serve", "--port", "0", "--workers", "0"], env)
      const base = yield* Sluice.listening(server)
      const urls = Array.from({ length: 10 }, (_, index) => `${site}/${index < 6 ? "fast" : "slow"}/${index}`)
      const started = yield* post(`${base}/v1/fetches`, { urls, name: "shared" })
      assert.deepStrictEqual([started.status, started.json.counts.pending], [202, 10])
      const first = yield* Sluice.start(["work", "--only", "fetches"], env)
      // In the middle: six are recorded, four are on their way.
      yield* eventually(countsOf(base, "shared"), (counts) => counts.done === 6 && asked.size === 10)
      const second = yield* Sluice.start(["work"], env)
      yield* Sluice.awaitLine(second, /working: demo, orders, fetches/)
      yield* first.kill("SIGKILL")
      assert.strictEqual(yield* first.exit, "SIGKILL")
      const ended = yield* eventually(countsOf(base, "shared"), (counts) => counts.done === 10)
      assert.deepStrictEqual(ended, { pending: 0, leased: 0, done: 10, failed: 0, deferred: 0 })
      // What was recorded is not fetched again; what was on its way is, once.
      assert.deepStrictEqual([...asked.values()].toSorted((a, b) => a - b), [1, 1, 1, 1, 1, 1, 2, 2, 2, 2])
      yield* eventually(
        request(`${base}/v1/jobs?kind=fetch.run`),
        (answer) => answer.json.jobs[0].state === "succeeded"
      )
      yield* second.kill("SIGTERM")
      assert.strictEqual(yield* second.exit, 143)
    }),
  180_000
)

it.live(
  "without SLUICE_FETCH_ALLOW_PRIVATE a worker process refuses private addresses",
  () =>
    Effect.gen(function*() {
      const { asked, base: site } = yield* origin
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory }
      const server = yield* Sluice.start(["serve", "--port", "0", "--workers", "0"], env)
      const base = yield* Sluice.listening(server)
      yield* Sluice.start(["work", "--only", "fetches"], env)
      yield* post(`${base}/v1/fetches`, { urls: [`${site}/fast/1`], name: "refused" })
      yield* eventually(countsOf(base, "refused"), (counts) => counts.failed === 1)
      assert.strictEqual(asked.size, 0)
    }),
  180_000
)

it.live(
  "what came over the API is guarded in the command line's hands too, unless who runs it says otherwise",
  () =>
    Effect.gen(function*() {
      const { asked, base: site } = yield* origin
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory }
      const server = yield* Sluice.start(["serve", "--port", "0", "--workers", "0"], env)
      const base = yield* Sluice.listening(server)
      const fetch = (...args: ReadonlyArray<string>) =>
        Effect.flatMap(Sluice.start(["fetch", "--run", "mixed", ...args], env), ({ exit }) => exit)
      assert.strictEqual(yield* fetch(`${site}/fast/mine`), 0)
      yield* post(`${base}/v1/fetches`, { urls: [`${site}/fast/theirs`, `${site}/fast/mine`], name: "mixed" })
      assert.strictEqual(yield* fetch(), 1)
      assert.deepStrictEqual([...asked.keys()], ["/fast/mine"])
      assert.strictEqual(yield* fetch("--retry-failed"), 1)
      assert.deepStrictEqual([...asked.keys()], ["/fast/mine"])
      assert.strictEqual(yield* fetch("--retry-failed", "--allow-private"), 0)
      assert.deepStrictEqual([...asked.keys()], ["/fast/mine", "/fast/theirs"])
    }),
  180_000
)
