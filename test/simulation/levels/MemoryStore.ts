/**
 * The memory layers of the house as a server of their own: a simulated process that never dies, whose clock is the store's, and which
 * others call through the network. A transaction is a session on it, as in a database: it ends with who began it.
 */
import { Context, Deferred, Effect, Exit, Fiber, Layer, Queue, Scope } from "effect"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import * as MemoryFetchKeys from "../../../src/layers/http/MemoryFetchKeys.ts"
import * as MemoryJobQueue from "../../../src/layers/jobs/MemoryJobQueue.ts"
import * as MemoryCatalog from "../../../src/layers/orders/MemoryCatalog.ts"
import * as MemoryLedger from "../../../src/layers/orders/MemoryLedger.ts"
import * as MemoryOrders from "../../../src/layers/orders/MemoryOrders.ts"
import * as OrdersStore from "../../../src/layers/orders/MemoryStore.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import { JobStore, type TransactionLimits } from "../../../src/services/jobs/JobStore.ts"
import { Calls, type Faults } from "../kernel/Calls.ts"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Network } from "../kernel/Network.ts"
import { Process } from "../kernel/Process.ts"
import type { Control, Effected, FetchServices, JobServices, ShopServices } from "./Level.ts"

const services = Layer.mergeAll(MemoryLedger.layer, MemoryCatalog.layer, MemoryOrders.layer).pipe(
  Layer.provideMerge(OrdersStore.layer),
  Layer.provideMerge(MemoryJobQueue.layerMemory),
  Layer.merge(MemoryFrontier.layer),
  Layer.merge(MemoryFetchKeys.layer)
)

export type Services = JobServices | ShopServices | FetchServices | OrdersStore.MemoryStore

const gone = (operation: string, detail: string) => new JobQueueError({ operation, reason: "Unavailable", detail })

/** One step of a transaction, done where the store is. */
interface Step {
  readonly what: Effect.Effect<void>
  readonly isLast: boolean
}

/** A transaction of somebody else's: its steps come one after the other, and it is undone when no more come. */
export class Session {
  readonly effects: Array<Effected> = []
  readonly shelves: Array<number> = []
  private readonly steps: Queue.Queue<Step>
  private readonly fiber: Fiber.Fiber<unknown, unknown>

  constructor(steps: Queue.Queue<Step>, fiber: Fiber.Fiber<unknown, unknown>) {
    this.steps = steps
    this.fiber = fiber
  }

  /** Does it inside of the transaction. */
  do<A, E>(what: Effect.Effect<A, E>): Effect.Effect<A, E | JobQueueError> {
    return Effect.flatMap(Deferred.make<A, E>(), (answer) =>
      Effect.andThen(
        Queue.offer(this.steps, { what: Effect.asVoid(Deferred.into(what, answer)), isLast: false }),
        this.orEnded(Deferred.await(answer))
      ))
  }

  get commit(): Effect.Effect<void, JobQueueError> {
    return Effect.andThen(
      Queue.offer(this.steps, { what: Effect.void, isLast: true }),
      Effect.flatMap(
        Fiber.await(this.fiber),
        (exit) => Exit.isSuccess(exit) ? Effect.void : Effect.fail(gone("commit", "the transaction was undone"))
      )
    )
  }

  undo(): void {
    this.fiber.interruptUnsafe()
  }

  /** When nothing of it is left, or all of it is kept. */
  onEnd(tell: () => void): void {
    this.fiber.addObserver(tell)
  }

  private orEnded<A, E>(answer: Effect.Effect<A, E>): Effect.Effect<A, E | JobQueueError> {
    const ended = Effect.andThen(Fiber.await(this.fiber), Effect.fail(gone("transact", "the transaction has ended")))
    return Effect.raceFirst(answer, ended)
  }
}

/** Something over there that lasts until its owner leaves it: also one that never learned that it was made. */
export class Lasting {
  private readonly scope = Scope.makeUnsafe()

