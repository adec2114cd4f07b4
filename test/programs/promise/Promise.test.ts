/** `sluice/promise`: what a program without Effect sees, on memory and on Postgres, and that nothing is left when it is closed. */
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import * as NodeLeaks from "../../../src/layers/tasks/NodeLeaks.ts"
import type { OpenOptions, Outcome, Sluice } from "../../../src/programs/promise/Face.ts"
import { Discard, SluiceClosed, Snooze } from "../../../src/programs/promise/Failures.ts"
import { open } from "../../../src/programs/promise/Open.ts"
import type { FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"
import { eventually } from "../../support/eventually.ts"
import { leakFree } from "../../support/leakFree.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const root = join(import.meta.dirname, "../../..")

interface Kinds {
  readonly "mail.welcome": { readonly user: number }
  readonly slow: null
  readonly tick: string
}

const rejection = async (promise: Promise<unknown>): Promise<Error & { readonly _tag?: string }> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof Error) return error
    return assert.fail(`${String(error)} is no Error`)
  }
  return assert.fail("it did not reject")
}

const opened = (options: OpenOptions) =>
  Effect.acquireRelease(Effect.promise(() => open<Kinds>(options)), (sluice) => Effect.promise(() => sluice.close()))

/** Runs a test in promises, with a Sluice that is closed at its end. */
const using = (options: OpenOptions, test: (sluice: Sluice<Kinds>) => Promise<void>) =>
  Effect.scoped(Effect.flatMap(opened(options), (sluice) => Effect.promise(() => test(sluice))))

const serving = (listener: RequestListener) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => Promise<void> }>((resume) => {
      const server = createServer(listener)
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        const close = () =>
          new Promise<void>((resolve) => {
            server.close(() => resolve())
            server.closeAllConnections()
          })
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, close }))
      })
    }),
    ({ close }) => Effect.promise(close)
  )

