/** What the frontier's functions read is bounded by what they are asked for, whatever the planner knew when it made their plans. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as Columns from "../../../src/layers/postgres/Columns.ts"
import * as SqlFunction from "../../../src/layers/postgres/SqlFunction.ts"
import type { Fetched } from "../../../src/services/fetch/Fetcher.ts"
import { Frontier, type Run } from "../../../src/services/fetch/Frontier.ts"
import { deferred, failed, succeeded, target } from "../../conformance/Frontier.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

interface Measure {
  readonly client: PgClient.PgClient
  /** Pages that a call of each function touched at most, since `begin`. */
  readonly pages: Map<string, number>
  begin: () => void
}

/** A client that tries each call of a function under `explain` first, and undoes that. */
const measuring = (client: PgClient.PgClient): Measure => {
  const pages = new Map<string, number>()
  let isOn = false
  const explained = (name: string, text: string, params: ReadonlyArray<unknown>) =>
    client.withTransaction(Effect.gen(function*() {
      const [row] = yield* client.unsafe<
        { readonly "QUERY PLAN": ReadonlyArray<{ readonly Plan: Record<string, number> }> }
      >(
        `explain (analyze, buffers, format json) ${text}`,
        params
      )
      const plan = row?.["QUERY PLAN"][0]?.Plan
      const touched = (plan?.["Shared Hit Blocks"] ?? 0) + (plan?.["Shared Read Blocks"] ?? 0)
      pages.set(name, Math.max(touched, pages.get(name) ?? 0))
      return yield* Effect.fail("undo" as const)
    })).pipe(Effect.catchIf((error): error is "undo" => error === "undo", () => Effect.void))
  const unsafe = (text: string, params: ReadonlyArray<unknown> = []) => {
    const statement: Effect.Effect<ReadonlyArray<unknown>, SqlError> = client.unsafe(text, params)
    const name = /sluice\.(\w+)\(/.exec(text)?.[1]
    return isOn && name !== undefined ? Effect.andThen(explained(name, text, params), statement) : statement
  }
  return {
    client: new Proxy(client, {
      get: (of, key, receiver) => key === "unsafe" ? unsafe : Reflect.get(of, key, receiver)
    }),
    pages,
    begin: () => void (isOn = true)
  }
}

const inAnHour = () => "2100-01-01T00:00:00.000Z"

/** Of ten, one has failed and one is to be asked later. */
const settled = (nth: number, url: string): Fetched =>
  nth % 10 === 0 ? failed(target(url)) : nth % 10 === 1 ? deferred(target(url), inAnHour()) : succeeded(target(url))

/** Pulls and settles until so many are settled, each with what its number says. */
const work = Effect.fnUntraced(function*(run: Run, count: number) {
  for (let done = 0; done < count;) {
    const supply = yield* run.source.pull({ limit: 500, closedHosts: new Set(["closed.test"]) })
    if (supply._tag === "Done") return
    if (supply._tag === "Wait") {
      yield* supply.wake
      continue
    }
    yield* run.settle(supply.targets.map(({ url }, at) => settled(at, url)))
    done += supply.targets.length
  }
})

const urls = (of: string, count: number, hosts: number) =>
  Array.from({ length: count }, (_, n) => target(`http://h${n % hosts}.${of}.test/${n}`))

/** Everything that a run asks of its database, on `count` URLs. */
const everything = Effect.fnUntraced(function*(frontier: Frontier["Service"], name: string, count: number) {
  yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* frontier.open(name)
    yield* run.add(urls(name, count, Math.ceil(count / 10)))
    yield* run.seal
    yield* work(run, count)
    assert.strictEqual((yield* run.source.pull({ limit: 1, closedHosts: new Set() }))._tag, "Done")
  }))
  yield* Stream.runDrain(frontier.outcomes(name, { failed: true }))
  yield* Stream.runDrain(frontier.outcomes(name, { failed: true, tag: "StatusError" }))
  yield* frontier.tags(name)
  yield* Effect.scoped(frontier.open(name, { again: { failed: true, tag: "StatusError" } }))
})

/** When the plans are made: before there is anything, or with a crowd there, which the planner knows or does not. */
type Knowledge = "empty" | "full" | "unknown"

const tables = ["run", "member", "lane", "url", "outcome", "host"]

const analyze = (sql: PgClient.PgClient) =>
  Effect.forEach(tables, (table) => sql.unsafe(`vacuum analyze sluice.fetch_${table}`))

