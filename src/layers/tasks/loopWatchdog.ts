/**
 * The entry of the watchdog thread of `NodeLoopMonitor`. It is plain Node and not Effect: it starts in 20 ms, needs 4 MB
 * less, and must run when nothing else does.
 *
 * The main thread writes a heartbeat; when that is late, the watchdog stops the main thread through the inspector for
 * as long as it takes to read its stack (V8 allows that in the middle of a loop), and reports once the heart beats again.
 */
import * as Inspector from "node:inspector"
import { hrtime } from "node:process"
import { setTimeout } from "node:timers"
import { parentPort, workerData } from "node:worker_threads"

/** What the main thread hands over. */
export interface WatchdogData {
  /** Heartbeat: whole milliseconds of `hrtime`, modulo 2^31. */
  readonly beat: SharedArrayBuffer
  readonly thresholdMillis: number
  readonly isStackWanted: boolean
}

/** What the watchdog reports. */
export interface WatchdogReport {
  readonly blockedMillis: number
  readonly stack: ReadonlyArray<string>
}

const framesMax = 32

/** Reading a stack holds the main thread for 20 ms (the first one for 100 ms): a loop that blocks all the time is not slowed further. */
const stackIntervalMillis = 1000

const watch = (data: WatchdogData): void => {
  const beat = new Int32Array(data.beat)
  const pollMillis = Math.max(5, data.thresholdMillis / 4)
  let stack: ReadonlyArray<string> | undefined
  let lateBeat = 0
  let lastStackMillis: number | undefined
  let lastPollMillis = nowMillis()

  const poll = () => {
    // Before the time: a beat in between must not seem to be from the future.
    const last = Atomics.load(beat, 0)
    const now = nowMillis()
    const isSuspended = elapsed(lastPollMillis, now) > data.thresholdMillis + pollMillis
    lastPollMillis = now
    if (stack !== undefined && last !== lateBeat) {
      const report: WatchdogReport = { blockedMillis: elapsed(lateBeat, last), stack }
      stack = undefined
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has no origin
      parentPort?.postMessage(report)
    }
    // A process that was stopped as a whole (SIGSTOP, a sleeping laptop) was late here too: its loop was not blocked.
    if (stack === undefined && !isSuspended && elapsed(last, now) > data.thresholdMillis) {
      lateBeat = last
      stack = []
      if (
        data.isStackWanted && (lastStackMillis === undefined || elapsed(lastStackMillis, now) > stackIntervalMillis)
      ) {
        lastStackMillis = now
        readStack((frames) => {
          // A loop that went on meanwhile was stopped in something else.
          if (stack !== undefined && Atomics.load(beat, 0) === lateBeat) stack = frames
        })
      }
    }
    setTimeout(poll, pollMillis)
  }
  poll()
}

/** The heartbeat has 31 bits and begins anew every 24 days. */
const elapsed = (fromMillis: number, toMillis: number): number => (toMillis - fromMillis) & 0x7fffffff

const nowMillis = (): number => Number((hrtime.bigint() / 1_000_000n) & 0x7fffffffn)

interface Frame {
  readonly functionName: string
  readonly url: string
  readonly location: {
    readonly scriptId: string
    readonly lineNumber: number
    readonly columnNumber?: number | undefined
  }
}

const readStack = (onStack: (frames: ReadonlyArray<string>) => void): void => {
  const session = new Inspector.Session()
  session.connectToMainThread()
  const urls = new Map<string, string>()
  session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url))
  session.once("Debugger.paused", (message) => {
    onStack(message.params.callFrames.slice(0, framesMax).map((frame) => render(frame, urls)))
    session.post("Debugger.resume", () => session.disconnect())
  })
  session.post("Debugger.enable", () => session.post("Debugger.pause"))
}

const render = (frame: Frame, urls: ReadonlyMap<string, string>): string => {
  const url = frame.url === "" ? urls.get(frame.location.scriptId) ?? "" : frame.url
  const name = frame.functionName === "" ? "(anonymous)" : frame.functionName
  return `${name} (${url}:${frame.location.lineNumber + 1}:${(frame.location.columnNumber ?? 0) + 1})`
}

watch(workerData)
