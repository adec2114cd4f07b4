/**
 * The schema broken on purpose, one line at a time: each must be found within so many seeds. One that is not found is an invariant that
 * is missing.
 */
import { Schema } from "effect"
import type { Checker } from "../levels/PgliteInspection.ts"

export interface Mutant {
  readonly name: string
  readonly scene: "jobs" | "orders" | "fetch"
  /** The function, and what of it is replaced. */
  readonly of: string
  readonly from: string
  readonly to: string
  /** It is found within so many seeds, from the first. */
  readonly seeds: number
}

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "a claim is carried out although its worker is lost",
    scene: "jobs",
    of: "job_claim",
    from: "if not found then return; end if;",
    to: "",
    seeds: 60
  },
  {
    name: "what an unanswered claim took is not given back",
    scene: "jobs",
    of: "job_give_back",
    from: "and not (j.id = any (known))",
    to: "and false",
    seeds: 60
  },
  {
    name: "silent workers are never declared dead",
    scene: "jobs",
    of: "job_beat",
    from: "set lost_at = clock_timestamp(), idle = false",
    to: "set idle = false",
    seeds: 20
  },
  {
    name: "the jobs of a lost worker are ended and not taken back",
    scene: "jobs",
    of: "job_recover",
    from: "then 'dead' else 'ready' end as becomes",
    to: "then 'dead' else 'cancelled' end as becomes",
    seeds: 20
  },
  {
    name: "what is due is not made ready",
    scene: "jobs",
    of: "job_promote",
    from: "j.state = 'scheduled' and j.run_at <= now() order by",
    to: "false and j.state = 'scheduled' and j.run_at <= now() order by",
    seeds: 5
  },
  {
    name: "a key lets the next through before its turn",
    scene: "jobs",
    of: "job_fill",
    from: "exit when active >= candidate.key_limit;",
    to: "",
    seeds: 20
  },
  {
    name: "a key lets nobody through",
    scene: "jobs",
    of: "job_fill",
    from: "set state = 'ready' where j.id = candidate.id",
    to: "set state = 'blocked' where j.id = candidate.id",
    seeds: 5
  },
  {
    name: "a counter forgets what ran",
    scene: "jobs",
    of: "job_succeed",
    from: "queue, -count(*), count(*) from done",
    to: "queue, 0, count(*) from done",
    seeds: 5
  },
  {
    name: "a job of a key that is put off loses its place",
    scene: "jobs",
    of: "job_again",
    from: "worker = null,",
    to: "worker = null, fence = case when u.delay > 0 then null else j.fence end,",
    seeds: 60
  },
  {
    name: "an order is accepted without its job",
    scene: "orders",
    of: "order_accept",
    from: "perform sluice.job_add(queues, kinds, payloads, priorities, attempts);\n  return;",
    to: "return;",
    seeds: 5
  },
  {
    name: "a repeated key is not known",
    scene: "orders",
    of: "order_accept",
    from: "where not exists (select from sluice.orders o where o.id = u.id);",
    to: "where false;",
    seeds: 60
  },
  {
    name: "books are written for one side only",
    scene: "orders",
    of: "write_books",
    from: "set balance = a.balance + d.balance,",
    to: "set balance = a.balance + greatest(d.balance, 0),",
    seeds: 5
  },
  {
    name: "an outcome is taken from whoever brings it",
    scene: "fetch",
    of: "fetch_settle",
    from: "if not found then return; end if;",
    to: "",
    seeds: 60
  }
]

/** Breaks the schema; gives back how to mend it. */
export const apply = (server: Checker, { from, name, of, to }: Mutant): () => void => {
  const [row] = server.rows(
    Schema.Struct({ text: Schema.String }),
    `select pg_get_functiondef('sluice.${of}'::regproc) as text`
  )
  const text = row?.text ?? ""
  if (!text.includes(from)) throw new Error(`the mutant "${name}" no longer fits ${of}`)
  server.exec(text.replace(from, to))
  return () => server.exec(text)
}