/** A run that has so many URLs that are done, a fifth as many hosts, and as many more that are known from elsewhere. */
const crowd = Effect.fnUntraced(function*(sql: PgClient.PgClient, name: string, count: number) {
  const [run] = yield* sql<{ readonly id: number }>`insert into sluice.fetch_run (name, next_seq, added, done)
    values (${name}, ${count + 1}, ${count}, ${count}) returning id`
  yield* sql`insert into sluice.fetch_lane (run_id, host, head, tail)
    select ${run?.id}, 'old' || n || '.test', ${count}, ${count} from generate_series(0, ${count / 5 - 1}) n`
  yield* sql`insert into sluice.fetch_url (run_id, lane_id, seq, hash, url, untrusted)
    select l.run_id, l.id, n, decode(md5(n::text), 'hex'), 'http://' || l.host || '/' || n, true
    from generate_series(1, ${count}) n
    join sluice.fetch_lane l on l.run_id = ${run?.id} and l.host = 'old' || (n % (${count} / 5)) || '.test'`
  yield* sql`insert into sluice.fetch_outcome (run_id, seq, lane_id, state, attempts, bytes, duration_ms, started_at)
    select run_id, seq, lane_id, 'done', 1, 1, 1, now() from sluice.fetch_url where run_id = ${run?.id}`
  yield* sql`insert into sluice.fetch_host (host, shut_until, stale_at)
    select host, 'epoch', 'infinity' from sluice.fetch_lane where run_id = ${run?.id}`
})

const measured = 1000

/** The pages of each function, on a thousand URLs of a run that has had a crowd. */
const pagesOf = Effect.fnUntraced(
  function*(knowledge: Knowledge, count: number) {
    const sql = yield* PgClient.PgClient
    const { begin, client, pages } = measuring(sql)
    const frontier = yield* Effect.provide(
      Frontier,
      Layer.provide(Layer.fresh(PostgresFrontier.layer), Layer.succeed(PgClient.PgClient, client))
    )
    if (knowledge !== "empty") yield* crowd(sql, "measured", count)
    if (knowledge !== "unknown") yield* analyze(sql)
    yield* everything(frontier, "plans", 20)
    if (knowledge === "empty") yield* crowd(sql, "measured", count)
    begin()
    yield* everything(frontier, "measured", measured)
    yield* Effect.scoped(Effect.gen(function*() {
      yield* frontier.open("measured")
      const [member] = yield* sql<{ readonly id: number; readonly run: number }>`
        select id, run_id as run from sluice.fetch_member`
      const lanes = yield* sql<{ readonly id: bigint }>`select id from sluice.fetch_lane order by id desc limit 100`
      assert(member !== undefined)
      const ids = Columns.bigints(lanes.map(({ id }) => id))
      const heads = Columns.bigints(lanes.map(() => 0n))
      yield* SqlFunction.call(client, "fetch_beat", { run: member.run, member: member.id })
      yield* SqlFunction.call(client, "fetch_bury", { run: member.run })
      yield* SqlFunction.call(client, "fetch_head", { member: member.id, lanes: ids, heads, is_leaving: true })
      // Its own last: nobody is a member after it.
      yield* SqlFunction.call(client, "fetch_renew", { run: member.run, old: member.id, known: ids })
    }))
    // The member that was renewed by hand has not left.
    yield* frontier.remove("measured", { isForced: true })
    return pages
  },
  Effect.provide(
    // The heartbeat has one session, and all else the other: its plans are kept.
    Layer.provideMerge(TestDatabase.secondPool({ poolMax: 2 }), Layer.fresh(TestDatabase.layer))
  )
)

const hot = [
  "fetch_add",
  "fetch_beat",
  "fetch_bury",
  "fetch_erase_lanes",
  "fetch_erase_outcomes",
  "fetch_erase_urls",
  "fetch_head",
  "fetch_lanes",
  "fetch_leave",
  "fetch_page",
  "fetch_read",
  "fetch_renew",
  "fetch_reopen",
  "fetch_settle",
  "fetch_status",
  "fetch_take"
]

it.live(
  "each function touches the same pages whatever the planner knew, and few more beside many others",
  () =>
    Effect.gen(function*() {
      // Enough of everything for a whole batch of what is removed.
      const few = yield* pagesOf("unknown", 5000)
      const many = yield* Effect.forEach(
        ["unknown", "empty", "full"] as const,
        (knowledge) => pagesOf(knowledge, 50_000)
      )
      const table = hot.map((name) => [name, few.get(name), ...many.map((pages) => pages.get(name))].join(" "))
      yield* Effect.logInfo(table.join("\n"))
      for (const name of hot) {
        const reference = few.get(name) ?? 0
        assert.isAbove(reference, 0, `${name} was called`)
        // A tree is a level or two deeper. A plan for another table reads tens of thousands.
        for (const pages of many) assert.isBelow(pages.get(name) ?? 0, reference * 2 + 300, name)
      }
    }),
  120_000
)
