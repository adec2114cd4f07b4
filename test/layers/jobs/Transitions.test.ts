/**
 * The table of transitions at the head of `0002_transitions.sql` says what the functions do: operations at random are
 * watched by triggers that write down each change of a state and the function that made it. Each that is seen stands in
 * the table, and each that stands there is seen.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import { JobId } from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import * as JobChange from "../../../src/services/jobs/JobChange.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { type ClaimedJob, JobStore, type NewJob, type Verdict } from "../../../src/services/jobs/JobStore.ts"
import { assertInvariant } from "../../support/jobInvariant.ts"
import { random } from "../../support/Random.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const source = join(import.meta.dirname, "../../../src")
const transitions = join(source, "layers/postgres/schema/jobs/0002_transitions.sql")

/** `ready -> running: job_claim`, for each function of each line of the table. */
const declared = (): ReadonlyArray<string> =>
  readFileSync(transitions, "utf8").split("\n").flatMap((line) => {
    const [, from, to, by] = /^-- {3}(\w+) +(\w+) +(job_\w+(?:, job_\w+)*)$/.exec(line) ?? []
    return (by ?? "").split(", ").filter((name) => name !== "").map((name) => `${from} -> ${to}: ${name}`)
  })

/** Each row that comes, changes or goes, with the innermost function of the schema that did it. */
const watch = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`create table witnessed (n bigint generated always as identity, tx bigint, place text, id bigint, before text, after text, by text)`
  yield* sql.unsafe(`create function witness() returns trigger language plpgsql as $$
    declare
      stack text;
      was jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
      is_now jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    begin
      get diagnostics stack = pg_context;
      insert into witnessed (tx, place, id, before, after, by)
      values (txid_current(), tg_argv[0], (coalesce(is_now, was)->>'id')::bigint, coalesce(was->>'state', case when was is not null then 'dead' end),
        coalesce(is_now->>'state', case when is_now is not null then 'dead' end), substring(stack from 'PL/pgSQL function (?:sluice\\.)?(job_\\w+)\\('));
      return null;
    end $$`)
  for (const [table, place] of [["job", "live"], ["job_history", "ended"], ["job_dead", "dead"]]) {
    yield* sql.unsafe(`create trigger witness after insert or update or delete on sluice.${table}
      for each row execute function witness('${place}')`)
  }
})

interface Witnessed {
  readonly place: "live" | "ended" | "dead"
  readonly before: string | null
  readonly after: string | null
  readonly by: string | null
  /** Of the same job in the same transaction: what came elsewhere, and what went there. */
  readonly came: string | null
  readonly went: string | null
}

/** What was seen: a job that goes from one table and comes to another in one transaction made one transition. */
const seen = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const rows = yield* sql.unsafe<Witnessed>(`select place, before, after, by,
      (select min(o.after) from witnessed o where o.tx = w.tx and o.id = w.id and o.place <> w.place and o.before is null) as came,
      (select min(o.before) from witnessed o where o.tx = w.tx and o.id = w.id and o.place <> w.place and o.after is null) as went
    from witnessed w order by n`)
  return new Set(rows.flatMap(({ after, before, by, came, place, went }) => {
    if (place === "dead" && after === null && came === null) return [`dead -> nowhere: ${by}`]
    if (place !== "live") return []
    const [from, to] = [before ?? went ?? "new", after ?? came ?? "nowhere"]
    return from === to ? [] : [`${from} -> ${to}: ${by}`]
  }))
})

interface Member {
  readonly worker: number
  readonly scope: Scope.Closeable
  readonly tend: Effect.Effect<unknown, unknown>
  nth: number
  held: ReadonlyArray<ClaimedJob>
}

const failure = { reason: "Failed", message: "no" } as const

const isLong = process.env["SLUICE_LONG"] === "1"
/** Some 300 steps show every line of the table; the long form looks for what is not in it. */
const stepsMax = isLong ? 4800 : 1200