const jobs = (options: (url: string) => OpenOptions) => {
  const test = (run: (sluice: Sluice<Kinds>) => Promise<void>) =>
    Effect.flatMap(
      Effect.serviceOption(TestDatabase.TestDatabase),
      (database) => leakFree(using(options(database._tag === "Some" ? database.value.url : ""), run))
    )
  return {
    "a job is enqueued, done, and found with its result": test(async (sluice) => {
      const seen: Array<unknown> = []
      await during(
        await sluice.jobs.work({
          "mail.welcome": async ({ user }, { attempt, id, signal }) => {
            seen.push([typeof id, attempt, signal.aborted])
            return { greeted: user, at: new Date(0), nothing: undefined }
          }
        }),
        async () => {
          const id = await sluice.jobs.enqueue("mail.welcome", { user: 7 })
          const ended = await sluice.jobs.ended(id)
          assert.deepInclude(ended, {
            id,
            kind: "mail.welcome",
            state: "succeeded",
            payload: { user: 7 },
            failure: null
          })
          assert.deepStrictEqual(ended.result, { greeted: 7, at: "1970-01-01T00:00:00.000Z" })
          assert.instanceOf(ended.finishedAt, Date)
          assert.deepStrictEqual(seen, [["string", 1, false]])
          assert.deepInclude(await sluice.jobs.find(id), { state: "succeeded" })
          assert.isUndefined(await sluice.jobs.find("123456789"))
        }
      )
    }),
    "what is thrown is tried again, discarded or put off": test(async (sluice) => {
      const attempts: Array<string> = []
      await during(
        await sluice.jobs.work({
          tick: {
            run: (what, { attempt }) => {
              attempts.push(`${what}${attempt}`)
              if (what === "fails" && attempt < 3) throw new TypeError("no such thing")
              if (what === "gone") throw new Discard("nobody wants it")
              if (what === "later" && attempts.filter((each) => each === "later1").length === 1) throw new Snooze(1)
              return what
            },
            retryMillis: () => 1
          }
        }, { pollMillis: 20 }),
        async () => {
          const ids = await sluice.jobs.enqueueMany("tick", ["fails", "gone", "later"])
          const ends = await Promise.all(ids.map((id) => sluice.jobs.ended(id)))
          assert.deepStrictEqual(ends.map(({ state }) => state), ["succeeded", "dead", "succeeded"])
          assert.deepInclude(ends[1]?.failure, { reason: "Discarded", message: "nobody wants it" })
          assert.deepStrictEqual(attempts.toSorted(), ["fails1", "fails2", "fails3", "gone1", "later1", "later1"])
          const dead = await sluice.jobs.enqueue("tick", "fails", { maxAttempts: 1 })
          const failure = (await sluice.jobs.ended(dead)).failure
          assert.strictEqual(failure?.reason, "Failed")
          assert.include(failure?.message, "TypeError: no such thing")
        }
      )
    }),
    "a unique job answers the id of the first, a delayed one waits, and both can be cancelled": test(async (sluice) => {
      const first = await sluice.jobs.enqueue("tick", "a", { unique: "a", delayMillis: 3_600_000 })
      assert.strictEqual(await sluice.jobs.enqueue("tick", "b", { unique: "a" }), first)
      assert.deepInclude(await sluice.jobs.find(first), { state: "scheduled", payload: "a", queue: "tick" })
      assert.strictEqual(await sluice.jobs.cancel(first), "cancelled")
      assert.strictEqual(await sluice.jobs.cancel(first), "finished")
      const other = await sluice.jobs.enqueue("tick", "c", {
        queue: "aside",
        priority: 5,
        key: "k",
        runAt: new Date(0)
      })
      assert.deepInclude(await sluice.jobs.find(other), { queue: "aside", priority: 5, key: "k", state: "ready" })
    }),
    "a running job that is cancelled is told by its signal, and waited for": test(async (sluice) => {
      const started = Promise.withResolvers<string>()
      const told = Promise.withResolvers<void>()
      const mayEnd = Promise.withResolvers<void>()
      const worker = await sluice.jobs.work({
        slow: async (_, { id, signal }) => {
          signal.addEventListener("abort", () => told.resolve())
          started.resolve(id)
          await mayEnd.promise
          throw signal.reason
        }
      })
      await during(worker, async () => {
        await sluice.jobs.enqueue("slow", null)
        const id = await started.promise
        assert.strictEqual(await sluice.jobs.cancel(id), "requested")
        await told.promise
        await new Promise((resolve) => setImmediate(resolve))
        assert.deepInclude(await sluice.jobs.find(id), { state: "running" }, "it is cleaning up")
        mayEnd.resolve()
        assert.deepInclude(await sluice.jobs.ended(id), { state: "cancelled" })
      })
    }),
    "a worker that is stopped by its signal gives back what it had": test(async (sluice) => {
      const stopping = new AbortController()
      const started = Promise.withResolvers<string>()
      const worker = await sluice.jobs.work({
        slow: (_, { id, signal }) =>
          new Promise<void>((resolve) => {
            signal.addEventListener("abort", () => resolve())
            started.resolve(id)
          })
      }, { signal: stopping.signal, drainMillis: 0 })
      await sluice.jobs.enqueue("slow", null)
      const id = await started.promise
      stopping.abort()
      await worker.stop()
      assert.deepInclude(await sluice.jobs.find(id), { state: "ready", attempt: 0 })
    }),
    "a timetable that cannot be is refused before anything starts": test(async (sluice) => {
      const handlers = { tick: () => null }
      const refused = await rejection(
        sluice.jobs.work(handlers, { crons: [{ name: "n", at: "61 * * * *", kind: "tick", payload: "x" }] })
      )
      assert.strictEqual(refused._tag, "JobCronInvalid")
      const worker = await sluice.jobs.work(handlers, {
        crons: [{ name: "n", at: "0 3 * * *", kind: "tick", payload: "x", timeZone: "Europe/Paris" }]
      })
      await worker.idle()
    }),
    "what is wrong is an Error with a name, before anything is stored": test(async (sluice) => {
      const priority = await rejection(sluice.jobs.enqueue("tick", "x", { priority: 5_000 }))
      assert.deepStrictEqual([priority.name, priority._tag], ["JobOptionInvalid", "JobOptionInvalid"])
      assert.include(priority.message, "-1000 to 1000")
      // @ts-expect-error a bigint is no JSON
      assert.instanceOf(await rejection(sluice.jobs.enqueue("tick", 1n)), TypeError)
      const handlers = await rejection(sluice.jobs.work({ tick: { run: () => null, timeoutMillis: -1 } }))
      assert.strictEqual(handlers._tag, "JobOptionInvalid")
      assert.strictEqual((await rejection(sluice.jobs.ended("123456789")))._tag, "JobNotFound")
      assert.strictEqual((await rejection(sluice.jobs.cancel("no id")))._tag, "JobNotFound")
    }),
    "a wait that is given up rejects with the signal's reason, and the job stays": test(async (sluice) => {
      const id = await sluice.jobs.enqueue("tick", "x")
      const giveUp = new AbortController()
      const waiting = rejection(sluice.jobs.ended(id, { signal: giveUp.signal }))
      giveUp.abort(new Error("enough"))
      assert.strictEqual((await waiting).message, "enough")
      const before = await rejection(sluice.jobs.find(id, { signal: AbortSignal.abort() }))
      assert.strictEqual(before.name, "AbortError")
      assert.deepInclude(await sluice.jobs.find(id), { state: "ready" })
    })
  }
}

