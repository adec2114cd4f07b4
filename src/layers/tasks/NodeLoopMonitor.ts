import { Clock, Context, Duration, Effect, Layer, PubSub, type Scope, Stream } from "effect"
import * as Inspector from "node:inspector"
import { hrtime } from "node:process"
import * as Url from "node:url"
import { Worker } from "node:worker_threads"
import { period } from "../../services/tasks/InvalidOption.ts"
import { LoopBlocked, LoopMonitor } from "../../services/tasks/LoopMonitor.ts"
import type { WatchdogData, WatchdogReport } from "./loopWatchdog.ts"

/** When to report, and what. */
export interface Options {
  /**
   * A loop that stands still for longer is reported. The heart beats every quarter of it, so that some shorter ones, from
   * three quarters of it, are reported too.
   *
   * @default "100 millis"
   */
  readonly threshold?: Duration.Input | undefined
  /**
   * Whether to read the stack that blocks: at most once in a second, because it holds the main thread for some 20 ms more
   * (100 ms the first time).
   *
   * @default true, unless a debugger is attached
   */
  readonly stack?: boolean | undefined
  /**
   * A block that has not ended after so long is told on stderr, by the watchdog's own thread; again whenever it has lasted
   * twice as long. Infinity: never.
   *
   * @default "5 seconds"
   */
  readonly ongoing?: Duration.Input | undefined
  /**
   * Whether to log each blockage as a warning.
   *
   * @default true
   */
  readonly log?: boolean | undefined
}

const recentMax = 32
const watchdogUrl = new URL(
  import.meta.url.endsWith(".ts") ? "./loopWatchdog.ts" : "./loopWatchdog.js",
  import.meta.url
)

/**
 * Watches the event loop of this thread with a thread of its own: a heartbeat every quarter of the threshold, and the
 * inspector when it is late. Cheap enough to be always on; see docs/benchmarks.md.
 */
export const layer = (options?: Options): Layer.Layer<LoopMonitor> => Layer.effect(LoopMonitor, make(options))

const make = Effect.fnUntraced(function*(
  options: Options | undefined
): Effect.fn.Return<LoopMonitor["Service"], never, Scope.Scope> {
  const thresholdMillis = Duration.toMillis(period("NodeLoopMonitor threshold", options?.threshold ?? "100 millis"))
  const ongoingMillis = Duration.toMillis(period("NodeLoopMonitor ongoing", options?.ongoing ?? "5 seconds"))
  // A real clock also where a test turns another one: what is watched is the real loop.
  const clock = Context.get(Context.empty(), Clock.Clock)
  const shared = new SharedArrayBuffer(4)
  const beat = new Int32Array(shared)
  const tick = Effect.sync(() => {
    Atomics.store(beat, 0, Number((hrtime.bigint() / 1_000_000n) & 0x7fffffffn))
  })
  // Who subscribes late misses what was; who is slow misses the oldest.
  const hub = yield* PubSub.sliding<LoopBlocked>(recentMax)
  const recent: Array<LoopBlocked> = []

  const onReport = (report: WatchdogReport): void => {
    const event = new LoopBlocked({ ...report, atMillis: clock.currentTimeMillisUnsafe() - report.blockedMillis })
    if (recent.push(event) > recentMax) recent.shift()
    PubSub.publishUnsafe(hub, event)
  }

  yield* tick
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(clock.sleep(Duration.millis(thresholdMillis / 4)), tick)))
  const data: WatchdogData = {
    beat: shared,
    thresholdMillis,
    ongoingMillis,
    isStackWanted: options?.stack ?? Inspector.url() === undefined
  }
  yield* watchdog(data, onReport)
  if (options?.log !== false) {
    const events = yield* PubSub.subscribe(hub)
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(PubSub.take(events), (event) => Effect.logWarning(String(event))))
    )
  }
  return LoopMonitor.of({ blocked: Stream.fromPubSub(hub), recent: Effect.sync(() => [...recent]) })
})

const watchdog = (data: WatchdogData, onReport: (report: WatchdogReport) => void) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const worker = new Worker(Url.fileURLToPath(watchdogUrl), { workerData: data, stdin: false })
      worker.on("message", onReport)
      // The watchdog alone must not keep a process that has nothing left to do.
      worker.unref()
      return worker
    }),
    (worker) => Effect.promise(() => worker.terminate())
  )
