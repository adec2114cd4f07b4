/**
 * The job wing as it is (JobWorker, PostgresJobQueue, the client's pool and wire protocol, the SQL), three workers and a producer, under strikes. The
 * checker knows nothing of how it works: only what was accepted, and what became of it.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer, Logger, Schedule, Schema } from "effect"
import * as PostgresJobQueue from "../../src/layers/jobs/PostgresJobQueue.ts"
import * as Job from "../../src/services/jobs/Job.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import * as JobWorker from "../../src/services/jobs/JobWorker.ts"
import * as Client from "./Client.ts"
import type { PgliteServer } from "./PgliteServer.ts"
import type { Process } from "./Process.ts"
import type { Scene } from "./Scene.ts"
import type { World } from "./World.ts"

const options = {
  payload: Schema.Struct({ n: Schema.Int }),
  retry: Schedule.spaced("200 millis"),
  maxAttempts: 1000,
  timeout: "20 seconds"
} as const
const Effects = Job.make("sim.effects", options)
const Books = Job.make("sim.books", options)
const Keyed = Job.make("sim.keyed", options)
const Plain = Job.make("sim.plain", options)

class NotThisTime extends Schema.TaggedError<NotThisTime>()("NotThisTime", {}) {}

const handlersOf = ({ random }: Process, done: Map<number, number>) =>
  Effect.map(PgClient.PgClient, (sql) => {
    const pause = (rarely: number, millis: number) =>
      Effect.suspend(() => Effect.sleep(random.float() * (random.chance(rarely) ? millis : 20)))
    return [
      JobHandler.transactional(Effects, ({ n }) =>
        Effect.gen(function*() {
          yield* pause(0.1, 3000)
          if (random.chance(0.05)) return yield* new NotThisTime()
          return yield* Effect.asVoid(sql`insert into effects (n, kind) values (${n}, 'effects')`)
        }), { maxGroup: 4 }),
      JobHandler.batch(Books, (items) =>
        Effect.gen(function*() {
          yield* pause(0.2, 6000)
          for (const { payload } of items) {
            yield* sql`update books set v = v + 1 where id = ${payload.n % 3}`
            yield* sql`update books set v = v + 1 where id = ${(payload.n * 7 + 1) % 3}`
            yield* sql`insert into effects (n, kind) values (${payload.n}, 'books')`
          }
        }), { maxSize: 8, settle: "first" }),
      JobHandler.transactional(Keyed, ({ n }) =>
        Effect.gen(function*() {
          yield* pause(0.1, 3000)
          yield* sql`insert into effects (n, kind) values (${n}, 'keyed')`
          yield* sql`insert into effect_order (n, key) values (${n}, ${n % 4})`
        })),
      JobHandler.plain(Plain, ({ n }) =>
        Effect.gen(function*() {
          yield* pause(0.1, 3000)
          done.set(n, (done.get(n) ?? 0) + 1)
        }))
    ]
  })

/** Three workers, one producer. */
export const scene: Scene = {
  name: "jobs",
  slots: 3,
  tables: `
    create table effects (n int not null, kind text not null);
    create table effect_order (id bigint generated always as identity, n int not null, key int not null);
    create table books (id int primary key, v int not null);
    insert into books values (0, 0), (1, 0), (2, 0)`,
  empty: "truncate effects, effect_order restart identity; update books set v = 0",
  play: () => {
    const accepted: Accepted = { effects: new Set(), books: new Set(), keyed: new Set(), plain: new Set() }
    const done = new Map<number, number>()
    return {
      boot: (world, process) => work(world, process, done),
      begin: (world) => produce(world, accepted),
      accepted: () => Object.values(accepted).reduce((sum, set) => sum + set.size, 0),
      check: (server) => check(server, accepted, done)
    }
  }
}

type Accepted = Readonly<Record<"effects" | "books" | "keyed" | "plain", Set<number>>>

const work = (world: World, process: Process, done: Map<number, number>): void => {
  const worker = Layer.unwrap(
    Effect.map(
      handlersOf(process, done),
      (handlers) => JobWorker.layer(handlers, { concurrency: 4, transactions: 2, label: process.name })
    )
  ).pipe(
    Layer.provide(PostgresJobQueue.layer),
    Layer.provide(Client.layer(() => world.connect(process), process.name)),
    Layer.provideMerge(Logger.layer([]))
  )
  process.run(Effect.retry(Layer.launch(worker), Schedule.spaced("500 millis")))
}

