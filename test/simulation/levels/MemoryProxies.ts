/** The services of a memory store as a process has them that is not the store: every member is a call through the network. */
import { Context, Effect, Exit, Layer, Queue, type Scope, Stream } from "effect"
import { Frontier, FrontierError, type Run } from "../../../src/services/fetch/Frontier.ts"
import { FetchKeys, FetchKeysError } from "../../../src/services/http/FetchKeys.ts"
import * as JobAdmin from "../../../src/services/jobs/JobAdmin.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import * as JobQueue from "../../../src/services/jobs/JobQueue.ts"
import { JobRecords, JobStore, type Signal } from "../../../src/services/jobs/JobStore.ts"
import { Catalog } from "../../../src/services/orders/Catalog.ts"
import { Ledger } from "../../../src/services/orders/Ledger.ts"
import { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import { OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"
import type { Calls } from "../kernel/Calls.ts"
import type { Process } from "../kernel/Process.ts"
import { EffectTable, type FetchServices, type JobServices, type ShopServices } from "./Level.ts"
import { Lasting, type MemoryStore, type Session } from "./MemoryStore.ts"

/** The transaction that this fiber is in. */
const Current = Context.Reference<Session | undefined>("test/simulation/CurrentSession", {
  defaultValue: () => undefined
})

/** A call without an answer is given up after so long, as the Postgres layers do. */
const patience = "10 seconds"

const jobLost = (operation: string) => (detail: string) =>
  new JobQueueError({ operation, reason: "Unavailable", detail })

const asking = (calls: Calls) => (operation: string) => <A, E>(what: Effect.Effect<A, E>) =>
  calls.call(operation, what, jobLost(operation)).pipe(
    Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(jobLost(operation)("no answer")) })
  )

/** Opens something over there that is left when this scope closes; and when this process is killed, if `isMissed`. */
const lasting = <A, E>(
  store: MemoryStore,
  calls: Calls,
  isMissed: boolean,
  open: (lasting: Lasting) => Effect.Effect<A, E>
): Effect.Effect<A, E, Scope.Scope> =>
  Effect.gen(function*() {
    const lasting = new Lasting()
    const close = () => store.process.run(lasting.close)
    const forget = isMissed ? calls.onHangUp(close) : () => {}
    // Before it is opened: its answer may get lost.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        forget()
        calls.tell(close)
      })
    )
    return yield* open(lasting)
  })

/** Runs the effect in a session of its own, which is kept when it succeeds and undone otherwise. */
const inSession = <A, E, R>(
  calls: Calls,
  begin: Effect.Effect<Session, JobQueueError>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | JobQueueError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const session = yield* restore(begin)
      const forget = calls.onHangUp(() => session.undo())
      // A lock is free before its holder says that it has failed.
      const undone = Effect.callback<void>((resume) =>
        calls.tell(() => {
          session.onEnd(() => calls.hearFrom(() => resume(Effect.void)))
          session.undo()
        })
      )
      const exit = yield* Effect.exit(restore(Effect.provideService(effect, Current, session)))
      if (Exit.isFailure(exit)) yield* undone
      else yield* Effect.onError(restore(asking(calls)("commit")(session.commit)), () => undone)
      forget()
      return yield* exit
    })
  )

