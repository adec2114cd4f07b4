/**
 * Servers that end their connections without a word, at every moment: what may go out again does, without costing an attempt, and what may
 * not is sent once.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Stream } from "effect"
import type * as net from "node:net"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import type { Method } from "../../../src/services/fetch/FetchRequest.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"
import { fetcher, reply, strict } from "../../support/zoo/Zoo.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

/** What a server does with a connection that has had its share of answers. */
interface Manner {
  readonly name: string
  /** Answers on one connection before it ends. */
  readonly answers: number
  /** A client that looks sees the end before it asks again. */
  readonly isSeen: boolean
  readonly end: (socket: net.Socket) => void
}

const manners = (answers: number): ReadonlyArray<Manner> => [
  { name: `closes with the answer, after ${answers}`, answers, isSeen: true, end: (socket) => socket.end() },
  {
    name: `closes in the next turn, after ${answers}`,
    answers,
    isSeen: false,
    end: (socket) => setImmediate(() => socket.end())
  },
  {
    name: `closes 2 ms later, after ${answers}`,
    answers,
    isSeen: false,
    end: (socket) => setTimeout(() => socket.end(), 2)
  },
  {
    name: `resets in the next turn, after ${answers}`,
    answers,
    isSeen: false,
    end: (socket) => setImmediate(() => socket.resetAndDestroy())
  },
  {
    name: `resets 2 ms later, after ${answers}`,
    answers,
    isSeen: false,
    end: (socket) => setTimeout(() => socket.resetAndDestroy(), 2)
  },
  {
    name: `closes when the next request is here, after ${answers}`,
    answers,
    isSeen: false,
    end: (socket) => socket.once("data", () => socket.end())
  }
]

/** Long enough for every connection to have ended several times. */
const urlsOf = ({ answers }: Manner): number => (isLong ? 20_000 : 600) / answers

/** Fetches a list from such a server; how often each path has reached it, answered or not. */
const fetchAll = (method: Method, manner: Manner) =>
  Effect.gen(function*() {
    const received = new Map<string, number>()
    const origin = yield* Origin.makeRaw((socket) => {
      let left = manner.answers
      let head = ""
      socket.setNoDelay(true)
      socket.on("data", (chunk) => {
        head += chunk.toString("latin1")
        const path = /^[A-Z]+ (\S+) [^]*?\r\n\r\n(.*)$/.exec(head)
        if (path === null || method === "POST" && path[2] !== "body") return
        head = ""
        received.set(path[1] ?? "", (received.get(path[1] ?? "") ?? 0) + 1)
        if (left === 0) return
        socket.write(reply("ok"))
        if (--left === 0) manner.end(socket)
      })
    })
    const f = yield* Fetcher
    const requests = Stream.map(Stream.range(1, urlsOf(manner)), (n) => ({
      url: `${origin.url}/${n}`,
      method,
      ...(method === "POST" ? { body: "body" } : undefined)
    }))
    const outcomes: ReadonlyArray<FetchOutcome> = yield* Stream.runCollect(f.fetchAll(requests))
    return { outcomes, received }
  }).pipe(
    Effect.provideService(
      FetchPolicy.FetchPolicy,
      FetchPolicy.make(strict, {
        concurrency: 16,
        perHost: 16,
        timeouts: {
          connect: Duration.seconds(20),
          headers: Duration.seconds(20),
          attempt: Duration.seconds(30),
          total: Duration.seconds(60)
        }
      })
    ),
    Effect.provide(fetcher),
    Effect.scoped,
    leakFree
  )

describe("servers that end kept connections, without retries", () => {
  for (const manner of [...manners(1), ...manners(4)]) {
    it.live(`GET: ${manner.name}`, () =>
      Effect.gen(function*() {
        const { outcomes } = yield* fetchAll("GET", manner)
        assert.deepStrictEqual(outcomes.filter((each) => !each.ok || each.attempts !== 1).slice(0, 3), [])
        assert.lengthOf(outcomes, urlsOf(manner))
      }), 120_000)
  }

  for (const manner of [...manners(1), ...manners(4)]) {
    // The end is here before the next request goes out, or it is seen too late for those that are on their way, and for those only.
    const lostMax = manner.isSeen ? 0 : 32
    it.live(`POST: ${manner.name}: none goes out twice, at most ${lostMax} are lost`, () =>
      Effect.gen(function*() {
        const { outcomes, received } = yield* fetchAll("POST", manner)
        assert.deepStrictEqual([...received].filter(([, times]) => times > 1), [])
        const failed = outcomes.filter((each) => !each.ok)
        assert.isAtMost(failed.length, lostMax)
        for (const { error } of failed) assert.strictEqual(error?._tag, "ProtocolError", JSON.stringify(error))
        assert.lengthOf(outcomes, urlsOf(manner))
      }), 120_000)
  }
})
