/**
 * The entry of the watchdog thread of `NodeLoopMonitor`. It is plain Node and not Effect: it starts in 20 ms, needs 4 MB
 * less, and must run when nothing else does.
 *
 * The main thread writes a heartbeat. When that is late, the watchdog reads the main thread's stack, and reports once the
 * heart beats again. A block that goes on is told on stderr while it lasts: the main thread could not.
 */
import { write } from "node:fs"
import { hrtime } from "node:process"
import { setTimeout } from "node:timers"
import { parentPort, workerData } from "node:worker_threads"
import { StackReader } from "./StackReader.ts"

/** What the main thread hands over. */
export interface WatchdogData {
  /** Heartbeat: whole milliseconds of `hrtime`, modulo 2^31. */
  readonly beat: SharedArrayBuffer
  readonly thresholdMillis: number
  readonly ongoingMillis: number
  readonly isStackWanted: boolean
}

/** What the watchdog reports. */
export interface WatchdogReport {
  readonly blockedMillis: number
  readonly stack: ReadonlyArray<string>
}

/** Reading a stack holds the main thread for 20 ms (the first one for 100 ms): a loop that blocks all the time is not slowed further. */
const stackIntervalMillis = 1000
const stderr = 2
/** The part of the threshold from which a late heart is looked after: at the threshold the next look may come too late. */
const suspicion = 0.6

/** A stretch in which the heart does not beat. */
interface Block {
  /** The beat before it. */
  readonly beat: number
  stack: ReadonlyArray<string>
  nextTellMillis: number
}

const watch = (data: WatchdogData): void => {
  const beat = new Int32Array(data.beat)
  const pollMillis = Math.max(5, data.thresholdMillis / 4)
  const reader = new StackReader(data.thresholdMillis)
  let block: Block | undefined
  let lastStackMillis: number | undefined
  let lastPollMillis = nowMillis()

  const readStack = (of: Block, now: number) => {
    if (!data.isStackWanted || of.stack.length > 0 || reader.isReading) return
    if (lastStackMillis !== undefined && elapsed(lastStackMillis, now) < stackIntervalMillis) return
    lastStackMillis = now
    reader.read(() => block === of && Atomics.load(beat, 0) === of.beat, (stack) => {
      of.stack = stack
    })
  }

  const poll = () => {
    // Before the time: a beat in between must not seem to be from the future.
    const last = Atomics.load(beat, 0)
    const now = nowMillis()
    const isSuspended = elapsed(lastPollMillis, now) > data.thresholdMillis + pollMillis
    lastPollMillis = now
    if (block !== undefined && last !== block.beat) {
      const report: WatchdogReport = { blockedMillis: elapsed(block.beat, last), stack: block.stack }
      block = undefined
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has no origin
      if (report.blockedMillis > data.thresholdMillis) parentPort?.postMessage(report)
    }
    // A process that was stopped as a whole (SIGSTOP, a sleeping laptop) was late here too: its loop was not blocked.
    if (block === undefined && !isSuspended && elapsed(last, now) > data.thresholdMillis * suspicion) {
      block = { beat: last, stack: [], nextTellMillis: data.ongoingMillis }
    }
    if (block !== undefined && elapsed(block.beat, now) > data.thresholdMillis) {
      readStack(block, now)
      tell(block, elapsed(block.beat, now))
    }
    setTimeout(poll, pollMillis)
  }
  poll()
}

/** After 5 s, 10 s, 20 s, ...: a loop that never ends must not fill the log either. */
const tell = (block: Block, lastedMillis: number): void => {
  if (lastedMillis < block.nextTellMillis) return
  block.nextTellMillis *= 2
  const where = block.stack.length === 0
    ? ", in a native call or unknown\n"
    : `\n${block.stack.map((frame) => `    at ${frame}\n`).join("")}`
  // process.stderr of a thread goes through the main thread, which does not run.
  write(stderr, `event loop blocked for ${Math.round(lastedMillis)} ms and still blocked${where}`, () => {})
}

/** The heartbeat has 31 bits and begins anew every 24 days. */
const elapsed = (fromMillis: number, toMillis: number): number => (toMillis - fromMillis) & 0x7fffffff

const nowMillis = (): number => Number((hrtime.bigint() / 1_000_000n) & 0x7fffffffn)

watch(workerData)
