/**
 * A run while its connection breaks at any of its statements: before the server has it, after, or so that it arrives long afterwards.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Layer, Stream } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import { Frontier, type Run } from "../../../src/services/fetch/Frontier.ts"
import { succeeded, target } from "../../conformance/Frontier.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

/** What becomes of the statement whose connection breaks. */
const fates = ["lost", "answer lost", "late"] as const
type Fate = (typeof fates)[number]

interface Breaking {
  readonly client: PgClient.PgClient
  /** Statements that were sent. */
  readonly sent: () => number
  /** Sends what was held back, now that nobody waits for it any more. */
  readonly arrive: Effect.Effect<void>
}

const gone = new SqlError({ reason: new ConnectionError({ cause: new Error("the connection broke") }) })

/** A client whose statement number `at` has this fate. */
const breaking = (client: PgClient.PgClient, at: number, fate: Fate): Breaking => {
  let count = 0
  let held: Effect.Effect<void> = Effect.void
  const counted = <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.suspend(() => {
      if (count++ !== at) return statement
      if (fate === "lost") return Effect.fail(gone)
      if (fate === "answer lost") return Effect.andThen(statement, Effect.fail(gone))
      held = Effect.ignore(statement)
      return Effect.fail(gone)
    })
  const unsafe = (text: string, params?: ReadonlyArray<unknown>) => counted(client.unsafe(text, params))
  return {
    client: new Proxy(client, {
      get: (of, key, receiver) => key === "unsafe" ? unsafe : Reflect.get(of, key, receiver),
      apply: (of, self, args) => counted(Reflect.apply(of, self, args))
    }),
    sent: () => count,
    arrive: Effect.suspend(() => {
      const arriving = held
      held = Effect.void
      return arriving
    })
  }
}

const hosts = 3
const perHost = 7
const urls = Array.from({ length: hosts * perHost }, (_, n) => `http://h${n % hosts}.test/${n}`)

/** Works on a run to its end, a few at a time; what was held back arrives after each step. */
const work = Effect.fnUntraced(function*(run: Run, arrive: Effect.Effect<void>) {
  const handedOut: Array<string> = []
  const recorded: Array<string> = []
  while (true) {
    const supply = yield* run.source.pull({ limit: 4, closedHosts: new Set() })
    yield* arrive
    if (supply._tag === "Done") return { handedOut, recorded }
    if (supply._tag === "Wait") {
      yield* supply.wake
      continue
    }
    for (const { url } of supply.targets) handedOut.push(url)
    for (const { target } of yield* run.settle(supply.targets.map(succeeded))) recorded.push(target.url)
    yield* arrive
  }
})

/** One run with one break: everything is recorded once, and told once, and nothing is left that nobody owns. */
const scenario = Effect.fnUntraced(function*(at: number, fate: Fate) {
  const sql = yield* PgClient.PgClient
  const name = `break-${fate.replace(" ", "-")}-${at}`
  const broken = breaking(sql, at, fate)
  const frontierOn = (client: PgClient.PgClient) =>
    Effect.provide(Frontier, Layer.provide(PostgresFrontier.layer, Layer.succeed(PgClient.PgClient, client)))
  const frontier = yield* frontierOn(broken.client)
  const { handedOut, recorded } = yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* frontier.open(name)
    yield* broken.arrive
    yield* run.add(urls.map((url) => target(url)))
    yield* broken.arrive
    yield* run.seal
    const all = yield* work(run, broken.arrive)
    assert.deepStrictEqual(yield* run.counts, { pending: 0, leased: 0, done: urls.length, failed: 0, deferred: 0 })
    return all
  }))
  yield* broken.arrive
  const sent = broken.sent()
  const reader = yield* frontierOn(sql)
  assert.deepStrictEqual(recorded.toSorted(), urls.toSorted(), `${name}: told`)
  assert.deepStrictEqual(handedOut.toSorted(), urls.toSorted(), `${name}: handed out`)
  const stored = yield* Stream.runCollect(reader.outcomes(name))
  assert.deepStrictEqual(stored.map(({ url }) => url).toSorted(), urls.toSorted(), `${name}: stored`)
  const { counts } = yield* reader.find(name)
  assert.deepStrictEqual(counts, { pending: 0, leased: 0, done: urls.length, failed: 0, deferred: 0 }, name)
  const orphans = yield* sql`select host from sluice.fetch_lane l where owner is not null
    and not exists (select from sluice.fetch_member m where m.id = l.owner)`
  assert.deepStrictEqual(orphans, [], `${name}: lanes of nobody`)
  return sent
})