const jobStore = (store: MemoryStore, calls: Calls): JobStore["Service"] => {
  const base = Context.get(store.services, JobStore)
  const ask = asking(calls)
  /** In the transaction when there is one, else by itself. */
  const here = <A, E>(operation: string, what: Effect.Effect<A, E>) =>
    Effect.flatMap(
      Effect.service(Current),
      (session) => ask(operation)(session === undefined ? what : session.do(what))
    )

  return JobStore.of({
    insert: (jobs) => here("insert", base.insert(jobs)),
    offer: (job) => here("offer", base.offer(job)),
    insertFlow: (jobs) => here("insert", base.insertFlow(jobs)),
    settleAll: (worker, settlements) => here("settle", base.settleAll(worker, settlements)),
    transact: (effect, limits) =>
      Effect.flatMap(
        Effect.service(Current),
        (outer) => outer === undefined ? inSession(calls, ask("begin")(store.begin(limits)), effect) : effect
      ),
    claim: (worker, nth, queues) => ask("claim")(base.claim(worker, nth, queues)),
    settle: (worker, settlements) => ask("settle")(base.settle(worker, settlements)),
    report: (worker, reports) => ask("report")(base.report(worker, reports)),
    giveBackUnknown: (worker, nth, known) => ask("give back")(base.giveBackUnknown(worker, nth, known)),
    tick: (worker, entries) => ask("tick")(base.tick(worker, entries)),
    join: (options) =>
      Effect.gen(function*() {
        // Who is killed does not leave: the others miss it by its heartbeat.
        const member = yield* lasting(store, calls, false, (kept) => ask("join")(kept.open(base.join(options))))
        const signals = yield* Queue.sliding<Signal>(1024)
        const pump = Effect.forever(
          Effect.map(Queue.take(member.signals), (signal) => calls.hearFrom(() => Queue.offerUnsafe(signals, signal)))
        )
        calls.tell(() => store.process.run(pump))
        return {
          worker: member.worker,
          signals,
          idle: (isIdle) => ask("idle")(member.idle(isIdle)),
          beat: ask("beat")(member.beat),
          tend: (lost, isDue) => ask("tend")(member.tend(lost, isDue))
        }
      })
  })
}

const jobRecords = (store: MemoryStore, calls: Calls): JobRecords["Service"] => {
  const base = Context.get(store.services, JobRecords)
  const ask = asking(calls)
  return JobRecords.of({
    find: (id) => ask("find")(base.find(id)),
    // A process of its own is not told what others do: it looks now and then.
    mayHaveEnded: () => Effect.sleep("50 millis"),
    list: (filter) => ask("list")(base.list(filter)),
    stats: ask("stats")(base.stats),
    stuck: ask("stuck")(base.stuck),
    cancel: (id) => ask("cancel")(base.cancel(id)),
    configure: (queue, settings) => ask("configure")(base.configure(queue, settings)),
    preview: (filter) => ask("preview")(base.preview(filter)),
    redrive: (filter, rate) => ask("redrive")(base.redrive(filter, rate)),
    previewChange: (filter, change) => ask("preview")(base.previewChange(filter, change)),
    change: (filter, change) => ask("change")(base.change(filter, change)),
    children: (parent) => ask("children")(base.children(parent)),
    ended: (cursor) => ask("ended")(base.ended(cursor))
  })
}

const effectTable = (store: MemoryStore, calls: Calls): EffectTable["Service"] =>
  EffectTable.of({
    write: (rows, shelves = []) =>
      Effect.flatMap(Effect.service(Current), (session) =>
        asking(calls)("effects")(
          session === undefined
            ? Effect.sync(() => {
              store.effects.push(...rows)
              store.shelved += shelves.length
            })
            : session.do(Effect.map(store.waitForOthers, () => {
              session.effects.push(...rows)
              session.shelves.push(...shelves)
            }))
        ))
  })

/** The job wing, and the scene's own table. */
export const jobs = (store: MemoryStore, process: Process): Layer.Layer<JobServices | EffectTable> => {
  const calls = store.callsOf(process)
  return Layer.mergeAll(JobQueue.layer, JobAdmin.layer, Layer.succeed(EffectTable, effectTable(store, calls))).pipe(
    Layer.provideMerge(Layer.mergeAll(
      Layer.succeed(JobStore, jobStore(store, calls)),
      Layer.succeed(JobRecords, jobRecords(store, calls))
    ))
  )
}

