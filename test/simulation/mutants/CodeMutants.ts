/**
 * The code broken on purpose, one line at a time. Every module of the house is loaded anew for a mutant, with one text in it replaced:
 * `Suite.ts?mutant=3` imports only what is marked so as well.
 */
import { registerHooks } from "node:module"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import type * as Suite from "../Suite.ts"

export interface CodeMutant {
  readonly name: string
  readonly scene: "jobs" | "orders" | "fetch" | "api"
  readonly level: "memory" | "pglite"
  /** The name of the file, wherever it is; there is one of that name. */
  readonly file: string
  readonly from: string
  readonly to: string
  /** It is found within so many seeds, from the first. */
  readonly seeds: number
}

export const mutants: ReadonlyArray<CodeMutant> = [
  {
    name: "the settle is not in the handler's transaction",
    scene: "jobs",
    level: "memory",
    file: "Transactions.ts",
    from: ": Effect.flatMap(handled, (values) => this.settle(work, values)),",
    to: ": Effect.andThen(handled, Effect.forkDetach(this.settle(work, undefined))),",
    seeds: 20
  },
  {
    name: "a lost lease is found out, and the transaction kept",
    scene: "jobs",
    level: "pglite",
    file: "PostgresJobQueue.ts",
    from: "settled === settlements.length\n            ? Effect.void",
    to: "settled <= settlements.length\n            ? Effect.void",
    seeds: 100
  },
  {
    name: "what an unanswered claim took is forgotten",
    scene: "jobs",
    level: "memory",
    file: "ClaimPolicy.ts",
    from: "event._tag === \"Elapsed\" ? { _tag: \"Reconciling\", memory } : state",
    to: "event._tag === \"Elapsed\" ? look(memory) : state",
    seeds: 20
  },
  {
    name: "verdicts that could not be written are dropped",
    scene: "jobs",
    level: "memory",
    file: "Settler.ts",
    from: "if (error.reason === \"Unavailable\") return",
    to: "if (error.reason === \"Unavailable\") { this.batch = []; return }",
    seeds: 60
  },
  {
    name: "a verdict that could not be written at once makes its job dead",
    scene: "jobs",
    level: "memory",
    file: "Settler.ts",
    from: "if (error.reason === \"Unavailable\") return",
    to:
      "if (error.reason === \"Unavailable\") { this.batch = this.batch.map((one) => deadOf(one.job, 'lost')); return }",
    seeds: 60
  },
  {
    name: "a job of a key that is put off loses its place",
    scene: "jobs",
    level: "memory",
    file: "MemoryJobTable.ts",
    from: "row.state = runAt > now ? \"scheduled\" : \"ready\"",
    to:
      "row.state = runAt > now ? \"scheduled\" : \"ready\"; if (runAt > now) { row.fence = null; this.letThrough(row, now) }",
    seeds: 60
  },
  {
    name: "a claim is carried out although its worker is not there any more",
    scene: "jobs",
    level: "memory",
    file: "MemoryFleet.ts",
    from: "return member !== undefined && member.lostAt === undefined && member.sealed < nth",
    to: "return member === undefined || member.sealed < nth",
    seeds: 100
  },
  {
    name: "lost workers are forgotten before their jobs are free",
    scene: "jobs",
    level: "memory",
    file: "MemoryFleet.ts",
    from: "if (held === 0) this.members.delete(id)",
    to: "this.members.delete(id)",
    seeds: 100
  },
  {
    name: "what is enqueued is there twice, now and then",
    scene: "jobs",
    level: "memory",
    file: "MemoryJobQueue.ts",
    from: "MemoryEnqueue.store(table, job, reserved, millis)",
    to:
      "MemoryEnqueue.store(table, job, reserved, millis); if (millis % 20 === 0) table.add(table.nextId(), job, millis)",
    seeds: 10
  },
  {
    name: "a sleeping worker is not woken",
    scene: "jobs",
    level: "memory",
    file: "MemoryFleet.ts",
    from: "if (member.isIdle && member.options.queues.some((queue) => touched.has(queue))) {",
    to: "if (touched.size < 0) {",
    seeds: 5
  },
  {
    name: "a provider that does not answer has declined",
    scene: "orders",
    level: "memory",
    file: "OrderJobs.ts",
    from: "(yield* provider.charge(request).pipe(Effect.timeout(timeout)))",
    to:
      "(yield* provider.charge(request).pipe(Effect.timeout(timeout), Effect.orElseSucceed(() => \"declined\" as const)))",
    seeds: 10
  },
  {
    name: "each try of a charge has a key of its own",
    scene: "orders",
    level: "memory",
    file: "OrderJobs.ts",
    from: "const request = { key: order.id,",
    to: "const request = { key: `${order.id}-${globalThis.tries = (globalThis.tries ?? 0) + 1}`,",
    seeds: 5
  },
  {
    name: "an order is accepted, and its job is added when somebody has time",
    scene: "orders",
    level: "memory",
    file: "MemoryOrders.ts",
    from: "  }, Effect.uninterruptible)\n\n  const nextEvents",
    to: "  })\n\n  const nextEvents",
    seeds: 60
  },
  {
    name: "an order's key answers whatever is asked with it",
    scene: "api",
    level: "memory",
    file: "Order.ts",
    from: "    request.note ?? null\n",
    to: "    null\n",
    seeds: 5
  },
  {
    name: "a transfer's key answers whatever is asked with it",
    scene: "api",
    level: "pglite",
    file: "PostgresLedger.ts",
    from: "Transfer.canonical(Transfer.requestOf(known)) === Transfer.canonical(request)",
    to: "known.key.length > 0",
    seeds: 5
  },
  {
    name: "a transfer's key is forgotten",
    scene: "api",
    level: "memory",
    file: "MemoryLedger.ts",
    from: "const known = state.transfers.get(state.transferKeys.get(key) ?? \"\")",
    to: "const known = state.transfers.get(\"\")",
    seeds: 5
  },
  {
    name: "a full disk is a fault of ours",
    scene: "api",
    level: "pglite",
    file: "SqlFailure.ts",
    from: "\"53\": \"Unavailable\",",
    to: "\"53\": \"Rejected\",",
    seeds: 40
  },
  {
    name: "an account is answered as it was a while ago",
    scene: "api",
    level: "memory",
    file: "MemoryLedger.ts",
    from: "find: (id) => Effect.suspend(() => Effect.fromResult(accountOf(state, id))),",
    to:
      "find: (id) => Effect.tap(Effect.suspend(() => Effect.fromResult(accountOf(state, id))), Effect.sleep(\"300 millis\")).pipe((read) => { const kept = (Ledger as unknown as { kept?: Map<string, unknown> }); kept.kept ??= new Map(); return Effect.map(read, (now) => { const before = kept.kept!.get(id) as typeof now | undefined; kept.kept!.set(id, now); return before !== undefined && before.createdAt === now.createdAt ? before : now }) }),",
    seeds: 5
  },
  {
    name: "outcomes are told before they are recorded",
    scene: "fetch",
    level: "memory",
    file: "FetchRun.ts",
    from: "const recorded = yield* run.settle(",
    to: "yield* output.write(batch.map(({ outcome }) => outcome))\n    const recorded = yield* run.settle(",
    seeds: 30
  },
  {
    name: "each request has a gate of its own",
    scene: "fetch",
    level: "memory",
    file: "Hub.ts",
    from: "private readonly gates = new HostGates()",
    to: "private get gates() { return new HostGates() }",
    seeds: 5
  },
  {
    name: "what a host asked for is not kept with the run",
    scene: "fetch",
    level: "memory",
    file: "MemoryRun.ts",
    from: "for (const one of recorded) run.hosts.note(one, nowMillis)",
    to: "",
    seeds: 30
  },
  {
    name: "a process that may have lost its leases goes on with them",
    scene: "fetch",
    level: "pglite",
    file: "RunMembership.ts",
    from: "return isSure\n",
    to: "return true\n",
    seeds: 60
  },
  {
    name: "a run ends with the first trouble of its database",
    scene: "fetch",
    level: "pglite",
    file: "RunMembership.ts",
    from: "this.options.outage.through(operation, attempt),",
    to: "attempt(false),",
    seeds: 10
  },
  {
    name: "a host that asks for a rest gets none",
    scene: "fetch",
    level: "memory",
    file: "HostGate.ts",
    from: "if (askedMillis !== undefined) this.askedUntilMillis",
    to: "if (askedMillis === -1) this.askedUntilMillis",
    seeds: 10
  },
  {
    name: "what was leased by who left stays leased",
    scene: "fetch",
    level: "memory",
    file: "MemoryRun.ts",
    from: "if (entry.state !== \"leased\" || entry.lane.owner !== member) continue",
    to: "if (entry.state !== \"failed\" || entry.lane.owner !== member) continue",
    seeds: 10
  }
]