/** Workers, producers and operators, one step at a time, until enough is seen. */
const play = Effect.fnUntraced(function*(seed: number, isEnough: Effect.Effect<boolean, unknown, PgClient.PgClient>) {
  const sql = yield* PgClient.PgClient
  const store = yield* JobStore
  const admin = yield* JobAdmin
  const queue = yield* JobQueue
  const next = random(seed)
  const below = (n: number) => Math.floor(next() * n)
  const pick = <A>(all: ReadonlyArray<A>): A => all[below(all.length)] ?? assert.fail("nothing to pick from")
  let members: ReadonlyArray<Member> = []
  const gone: Array<Member> = []

  const joins = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const joined = yield* Scope.provide(
      store.join({ queues: ["q"], label: "t", leaseMillis: 600_000, beatMillis: 1_000 }),
      scope
    )
    const tend = Effect.flatMap(joined.beat, (beat) => joined.tend(beat.lost, beat.isDue))
    members = [...members, { worker: joined.worker, scope, tend, nth: 0, held: [] }]
  })
  const newJob = (): NewJob => ({
    queue: "q",
    kind: "k",
    payload: "1",
    priority: below(3),
    maxAttempts: 1 + below(3),
    delayMillis: pick([0, 0, 1, 3_600_000]),
    runAtMillis: null,
    unique: next() < 0.2 ? `u${below(10)}` : null,
    whenUnique: pick(["keep", "replace", "debounce"]),
    key: next() < 0.4 ? `k${below(3)}` : null,
    keyConcurrency: 1
  })
  const verdict = (): Verdict =>
    pick<Verdict>([
      { _tag: "Succeeded", result: null, history: "full" },
      { _tag: "Succeeded", result: "1", history: "outcome" },
      { _tag: "Dead", failure },
      { _tag: "Cancelled" },
      { _tag: "Retry", delayMillis: pick([0, 1]), failure },
      { _tag: "Released", delayMillis: pick([0, 1]) }
    ])
  /** Some of what it holds, those least that it has settled already, which must not matter. */
  const settles = (member: Member) =>
    Effect.suspend(() => {
      const some = member.held.filter(() => next() < 0.5)
      // Plain successes have a function of their own.
      const isPlain = next() < 0.3
      return store.settle(
        member.worker,
        some.map((job) => ({
          job,
          verdict: isPlain ? { _tag: "Succeeded", result: null, history: "full" } : verdict()
        }))
      )
    })
  /** One that was given back may have been deleted since, without a trace. */
  const cancels = (id: JobId) => Effect.catchTag(queue.cancel(id), "JobNotFound", () => Effect.void)
  const leaves = (member: Member) =>
    Effect.suspend(() => {
      members = members.filter((other) => other !== member)
      return Scope.close(member.scope, Exit.void)
    })
  const steps: ReadonlyArray<(member: Member) => Effect.Effect<unknown, unknown>> = [
    () => store.insert(Array.from({ length: 1 + below(6) }, newJob)),
    () => store.insert(Array.from({ length: 1 + below(6) }, newJob)),
    () => sql`select sluice.job_add(array['q'], array['k'], array['1'], array[0], array[2])`,
    (member) =>
      Effect.map(store.claim(member.worker, ++member.nth, [{ queue: "q", limit: 1 + below(8) }]), (jobs) => {
        member.held = [...member.held, ...jobs].slice(-20)
      }),
    settles,
    settles,
    (member) => member.tend,
    (member) => store.giveBackUnknown(member.worker, member.nth, member.held.slice(below(3)).map(({ id }) => id)),
    () =>
      Effect.flatMap(
        admin.list({ limit: 200 }),
        ({ jobs }) => jobs.length === 0 ? Effect.void : cancels(pick(jobs).id)
      ),
    (member) => Effect.forEach(member.held.slice(0, 2), ({ id }) => cancels(JobId.make(id))),
    () => admin.redrive({ limit: 1 + below(5) }, next() < 0.5 ? {} : { ratePerSecond: 1 }),
    () =>
      Effect.flatMap(admin.list({ limit: 200 }), ({ jobs }) => {
        const what = [
          JobChange.runNow,
          JobChange.priority(below(3)),
          JobChange.reschedule({ delay: pick([0, 1, 3_600_000]) })
        ]
        return admin.change({ ids: jobs.filter(() => next() < 0.1).map(({ id }) => id) }, pick(what))
      }),
    () => {
      const job = () => ({ ...newJob(), unique: null })
      const whenChildFails = pick(["fail", "ignore", "continue"] as const)
      const leaf = (parent: number) => ({ job: job(), parent, whenChildFails: undefined })
      const root = { job: job(), parent: undefined, whenChildFails }
      return store.insertFlow(
        next() < 0.5 ? [leaf(1), root] : [leaf(1), { job: job(), parent: 3, whenChildFails }, leaf(3), root]
      )
    },
    () => admin.change({ queue: "q", limit: 1, state: pick(JobChange.changeable) }, JobChange.remove),
    leaves,
    // Declared dead: its jobs are there for somebody to take back, or to cancel; some are cancelled at once.
    (member) =>
      Effect.suspend(() => {
        members = members.filter((other) => other !== member)
        gone.push(member)
        const cancelled = next() < 0.5 ? member.held.slice(-3) : []
        return Effect.andThen(
          sql`update sluice.job_worker set lost_at = now() where id = ${member.worker}`,
          Effect.forEach(cancelled, ({ id }) => cancels(JobId.make(id)))
        )
      })
  ]
  for (let step = 1; step <= stepsMax; step++) {
    while (members.length < 3) yield* joins
    yield* pick(steps)(pick(members))
    if (step % 50 === 0) {
      yield* assertInvariant
      if (yield* isEnough) break
    }
  }
  yield* Effect.forEach([...members, ...gone], leaves)
})

