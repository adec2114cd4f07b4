import { Context, Effect, Exit, Layer, Option, type Result, Scope } from "effect"
import * as JobWorkerLayer from "../../layers/jobs/worker/Worker.ts"
import type { JobId } from "../../services/jobs/Job.ts"
import * as JobCron from "../../services/jobs/JobCron.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import type { CronEntry, JobStore } from "../../services/jobs/JobStore.ts"
import { JobWorker } from "../../services/jobs/JobWorker.ts"
import { BoundedMap } from "../../services/tasks/BoundedMap.ts"
import type {
  Abortable,
  EnqueueOptions,
  Handler,
  HandlerOptions,
  Handlers,
  Jobs,
  KindName,
  Worker,
  WorkOptions
} from "./Face.ts"
import { SluiceClosed } from "./Failures.ts"
import { handlerOf, jsonOf, kindOf } from "./Handling.ts"
import type { Runner } from "./Runner.ts"

/** Where the workers of one Sluice live: they end before what they stand on. */
export class WorkerScope extends Context.Service<WorkerScope, Scope.Scope>()("sluice/programs/promise/WorkerScope") {}

/** What jobs need. */
export type Services = JobQueue | JobStore | WorkerScope

/** Compiling the codec of a kind costs more than using it. */
const kindsMax = 1_000

/** The options that were given: the services know no `undefined`. */
const given = <O extends Readonly<Record<string, unknown>>>(
  options: O
): { [K in keyof O]?: Exclude<O[K], undefined> } => {
  const out: { [K in keyof O]?: Exclude<O[K], undefined> } = {}
  for (const key of Object.keys(options) as ReadonlyArray<keyof O>) {
    const value = options[key]
    // Each value is its own key's: a loop over keys cannot say so.
    if (value !== undefined) out[key] = value as Exclude<O[typeof key], undefined>
  }
  return out
}

export class PromiseJobs<K> implements Jobs<K> {
  private readonly runner: Runner<Services>
  private readonly kinds = new BoundedMap<string, ReturnType<typeof kindOf>>(kindsMax)

  constructor(runner: Runner<Services>) {
    this.runner = runner
  }

  readonly enqueue = async <N extends KindName<K>>(
    kind: N,
    payload: K[N],
    options?: EnqueueOptions
  ): Promise<string> => {
    const [id = ""] = await this.enqueueMany(kind, [payload], options)
    return id
  }

  readonly enqueueMany = <N extends KindName<K>>(
    kind: N,
    payloads: ReadonlyArray<K[N]>,
    options: EnqueueOptions = {}
  ): Promise<ReadonlyArray<string>> => {
    const { delayMillis, key, keyConcurrency, maxAttempts, priority, queue, runAt, signal, unique } = options
    const enqueueing = given({ delay: delayMillis, key, maxAttempts, priority, runAt, unique })
    return this.runner.run(
      Effect.flatMap(
        JobQueue,
        (jobs) => jobs.enqueueMany(this.kind(kind, queue, keyConcurrency), payloads.map(jsonOf), enqueueing)
      ),
      signal
    )
  }

  readonly find = (id: string, options?: Abortable) =>
    this.runner.run(
      Effect.flatMap(JobQueue, (jobs) => Effect.map(jobs.find(idOf(id)), Option.getOrUndefined)),
      options?.signal
    )

  readonly ended = (id: string, options?: Abortable) =>
    this.runner.run(Effect.flatMap(JobQueue, (jobs) => jobs.ended(idOf(id))), options?.signal)

  readonly cancel = (id: string, options?: Abortable) =>
    this.runner.run(Effect.flatMap(JobQueue, (jobs) => jobs.cancel(idOf(id))), options?.signal)

  readonly work = async (handlers: Handlers<K>, options: WorkOptions<K> = {}): Promise<Worker> => {
    const { run } = this.runner
    const { scope, worker } = await run(this.start(handlers, options), options.signal)
    const end = async (): Promise<void> => {
      options.signal?.removeEventListener("abort", stop)
      try {
        await run(Scope.close(scope, Exit.void))
      } catch (error) {
        if (!(error instanceof SluiceClosed)) throw error
        // Then it stops with everything else.
        await this.runner.close()
      }
    }
    let ended: Promise<void> | undefined
    const stop = (): Promise<void> => ended ??= end()
    options.signal?.addEventListener("abort", stop, { once: true })
    return { stop, idle: (options) => run(worker.idle, options?.signal), [Symbol.asyncDispose]: stop }
  }

  private start(handlers: Handlers<K>, options: WorkOptions<K>) {
    return Effect.gen({ self: this }, function*() {
      const named: ReadonlyArray<readonly [string, Handler<never> | HandlerOptions<never> | undefined]> = Object
        .entries(handlers)
      const { concurrency, drainMillis, label, leaseMillis, pollMillis } = options
      const crons = yield* Effect.forEach(options.crons ?? [], (cron) => this.cron(cron))
      const layer = JobWorkerLayer.layer(
        named.flatMap(([name, handler]) => handler === undefined ? [] : [handlerOf(name, handler)]),
        { ...given({ concurrency, label, drainGrace: drainMillis, lease: leaseMillis, poll: pollMillis }), crons }
      )
      const scope = yield* Effect.flatMap(WorkerScope, (workers) => Scope.fork(workers))
      const built = yield* Layer.buildWithScope(layer, scope).pipe(
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
      return { scope, worker: Context.get(built, JobWorker) }
    })
  }

  private cron({ at, kind, name, payload, timeZone }: NonNullable<WorkOptions<K>["crons"]>[number]) {
    return Effect.suspend((): Effect.Effect<CronEntry, JobCronFailure> =>
      Effect.fromResult(JobCron.make(name, at, this.kind(kind), jsonOf(payload), given({ timeZone })))
    )
  }

  private kind(name: string, queue?: string, keyConcurrency?: number): ReturnType<typeof kindOf> {
    const place = JSON.stringify([name, queue, keyConcurrency])
    const kind = this.kinds.get(place) ?? kindOf(name, { queue, keyConcurrency })
    if (!this.kinds.has(place)) this.kinds.set(place, kind)
    return kind
  }
}

type JobCronFailure = Result.Result.Failure<ReturnType<typeof JobCron.make>>

/** A text that is no id belongs to no job, and the queue says so itself. */
const idOf = (id: string): JobId => id as JobId