  open<A, E>(what: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E> {
    return Scope.provide(what, this.scope)
  }

  get close(): Effect.Effect<void> {
    return Scope.close(this.scope, Exit.void)
  }
}

export class MemoryStore {
  readonly process: Process
  readonly services: Context.Context<Services>
  readonly effects: Array<Effected> = []
  shelved = 0
  calls = 0
  /** Looks at what is there, between two calls. */
  onCall: () => void = () => {}
  private readonly kernel: Kernel
  private readonly network: Network
  private readonly sessions = new Set<Session>()
  private readonly callers = new Set<Calls>()
  private readonly state = { breakage: { before: 0, after: 0 }, awayUntil: 0, troubledUntil: 0 }

  constructor(kernel: Kernel, network: Network) {
    this.kernel = kernel
    this.network = network
    this.process = new Process(kernel, "store")
    let built: Context.Context<Services> | undefined
    this.process.run(Effect.scoped(Effect.gen(function*() {
      built = yield* Layer.build(services)
      return yield* Effect.never
    })))
    kernel.runWhile(() => built === undefined, 1000)
    if (built === undefined) throw new Error("the memory layers did not come up")
    this.services = built
  }

  /** A process' way to it. */
  callsOf(process: Process): Calls {
    const { kernel, state } = this
    const random = process.random.fork()
    const faults: Faults = {
      get breakage() {
        return state.breakage
      },
      refusal: () => {
        this.calls++
        this.onCall()
        if (kernel.nowMillis < state.awayUntil) return "the store is away"
        return kernel.nowMillis < state.troubledUntil && random.chance(0.3) ? "the store is in trouble" : undefined
      }
    }
    const calls = new Calls(this.network, process, this.process, faults)
    this.callers.add(calls)
    process.onKill(() => this.callers.delete(calls))
    return calls
  }

  /** Begins a transaction; without a step for so long it is undone. To be run by the store's process. */
  begin(limits: TransactionLimits | undefined): Effect.Effect<Session> {
    const store = Context.get(this.services, JobStore)
    return Effect.gen({ self: this }, function*() {
      const steps = yield* Queue.unbounded<Step>()
      const idleMillis = limits === undefined || limits.idle === 0 ? 60_000 : limits.idle
      const work = Effect.gen(function*() {
        for (let isLast = false; !isLast;) {
          const step = yield* Effect.timeout(Queue.take(steps), idleMillis)
          // As in a database: who hangs up is missed when the statement under way has ended.
          yield* Effect.uninterruptible(step.what)
          isLast = step.isLast
        }
      })
      const fiber = yield* Effect.forkDetach(
        Effect.tap(store.transact(work), () => Effect.sync(() => this.keep(session)))
      )
      const session: Session = new Session(steps, fiber)
      this.sessions.add(session)
      fiber.addObserver(() => this.sessions.delete(session))
      return session
    })
  }

  /** A statement that wants what somebody else has locked, now and then. */
  get waitForOthers(): Effect.Effect<void> {
    const { random } = this.process
    return Effect.suspend(() => random.chance(0.05) ? Effect.sleep(random.float() * 9000) : Effect.void)
  }

  get control(): Control {
    const { kernel, state } = this
    return {
      restart: (millis) => {
        state.awayUntil = kernel.nowMillis + millis
        for (const session of this.sessions) this.process.enter(() => session.undo())
        for (const calls of this.callers) calls.breakAll("the store went away")
      },
      hang: (millis) => this.process.freeze(millis),
      trouble: (_, millis) => {
        state.troubledUntil = kernel.nowMillis + millis
      },
      breakage: (before, after) => {
        state.breakage = { before, after }
      },
      heal: () => {
        state.breakage = { before: 0, after: 0 }
        state.awayUntil = 0
        state.troubledUntil = 0
        this.process.thaw()
      }
    }
  }

  private keep(session: Session): void {
    this.effects.push(...session.effects)
    this.shelved += session.shelves.length
  }
}
