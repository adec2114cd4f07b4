/**
 * The programs that run for long, as people run them: what they show of themselves. `Sweep.test.ts` has what every command says when
 * something around it is wrong.
 */
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Queue, type Scope } from "effect"
import { type ClientRequest, createServer, request } from "node:http"
import { post } from "../../support/ApiClient.ts"
import * as Sluice from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** Runs a command to its end: its exit code and all that it said. */
const run = (args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const child = yield* Sluice.start(args, env)
    const code = yield* child.exit
    return { code, said: (yield* Queue.clear(child.lines)).join("\n") }
  }))

interface Origin {
  readonly base: string
  /** Ends when the origin has been asked for something. */
  readonly asked: Effect.Effect<void>
}

/** Answers nothing. */
const silentOrigin: Effect.Effect<Origin, never, Scope.Scope> = Effect.gen(function*() {
  const asked = yield* Deferred.make<void>()
  const server = createServer(() => Deferred.doneUnsafe(asked, Effect.void))
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  return { base: `http://127.0.0.1:${port}`, asked: Deferred.await(asked) }
})

/** Sends the head of a transfer and never its body; ends when the server waits for it. */
const halfARequest = (url: string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.callback<ClientRequest>((resume) => {
      const headers = { "content-length": "100", "idempotency-key": "half", expect: "100-continue" }
      const half = request(url, { method: "POST", headers })
      half.on("error", () => {})
      half.on("continue", () => resume(Effect.succeed(half)))
      half.flushHeaders()
    }),
    (half) => Effect.sync(() => half.destroy())
  ))

/** The live tree of a process: what SIGUSR2 prints. It comes in one piece. */
const treeOf = Effect.fnUntraced(function*(child: Sluice.SluiceProcess) {
  yield* child.kill("SIGUSR2")
  const root = yield* Sluice.awaitLine(child, /^process$/)
  return [root, ...yield* Queue.clear(child.lines)].join("\n")
})

layer(TestDatabase.layer, { excludeTestServices: true })("sluice", (it) => {
  it.effect("a loop threshold that makes no sense is refused before anything starts", () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const { code, said } = yield* run(["work"], { DATABASE_URL: url, SLUICE_LOOP_THRESHOLD: "5ms" })
      assert.match(
        said,
        /^sluice: SLUICE_LOOP_THRESHOLD is "5ms": expected 0, for no watch, or a duration of at least 20ms, such as 200ms$/
      )
      assert.strictEqual(code, 3)
    }))

  it.effect("SIGUSR2 shows what a fetch is doing", () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const { asked, base } = yield* silentOrigin
      const child = yield* Sluice.start(["fetch", `${base}/quiet?token=s3cret`, "--run", "seen"], { DATABASE_URL: url })
      yield* asked
      const tree = yield* treeOf(child)
      assert.match(
        tree,
        /^process\n {2}run seen .*\n(?: {4}watching the hosts .*\n)? {4}recording outcomes .*\n {4}fetching: 1 under way.*\n {6}fetch http/
      )
      assert.notInclude(tree, "s3cret")
      yield* child.kill("SIGINT")
      assert.strictEqual(yield* child.exit, 130)
    }).pipe(Effect.scoped), 180_000)

  it.effect("SIGUSR2 shows a server's workers, their jobs, and the requests under way", () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const { asked, base } = yield* silentOrigin
      const env = { DATABASE_URL: url, SLUICE_FETCH_ALLOW_PRIVATE: "true" }
      const child = yield* Sluice.start(["serve", "--port", "0"], env)
      const api = yield* Sluice.listening(child)
      yield* halfARequest(`${api}/v1/transfers?token=s3cret`)
      const { json } = yield* post(`${api}/v1/fetches`, { urls: [`${base}/quiet`] }, { "idempotency-key": "tree-1" })
      yield* asked
      const tree = yield* treeOf(child)
      assert.match(tree, /^ {2}worker orders .*\n {4}jobs orders/m)
      assert.match(
        tree,
        new RegExp(`^ {6}fetch\\.run .*\\n {8}fetch run ${json.name} .*\\n {10}fetching: 1 under`, "m")
      )
      assert.match(tree, /^ {2}expiry of pending transfers/m)
      assert.match(tree, /^ {2}POST \/v1\/transfers {2}/m)
      assert.notInclude(tree, "s3cret")
    }).pipe(Effect.scoped), 180_000)

  const held = { NODE_OPTIONS: `--import=${new URL("../../support/holdsTheLoop.mjs", import.meta.url).href}` }

  it.effect(
    "a loop that is held up is in the log with what holds it, and the program goes on",
    () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase.TestDatabase
        const child = yield* Sluice.start(["work"], { DATABASE_URL: url, ...held })
        yield* Sluice.awaitLine(child, /working: demo, orders, fetches/)
        yield* child.kill("SIGHUP")
        yield* Sluice.awaitLine(child, /WARN.*event loop blocked for 2\d{3} ms/)
        yield* Sluice.awaitLine(child, /at .*holdsTheLoop .*holdsTheLoop\.mjs:8/)
        yield* child.kill("SIGTERM")
        assert.strictEqual(yield* child.exit, 143)
      }).pipe(Effect.scoped),
    180_000
  )

  it.effect("a threshold of 0 leaves the loop alone", () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const child = yield* Sluice.start(["work"], { DATABASE_URL: url, SLUICE_LOOP_THRESHOLD: "0", ...held })
      yield* Sluice.awaitLine(child, /working/)
      yield* child.kill("SIGHUP")
      yield* child.kill("SIGTERM")
      assert.strictEqual(yield* child.exit, 143)
      assert.notInclude((yield* Queue.clear(child.lines)).join("\n"), "event loop blocked")
    }).pipe(Effect.scoped), 180_000)
})
