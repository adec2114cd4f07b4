/**
 * Room for sockets: each is a file, and the process may have only so many. Who finds no room waits here until others have closed theirs;
 * that is this side's doing, so it is no attempt of anybody's.
 */
import type * as net from "node:net"
import type { Cancel } from "../dns/Answer.ts"
import type { Timers } from "../dns/Timers.ts"

/** Files may be freed by other parts of the process, which say nothing of it: one of those who wait looks again so often. */
const lookAgainMillis = 250

/** How often it is looked for nothing, while no connection is there that could end, before those who wait are refused. */
const looksMax = 8

type Tell = (isOver: boolean) => void

export class SocketRoom {
  /** The longest waiting first. */
  private readonly waiting = new Set<Tell>()
  private readonly timers: Timers
  private readonly socketsMax: number
  private readonly makeRoom: () => void
  private readonly isHopeless: () => boolean
  private stopTimer: Cancel | undefined = undefined
  private looks = 0
  private sockets = 0

  /**
   * @param socketsMax at a time; the rest of the process needs files, too
   * @param makeRoom begins to close a socket that nobody uses, if there is one
   * @param isHopeless whether nothing is open that could be closed, but for what waits here
   */
  constructor(timers: Timers, socketsMax: number, makeRoom: () => void, isHopeless: () => boolean) {
    this.timers = timers
    this.socketsMax = socketsMax
    this.makeRoom = makeRoom
    this.isHopeless = isHopeless
  }

  get isFull(): boolean {
    return this.sockets >= this.socketsMax
  }

  /** Counts a new socket until it is closed. */
  take(socket: net.Socket): void {
    this.sockets++
    let hasFile = true
    socket.once("error", (error) => {
      hasFile = !("code" in error && (error.code === "EMFILE" || error.code === "ENFILE"))
    })
    socket.once("close", () => {
      this.sockets--
      // One that got no file has none to give.
      if (hasFile) this.freed()
    })
  }

  /** How many wait. */
  get size(): number {
    return this.waiting.size
  }

  /** Tells when it is worth another try (`true`), or that there will be no room (`false`). What is given back ends the waiting. */
  wait(tell: Tell): Cancel {
    const each: Tell = (isOver) => tell(isOver)
    this.waiting.add(each)
    this.lookLater()
    this.makeRoom()
    return () => this.remove(each)
  }

  private freed(): void {
    this.looks = 0
    this.wakeOne(true)
  }

  private lookLater(): void {
    this.stopTimer ??= this.timers.after(lookAgainMillis, () => this.look())
  }

  private look(): void {
    this.stopTimer = undefined
    this.looks = this.isHopeless() ? this.looks + 1 : 0
    if (this.looks < looksMax) this.wakeOne(true)
    else {
      this.looks = 0
      for (let left = this.waiting.size; left > 0; left--) this.wakeOne(false)
    }
    if (this.waiting.size > 0) this.lookLater()
  }

  private wakeOne(isOver: boolean): void {
    const [first] = this.waiting
    if (first === undefined) return
    this.remove(first)
    first(isOver)
  }

  private remove(each: Tell): void {
    this.waiting.delete(each)
    if (this.waiting.size > 0) return
    this.stopTimer?.()
    this.stopTimer = undefined
  }
}
