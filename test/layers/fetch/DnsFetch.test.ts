/**
 * Lists of names whose DNS does this and that, by the whole fetcher: what becomes of a URL depends on its own name and on nothing else.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Stream } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Http1Client from "../../../src/layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as DnsServer from "../../support/fetch/DnsServer.ts"
import * as Origin from "../../support/fetch/Origin.ts"
import { leakFree } from "../../support/leakFree.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

/** Of a name; the others wait for nothing. */
const dnsLimitMillis = 3000

interface Behaviour {
  readonly answer: (asked: DnsServer.Asked) => DnsServer.Reply | undefined
  /** What becomes of a URL of such a name. */
  readonly end: (of: Case) => string
}

const good = ({ type }: DnsServer.Asked): DnsServer.Reply => ({ records: type === "A" ? [{ a: "127.0.0.1" }] : [] })

/** A server that does not answer the question leaves it to the others, and one that is silent may still answer it. */
const unlessAnotherMayKnow = (code: string) => ({ isFirstServerDead }: Case) =>
  isFirstServerDead ? "DnsTimeout" : `DnsError ${code}`

const behaviours: Readonly<Record<string, Behaviour>> = {
  good: { answer: good, end: () => "ok" },
  dead: { answer: () => undefined, end: () => "DnsTimeout" },
  slow: { answer: (asked) => ({ ...good(asked), afterMillis: 1000 }), end: () => "ok" },
  // Too late for the first attempt, whose answer is there for the second.
  late: {
    answer: (asked) => ({ ...good(asked), afterMillis: 4000 }),
    end: ({ retries }) => retries > 0 ? "ok" : "DnsTimeout"
  },
  unknown: { answer: () => ({ rcode: DnsServer.rcodes.nxdomain }), end: () => "DnsError ENOTFOUND" },
  empty: { answer: () => ({}), end: () => "DnsError ENODATA" },
  failing: { answer: () => ({ rcode: DnsServer.rcodes.servfail }), end: unlessAnotherMayKnow("ESERVFAIL") },
  refused: { answer: () => ({ rcode: DnsServer.rcodes.refused }), end: unlessAnotherMayKnow("EREFUSED") },
  // The half that answers is enough.
  half: { answer: (asked) => asked.type === "A" ? good(asked) : undefined, end: () => "ok" },
  alias: {
    answer: ({ type }) => ({
      records: type === "A" ? [{ cname: "x.test" }, { a: "127.0.0.1", of: "x.test" }] : [{ cname: "x.test" }]
    }),
    end: () => "ok"
  },
  large: { answer: (asked) => asked.isTcp ? good(asked) : { isTruncated: true }, end: () => "ok" },
  forged: { answer: (asked) => ({ ...good(asked), isForged: true }), end: () => "DnsTimeout" },
  garbage: { answer: () => ({ raw: Buffer.from("this is no answer at all") }), end: unlessAnotherMayKnow("EBADRESP") }
}

const kinds = Object.keys(behaviours)

interface Case {
  readonly names: ReadonlyArray<string>
  readonly concurrency: number
  readonly retries: number
  readonly lookupsMax: number
  readonly resolvConf: string
  readonly isFirstServerDead: boolean
}

