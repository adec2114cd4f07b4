import * as Inspector from "node:inspector"
import { hrtime } from "node:process"
import { setTimeout } from "node:timers"

interface Frame {
  readonly functionName: string
  readonly functionLocation?: Location | undefined
  readonly location: Location
  readonly url: string
}

interface Location {
  readonly scriptId: string
  readonly lineNumber: number
  readonly columnNumber?: number | undefined
}

const framesMax = 32
/** How soon a loop of JavaScript is stopped, and how long it must then go on to be the one that blocks. */
const promptMillis = 50
const proofMillis = 10

/**
 * Reads from another thread what the main thread runs, through the inspector: V8 stops JavaScript for that in the middle of
 * a loop, for as long as it takes to read the stack. (Plain Node, for `loopWatchdog`.)
 *
 * A native call is not stopped: what is stopped is whatever comes after it, which is innocent. So the stack is read twice, and
 * only what is on both counts: it has blocked in between. Where the first came late, the second comes later too.
 */
export class StackReader {
  isReading = false
  private readonly lateMillis: number

  constructor(lateMillis: number) {
    this.lateMillis = lateMillis
  }

  /** Calls back with what blocks, innermost first; not at all when it is not still blocked, or cannot be told. */
  read(isStillBlocked: () => boolean, onStack: (frames: ReadonlyArray<string>) => void): void {
    this.isReading = true
    const session = new Inspector.Session()
    const urls = new Map<string, string>()
    const startedMillis = nowMillis()
    let first: ReadonlyArray<Frame> | undefined
    const end = () => {
      session.disconnect()
      this.isReading = false
    }
    const next = () => {
      if (isStillBlocked()) session.post("Debugger.pause")
      else end()
    }
    session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url))
    session.on("Debugger.paused", ({ params }) => {
      const isBlocked = isStillBlocked()
      const isSecond = first !== undefined
      const shared = isBlocked && first !== undefined ? sharedFrames(first, params.callFrames) : []
      first = params.callFrames
      session.post("Debugger.resume", () => {
        if (isSecond || !isBlocked) return end()
        const isPrompt = nowMillis() - startedMillis < promptMillis
        setTimeout(next, isPrompt ? proofMillis : this.lateMillis)
      })
      const stack = shared.slice(0, framesMax).map((frame) => render(frame, urls))
      // Node's own timers and queues are on every stack: alone they say nothing.
      if (stack.some((frame) => !frame.includes("(node:"))) onStack(stack)
    })
    session.connectToMainThread()
    session.post("Debugger.enable", next)
  }
}

const nowMillis = (): number => Number(hrtime.bigint() / 1_000_000n)

/** The outer frames that are in both; they are given innermost first. */
const sharedFrames = (first: ReadonlyArray<Frame>, second: ReadonlyArray<Frame>): ReadonlyArray<Frame> => {
  let count = 0
  while (isSameFunction(first.at(-1 - count), second.at(-1 - count))) count++
  return second.slice(second.length - count)
}

const isSameFunction = (a: Frame | undefined, b: Frame | undefined): boolean =>
  a !== undefined && b !== undefined && a.functionName === b.functionName &&
  a.location.scriptId === b.location.scriptId &&
  a.functionLocation?.lineNumber === b.functionLocation?.lineNumber &&
  a.functionLocation?.columnNumber === b.functionLocation?.columnNumber

const render = (frame: Frame, urls: ReadonlyMap<string, string>): string => {
  const url = frame.url === "" ? urls.get(frame.location.scriptId) ?? "" : frame.url
  const name = frame.functionName === "" ? "(anonymous)" : frame.functionName
  return `${name} (${url}:${frame.location.lineNumber + 1}:${(frame.location.columnNumber ?? 0) + 1})`
}