const during = async <A extends AsyncDisposable>(resource: A, use: (resource: A) => Promise<void>): Promise<void> => {
  await using held = resource
  await use(held)
}

describe("jobs in memory", () => {
  for (const [name, test] of Object.entries(jobs(() => ({ memory: true })))) it.live(name, () => test)
})

layer(TestDatabase.layerUrl, { excludeTestServices: true })("jobs in Postgres", (it) => {
  for (const [name, test] of Object.entries(jobs((databaseUrl) => ({ databaseUrl })))) it.effect(name, () => test)

  it.effect("makes no tables but those of jobs, and only when told to", () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const empty = yield* TestDatabase.empty
      const refused = yield* Effect.promise(() => rejection(open({ databaseUrl: empty })))
      assert.strictEqual(refused._tag, "DatabaseError")
      assert.include(refused.message, "sluice migrate --only jobs")
      yield* using({ databaseUrl: new URL(empty), migrate: true }, async (sluice) => {
        await sluice.jobs.enqueue("tick", "x")
      })
      const wrong = yield* Effect.promise(() => rejection(open({ databaseUrl: url.replace("postgres:", "mysql:") })))
      assert.include(wrong.message, "postgres://")
    }))

  it.effect("leaves no connection behind, however it is closed", () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const count = NodeLeaks.pgConnections.pipe(Effect.provide(TestDatabase.secondPool({ poolMax: 1 })), Effect.orDie)
      const before = yield* count
      yield* Effect.promise(async () => {
        const sluice = await open<Kinds>({ databaseUrl: url })
        const started = Promise.withResolvers<void>()
        await sluice.jobs.work({
          slow: (_, { signal }) =>
            new Promise<void>((resolve) => {
              signal.addEventListener("abort", () => resolve())
              started.resolve()
            })
        }, { drainMillis: 0 })
        await sluice.jobs.enqueue("slow", null)
        await started.promise
        // Neither the worker nor the wait was ended.
        const waiting = rejection(sluice.jobs.ended(await sluice.jobs.enqueue("tick", "never")))
        await Promise.all([sluice.close(), sluice.close()])
        assert.instanceOf(await waiting, SluiceClosed)
        assert.instanceOf(await rejection(sluice.jobs.enqueue("tick", "late")), SluiceClosed)
      })
      yield* eventually(count, (now) => now === before)
    }).pipe(leakFree))
})