/** The orders wing. What of it a handler calls is not in the handler's transaction: the memory layers have none in common. */
export const shop = (store: MemoryStore, process: Process): Layer.Layer<JobServices | ShopServices> => {
  const calls = store.callsOf(process)
  const ask = (operation: string) => <A, E>(what: Effect.Effect<A, E>) => {
    const lost = (cause: string) => new OrdersStoreError({ operation, reason: "Unavailable", cause })
    return calls.call(operation, what, lost).pipe(
      Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(lost("no answer")) })
    )
  }
  const orders = Context.get(store.services, Orders)
  const ledger = Context.get(store.services, Ledger)
  const catalog = Context.get(store.services, Catalog)
  const processor = Context.get(store.services, OrderProcessor)
  return Layer.mergeAll(
    jobs(store, process),
    Layer.succeed(Orders, {
      accept: (key, request, requestId) => ask("accept")(orders.accept(key, request, requestId)),
      find: (id) => ask("find")(orders.find(id)),
      list: (filter) => ask("list")(orders.list(filter)),
      cancel: (id, options) => ask("cancel")(orders.cancel(id, options)),
      events: (id, afterVersion) => Stream.unwrap(ask("events")(Effect.succeed(orders.events(id, afterVersion)))),
      count: ask("count")(orders.count)
    }),
    Layer.succeed(Ledger, {
      open: (accounts) => ask("open")(ledger.open(accounts)),
      find: (id) => ask("find")(ledger.find(id)),
      entries: (account, page) => ask("entries")(ledger.entries(account, page)),
      transfer: (key, request) => ask("transfer")(ledger.transfer(key, request)),
      resolve: (id, resolution) => ask("resolve")(ledger.resolve(id, resolution)),
      expireDue: ask("expire")(ledger.expireDue),
      audit: ask("audit")(ledger.audit)
    }),
    Layer.succeed(Catalog, {
      put: (products) => ask("put")(catalog.put(products)),
      find: (sku) => ask("find")(catalog.find(sku)),
      list: (page) => ask("list")(catalog.list(page)),
      restock: (sku, units) => ask("restock")(catalog.restock(sku, units)),
      adjust: (key, sku, units) => ask("adjust")(catalog.adjust(key, sku, units))
    }),
    Layer.succeed(OrderProcessor, {
      settle: (ids) => ask("settle")(processor.settle(ids)),
      ship: (ids) => ask("ship")(processor.ship(ids)),
      beginCharge: (id) => ask("begin charge")(processor.beginCharge(id)),
      endCharge: (id, answer) => ask("end charge")(processor.endCharge(id, answer))
    })
  )
}

/** The frontier. A run is open until its process leaves it, or is killed. */
export const fetches = (store: MemoryStore, process: Process): Layer.Layer<FetchServices> => {
  const calls = store.callsOf(process)
  const frontier = Context.get(store.services, Frontier)
  const keys = Context.get(store.services, FetchKeys)
  const ask = (operation: string) => <A, E>(what: Effect.Effect<A, E>) =>
    calls.call(operation, what, (cause) => new FrontierError({ operation, reason: "Unavailable", cause }))
  const runOf = (run: Run): Run => ({
    name: run.name,
    notes: run.notes,
    add: (targets) => ask("add")(run.add(targets)),
    seal: ask("seal")(run.seal),
    source: {
      pull: (demand) =>
        Effect.map(
          ask("pull")(run.source.pull(demand)),
          (supply) => supply._tag === "Wait" ? { _tag: "Wait", wake: Effect.ignore(ask("wake")(supply.wake)) } : supply
        )
    },
    settle: (fetched) => ask("settle")(run.settle(fetched)),
    counts: ask("counts")(run.counts)
  })
  const keyed = (operation: string) => <A, E>(what: Effect.Effect<A, E>) =>
    calls.call(operation, what, (cause) => new FetchKeysError({ operation, reason: "Unavailable", cause }))
  return Layer.merge(
    Layer.succeed(Frontier, {
      open: (name, options) =>
        Effect.map(
          lasting(store, calls, true, (kept) => ask("open")(kept.open(frontier.open(name, options)))),
          runOf
        ),
      runs: (query) => ask("runs")(frontier.runs(query)),
      find: (name) => ask("find")(frontier.find(name)),
      notes: (name) => ask("notes")(frontier.notes(name)),
      unknown: (name, targets) => ask("unknown")(frontier.unknown(name, targets)),
      tags: (name) => ask("tags")(frontier.tags(name)),
      outcomes: (name, filter) => frontier.outcomes(name, filter),
      remove: (name, options) => ask("remove")(frontier.remove(name, options))
    }),
    Layer.succeed(FetchKeys, {
      begin: (request) => keyed("begin")(keys.begin(request)),
      finish: (claim, answer) => keyed("finish")(keys.finish(claim, answer)),
      release: (claim) => keyed("release")(keys.release(claim))
    })
  )
}