layer(PostgresJobQueue.layerWith({ listen: false }).pipe(Layer.provideMerge(TestDatabase.layer)), {
  excludeTestServices: true,
  timeout: 120_000
})("the table of transitions", (it) => {
  it.effect("is what the functions do, no more and no less", () =>
    Effect.gen(function*() {
      yield* watch
      const table = declared()
      assert.isAbove(table.length, 20, "the table was read")
      yield* play(1, isLong ? Effect.succeed(false) : Effect.map(seen, (found) => found.size >= table.length))
      const found = yield* seen
      assert.deepStrictEqual([...found].filter((line) => !table.includes(line)), [], "these do not stand in the table")
      assert.deepStrictEqual(table.filter((line) => !found.has(line)), [], "none of these was seen")
      assert.deepStrictEqual([...found].sort(), [...table].sort())
    }), isLong ? 600_000 : 180_000)
})

describe("the SQL of jobs", () => {
  const filesBelow = (folder: string, ending: string): ReadonlyArray<readonly [name: string, text: string]> =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(ending))
      .map((name) => [name, readFileSync(join(folder, name), "utf8")])
  const writes = [
    /insert into sluice\.job(?:_history|_dead|_delta)? \(/,
    /update sluice\.job j/,
    /delete from sluice\.job(?:_dead)? \w/
  ]

  it("no other file changes a state or a counter", () => {
    const guilty = [...filesBelow(source, ".sql"), ...filesBelow(source, ".ts")].filter(([, text]) =>
      writes.some((write) => write.test(text))
    )
    assert.deepStrictEqual(guilty.map(([name]) => name), ["layers/postgres/schema/jobs/0002_transitions.sql"])
  })

  it("is a call of one line wherever it is in TypeScript, but for the settings of a transaction", () => {
    const long = filesBelow(join(source, "layers/jobs"), ".ts").flatMap(([name, text]) =>
      [...text.matchAll(/`\s*(?:select (?!set_config)|insert|update|delete|with)[^`]*\n[^`]*`/g)].map(([sql]) =>
        `${name}: ${sql}`
      )
    )
    assert.deepStrictEqual(long, [])
  })
})