/** Enqueues a few now and then; what is answered is accepted, what is not may or may not have happened. */
const produce = (world: World, accepted: Accepted): void => {
  const process = world.bystander("producer")
  const { random } = process
  const kinds = [["effects", Effects], ["books", Books], ["keyed", Keyed], ["plain", Plain]] as const
  let offered = 0
  const program = Effect.gen(function*() {
    const queue = yield* JobQueue
    while (world.kernel.nowMillis < world.endMillis) {
      const [name, kind] = random.pick(kinds)
      const payloads = Array.from({ length: 1 + random.below(5) }, () => ({ n: offered++ }))
      const enqueue = name === "keyed"
        ? Effect.forEach(payloads, (payload) => queue.enqueue(kind, payload, { key: `k${payload.n % 4}` }), {
          discard: true
        })
        : queue.enqueueMany(kind, payloads)
      yield* Effect.match(enqueue, {
        onFailure: () => undefined,
        onSuccess: () => {
          for (const { n } of payloads) accepted[name].add(n)
        }
      })
      yield* Effect.sleep(random.float() * 4000)
    }
  })
  process.run(program.pipe(
    Effect.provide(PostgresJobQueue.layer.pipe(
      Layer.provide(Client.layer(() => world.connect(process), "producer")),
      Layer.provideMerge(Logger.layer([]))
    ))
  ))
}

interface LiveJob {
  readonly id: string
  readonly kind: string
  readonly state: string
  readonly attempt: number
  readonly worker: number | null
  readonly is_member: boolean
}

const check = async (
  server: PgliteServer,
  accepted: Accepted,
  done: ReadonlyMap<number, number>
): Promise<Array<string>> => {
  const wrong: Array<string> = []
  const effects = await server.rows<{ readonly n: number; readonly count: number }>(
    "select n, count(*)::int as count from effects group by n"
  )
  const counts = new Map(effects.map(({ count, n }) => [n, count]))
  for (const [n, count] of counts) if (count !== 1) wrong.push(`the effect of job ${n} happened ${count} times`)
  for (const name of ["effects", "books", "keyed"] as const) {
    for (const n of accepted[name]) if (!counts.has(n)) wrong.push(`accepted job ${n} (${name}) had no effect`)
  }
  for (const n of accepted.plain) if (!done.has(n)) wrong.push(`accepted job ${n} (plain) was never run`)
  const live = await server.rows<LiveJob>(`select id::text, kind, state::text, attempt::int, worker,
    exists (select from sluice.job_worker w where w.id = j.worker) as is_member from sluice.job j order by id`)
  for (const { attempt, id, is_member, kind, state, worker } of live) {
    const where = worker === null ? "" : ` at worker ${worker}, which is ${is_member ? "" : "not "}there`
    wrong.push(`job ${id} (${kind}) is left in state ${state} after attempt ${attempt}${where}`)
  }
  const dead = await server.rows<{ readonly id: string; readonly error: string }>(
    "select id::text, error::text from sluice.job_dead order by id"
  )
  for (const { error, id } of dead) wrong.push(`job ${id} is dead: ${error}`)
  const [books] = await server.rows<{ readonly written: number; readonly due: number }>(`select
    (select sum(v)::int from books) as written, (select 2 * count(*)::int from effects where kind = 'books') as due`)
  if (books?.written !== books?.due) wrong.push(`the books say ${books?.written} and not ${books?.due}`)
  const counters = await server.rows<{ readonly queue: string; readonly running: number; readonly ended: number }>(`
    select queue, sum(running)::int as running, sum(succeeded + cancelled + dead)::int as ended from (
      select queue, running, succeeded, cancelled, dead from sluice.job_count
      union all select queue, running, succeeded, cancelled, dead from sluice.job_delta
    ) c group by queue order by queue`)
  for (const { queue, running } of counters) {
    const rows = live.filter((job) => job.state === "running").length
    if (running !== 0 && running !== rows) wrong.push(`the counter of ${queue} says that ${running} are running`)
  }
  const order = await server.rows<{ readonly n: number; readonly key: number }>(
    "select n, key from effect_order order by id"
  )
  const last = new Map<number, number>()
  for (const { key, n } of order) {
    if (n < (last.get(key) ?? -1)) wrong.push(`key ${key}: job ${n} ran after job ${last.get(key)}`)
    last.set(key, n)
  }
  return wrong
}