describe("fetch", () => {
  const page: RequestListener = (request, response) => {
    const path = request.url ?? ""
    if (path.startsWith("/never")) return
    response.writeHead(path.startsWith("/missing") ? 404 : 200, { "content-type": "application/json" })
    response.end(JSON.stringify({ path, agent: request.headers["user-agent"], seen: request.headers["x-seen"] }))
  }
  const fetching = (test: (sluice: Sluice<Kinds>, url: string) => Promise<void>) =>
    leakFree(
      Effect.scoped(
        Effect.flatMap(serving(page), ({ url }) => using({ memory: true }, (sluice) => test(sluice, url)))
      )
    )

  it.live("every URL of any kind of list has one outcome", () =>
    fetching(async (sluice, url) => {
      const endless = async function*() {
        yield `${url}/a`
        yield new URL(`${url}/b`)
        yield { url: `${url}/missing`, headers: { "x-seen": "1" } }
        yield "no url"
      }
      for (const list of [endless(), [`${url}/a`, `${url}/b`, `${url}/missing`, "no url"]]) {
        const outcomes: Array<Outcome> = []
        for await (const outcome of sluice.fetch(list, { concurrency: 2, retries: 0 })) outcomes.push(outcome)
        const told = outcomes.map(({ error, status }) => `${status} ${error?._tag}`).toSorted()
        assert.deepStrictEqual(told, ["200 undefined", "200 undefined", "404 StatusError", "null InvalidRequest"])
      }
    }))

  it.live("leaving the loop cancels the rest, and an endless list does not end it", () =>
    fetching(async (sluice, url) => {
      let asked = 0
      const forever = function*() {
        while (true) yield `${url}/${asked++}`
      }
      for await (const outcome of sluice.fetch(forever(), { concurrency: 4 })) {
        assert.isTrue(outcome.ok)
        break
      }
      assert.isBelow(asked, 10_000)
    }))

  it.live("a signal, a list that throws and closing end it with an Error each", () =>
    fetching(async (sluice, url) => {
      const all = async (outcomes: AsyncIterable<Outcome>) => {
        for await (const outcome of outcomes) assert.isTrue(outcome.ok)
      }
      const stop = new AbortController()
      const stopped = rejection(all(sluice.fetch([`${url}/never`], { signal: stop.signal })))
      stop.abort()
      assert.strictEqual((await stopped).name, "AbortError")
      const broken = function*() {
        yield `${url}/a`
        throw new RangeError("the list is broken")
      }
      assert.strictEqual((await rejection(all(sluice.fetch(broken())))).message, "the list is broken")
      const closed = rejection(all(sluice.fetch([`${url}/never`])))
      await sluice.close()
      assert.instanceOf(await closed, SluiceClosed)
      assert.instanceOf(await rejection(all(sluice.fetch([`${url}/a`]))), SluiceClosed)
    }))

  it.live("one URL gives its body; a failure and a wrong option reject by name", () =>
    fetching(async (sluice, url) => {
      const response = await sluice.fetchOne(`${url}/one`, { userAgent: "me", headers: { "x-seen": "yes" } })
      assert.deepStrictEqual(response.json(), { path: "/one", agent: "me", seen: "yes" })
      assert.deepInclude(response.headers, { "content-type": "application/json" })
      assert.strictEqual(response.outcome.status, 200)
      const missing = await rejection(sluice.fetchOne({ url: `${url}/missing` }))
      assert.deepStrictEqual([missing.name, missing._tag], ["StatusError", "StatusError"])
      for (const wrong of [{ concurrency: 0 }, { retries: NaN }, { attemptMillis: -1 }, { ratePerSecond: 0 }]) {
        assert.strictEqual((await rejection(sluice.fetchOne(url, wrong)))._tag, "InvalidOption", JSON.stringify(wrong))
      }
      const refused = await rejection(sluice.fetchOne(url, { denyPrivate: true, retries: 0 }))
      assert.strictEqual(refused._tag, "ForbiddenAddress", refused.message)
    }))

  it("an outcome is the one that the services have", () => {
    const outcome = (of: FetchOutcome): Outcome => of
    assert.isFunction(outcome)
  })
})

describe("the log", () => {
  it.live("goes to who asked for it", () =>
    Effect.promise(async () => {
      const lines: Array<string> = []
      const sluice = await open<Kinds>({ memory: true, log: ({ level, message }) => lines.push(`${level} ${message}`) })
      const worker = await sluice.jobs.work({
        tick: { run: () => Promise.reject(new Error("no")), retryMillis: () => assert.fail("no delay") }
      })
      await sluice.jobs.enqueue("tick", "x", { maxAttempts: 2 })
      await worker.idle()
      await sluice.close()
      assert.isTrue(lines.some((line) => line.startsWith("error") && line.includes("retry schedule")), lines.join("\n"))
    }))
})

describe("a program in plain JavaScript", () => {
  it("runs, and ends by itself when it has closed what it opened", () => {
    const output = execFileSync(
      process.execPath,
      ["--conditions=sluice-source", join(root, "test/programs/promise/plain.js")],
      { cwd: root, encoding: "utf8", timeout: 60_000 }
    )
    assert.deepStrictEqual(JSON.parse(output), {
      state: "succeeded",
      result: "Hello, ada!",
      why: "nobody is there",
      greeted: ["ada"]
    })
  })
})