layer(TestDatabase.layer, { excludeTestServices: true })("a connection that breaks at any statement", (it) => {
  for (const fate of fates) {
    it.effect(`${fate}: everything is recorded and told once`, () =>
      Effect.gen(function*() {
        const statements = yield* scenario(Infinity, fate)
        assert.isAbove(statements, 15)
        // What has come through without its answer is what may be done twice: each statement, always.
        const step = isLong || fate === "answer lost" ? 1 : 2
        for (let at = 0; at < statements; at += step) yield* scenario(at, fate)
      }), 120_000)
  }

  it.effect("what is asked about runs comes through too", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const frontierOn = (client: PgClient.PgClient) =>
        Effect.provide(Frontier, Layer.provide(PostgresFrontier.layer, Layer.succeed(PgClient.PgClient, client)))
      yield* Effect.scoped(Effect.flatMap((yield* frontierOn(sql)).open("asked"), (run) =>
        Effect.gen(function*() {
          yield* run.add(urls.map((url) => target(url)))
          yield* run.seal
          yield* work(run, Effect.void)
        })))
      const questions = (frontier: Frontier["Service"]) => ({
        find: Effect.map(frontier.find("asked"), ({ counts }) => counts.done),
        tags: Effect.map(frontier.tags("asked"), (tags) => tags[0]?.count),
        outcomes: Effect.map(Stream.runCollect(frontier.outcomes("asked")), ({ length }) => length),
        runs: Effect.map(frontier.runs(), (runs) => runs.find(({ name }) => name === "asked")?.counts.done)
      })
      for (const fate of ["lost", "answer lost"] as const) {
        for (const question of ["find", "tags", "outcomes", "runs"] as const) {
          for (let at = 0; at < 2; at++) {
            const frontier = yield* frontierOn(breaking(sql, at, fate).client)
            assert.strictEqual(yield* questions(frontier)[question], urls.length, `${question} ${fate} ${at}`)
          }
        }
      }
    }))

  it.effect("an outage is told from a statement that can never come through", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const impatient = PostgresFrontier.layerWith({ patience: 0 })
      const askOn = (client: PgClient.PgClient) =>
        Effect.flatMap(Frontier, (frontier) => Effect.flip(frontier.find("any"))).pipe(
          Effect.provide(Layer.provide(Layer.fresh(impatient), Layer.succeed(PgClient.PgClient, client)))
        )
      const reasonOf = (error: Effect.Success<ReturnType<typeof askOn>>) =>
        error._tag === "FrontierError" ? error.reason : error._tag
      assert.strictEqual(reasonOf(yield* askOn(sql)), "RunNotFound")
      assert.strictEqual(reasonOf(yield* askOn(breaking(sql, 0, "lost").client)), "Unavailable")
      yield* sql`alter view sluice.fetch_runs rename to fetch_runs_away`
      assert.strictEqual(reasonOf(yield* askOn(sql)), "Rejected")
      yield* sql`alter view sluice.fetch_runs_away rename to fetch_runs`
    }))

  it.effect("a lane of nobody, however it came to be, is found and worked on", () =>
    Effect.scoped(Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const frontier = yield* PostgresFrontier.layer.pipe(
        Layer.build,
        Effect.flatMap((context) => Effect.provideContext(Frontier, context))
      )
      const run = yield* frontier.open("nobody")
      yield* run.add(urls.map((url) => target(url)))
      yield* run.seal
      yield* sql`update sluice.fetch_lane set owner = 2147483647
        where host = 'h1.test' and run_id = (select id from sluice.fetch_run where name = 'nobody')`
      const { recorded } = yield* work(run, Effect.void)
      assert.deepStrictEqual(recorded.toSorted(), urls.toSorted())
    })))

  it.effect("what a transaction of another keeps waiting ends with it, and a client that is gone leaves none open", () =>
    Effect.scoped(Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const frontier = yield* PostgresFrontier.layer.pipe(
        Layer.build,
        Effect.flatMap((context) => Effect.provideContext(Frontier, context))
      )
      const open = sql<{ readonly query: string }>`select query from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%' and pid <> pg_backend_pid()`
      const seen: Array<string> = []
      const watched = yield* Deferred.make<void>()
      yield* Effect.forkScoped(
        Effect.gen(function*() {
          for (const { query } of yield* open) seen.push(query)
        }).pipe(Effect.repeat({ while: () => Effect.map(Deferred.isDone(watched), (isDone) => !isDone) }))
      )
      for (let round = 0; round < 3; round++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* frontier.open("transactions", { again: { failed: true } })
          yield* run.add(urls.map((url) => target(url)))
          yield* run.seal
          yield* work(run, Effect.void)
        }))
      }
      yield* Deferred.succeed(watched, undefined)
      assert.deepStrictEqual(seen, [])
    })))
})