/** Fetches a URL of each name; gives how each ended. */
const run = Effect.fnUntraced(
  function*({ concurrency, isFirstServerDead, lookupsMax, names, resolvConf, retries }: Case) {
    const origin = yield* Origin.make((_, response) => response.end("ok"))
    const server = yield* DnsServer.make((asked) => behaviours[asked.name.replace(/\d.*/, "")]?.answer(asked))
    const dead = yield* DnsServer.make(() => undefined)
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-dns-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    writeFileSync(join(directory, "resolv.conf"), resolvConf)
    writeFileSync(join(directory, "empty"), "")
    const client = Http1Client.layer({
      dns: {
        lookupsMax,
        servers: isFirstServerDead ? [dead.address, server.address] : [server.address],
        paths: {
          resolvConf: join(directory, "resolv.conf"),
          hosts: join(directory, "empty"),
          nsswitch: join(directory, "empty")
        }
      }
    })
    const ends: Record<string, string> = {}
    yield* Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const urls = names.map((name) => ({ url: `http://${name}.test:${new URL(origin.url).port}/` }))
      yield* Stream.runForEach(fetcher.fetchAll(Stream.fromIterable(urls)), ({ error, url }) =>
        Effect.sync(() => {
          const code = error?.["code"]
          ends[new URL(url).hostname.replace(".test", "")] = error === null
            ? "ok"
            : error._tag === "DnsError" && typeof code === "string"
            ? `DnsError ${code}`
            : error._tag
        }))
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make({
          concurrency,
          retry: { times: retries, base: Duration.millis(10) },
          timeouts: { dns: Duration.millis(dnsLimitMillis), connect: Duration.seconds(30) }
        })
      ),
      Effect.provide(Layer.provide(HttpFetcher.layer, client))
    )
    return ends
  }
)

const expected = (of: Case) =>
  Object.fromEntries(of.names.map((name) => [name, behaviours[name.replace(/\d.*/, "")]?.end(of)]))

/** Dead names evenly among good ones. */
const among = (dead: number, all: number): ReadonlyArray<string> =>
  Array.from(
    { length: all },
    (_, n) => Math.floor(n * dead / all) < Math.floor((n + 1) * dead / all) ? `dead${n}` : `good${n}`
  )

const usual = { concurrency: 64, retries: 0, lookupsMax: 128, resolvConf: "", isFirstServerDead: false }

describe("names that are silent or slow", () => {
  const rows: ReadonlyArray<readonly [string, Case]> = [
    ["20 silent among 400", { ...usual, names: among(20, 400) }],
    ["60 silent among 360", { ...usual, names: among(60, 360) }],
    ["100 slow ones at once", { ...usual, concurrency: 100, names: Array.from({ length: 100 }, (_, n) => `slow${n}`) }],
    ["300 silent among 600, 32 lookups at a time", {
      ...usual,
      concurrency: 600,
      lookupsMax: 32,
      names: among(300, 600)
    }]
  ]
  for (const [title, row] of rows) {
    it.live(`${title}: each ends by itself`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* run(row), expected(row))
      }).pipe(Effect.scoped, leakFree))
  }
})

/** Numbers from a seed: [0, 1). */
const chances = (seed: number) => () => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
  return seed / 2 ** 32
}

const caseOf = (seed: number): Case => {
  const chance = chances(seed)
  const oneOf = <A>(values: readonly [A, ...Array<A>]): A => values[Math.floor(chance() * values.length)] ?? values[0]
  const length = oneOf([20, 80, 200])
  const mix = Array.from(
    { length: 1 + Math.floor(chance() * 6) },
    () => kinds[Math.floor(chance() * kinds.length)] ?? "good"
  )
  return {
    names: Array.from({ length }, (_, n) => `${chance() < 0.5 ? "good" : mix[Math.floor(chance() * mix.length)]}${n}`),
    concurrency: oneOf([64, 200]),
    retries: oneOf([0, 1]),
    lookupsMax: oneOf([4, 32, 128]),
    resolvConf: oneOf([
      "",
      "options ndots:3\n",
      "search one.example two.example\n",
      "options attempts:3\n",
      "options rotate\n",
      "options edns0 trust-ad\n"
    ]),
    isFirstServerDead: chance() < 0.2
  }
}

describe("every mix of behaviours, numbers and limits", () => {
  for (const seed of Array.from({ length: isLong ? 60 : 4 }, (_, n) => n + 1)) {
    it.live(`seed ${seed}`, () =>
      Effect.gen(function*() {
        const each = caseOf(seed)
        assert.deepStrictEqual(yield* run(each), expected(each))
      }).pipe(Effect.scoped, leakFree), 120_000)
  }
})