const mark = "mutant"

/** What is loaded anew; the kernel and the worlds are not, for they are the same for all. */
const isReloaded = (url: string): boolean =>
  /\/src\/.*\.ts$/.test(url) && !url.includes("node_modules") ||
  /\/test\/simulation\/(Suite|scenes\/\w+|levels\/(?!PgliteServer)\w+)\.ts$/.test(url)

const mutantOf = (url: string | undefined): CodeMutant | undefined => {
  const at = url === undefined || !url.startsWith("file:") ? null : new URL(url).searchParams.get(mark)
  return at === null ? undefined : mutants[Number(at)]
}

/** Which mutants have found their text. */
const applied = new Set<CodeMutant>()

/** Puts the mutants between the files and who imports them; gives back how to take them away. */
export const install = (): () => void => {
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      const mutant = mutantOf(context.parentURL)
      if (mutant === undefined || !isReloaded(found.url)) return found
      return { ...found, url: `${found.url}?${mark}=${mutants.indexOf(mutant)}` }
    },
    load: (url, context, next) => {
      const mutant = mutantOf(url)
      const loaded = next(url, context)
      if (mutant === undefined || basename(fileURLToPath(url)) !== mutant.file) return loaded
      const text = typeof loaded.source === "string"
        ? loaded.source
        : new TextDecoder().decode(loaded.source ?? undefined)
      if (text.split(mutant.from).length !== 2) {
        throw new Error(`the mutant "${mutant.name}" does not fit ${mutant.file}`)
      }
      applied.add(mutant)
      return { ...loaded, source: text.replace(mutant.from, () => mutant.to) }
    }
  })
  return () => hooks.deregister()
}

/** Every scene and level, over the code with this fault in it. */
export const load = async (mutant: CodeMutant): Promise<typeof Suite> => {
  const suite: typeof Suite = await import(`../Suite.ts?${mark}=${mutants.indexOf(mutant)}`)
  if (!applied.has(mutant)) throw new Error(`the mutant "${mutant.name}" names ${mutant.file}, which nothing imports`)
  return suite
}
