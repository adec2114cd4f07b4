/**
 * Statements that wait for a lock on a real Postgres. Their backends are stopped (SIGSTOP) while others go on; of
 * several that could go on, the one that has waited longest does. How long they may wait is counted in virtual time.
 */
import type { Kernel } from "../kernel/Kernel.ts"
import type { Backends, Done } from "./Backends.ts"
import { inLine, type Session } from "./PgSession.ts"
import * as Shadows from "./PostgresShadows.ts"

/** What a session has on the server. */
export interface Place {
  readonly session: Session
  readonly backend: number
  readonly pid: number
  isReadOnly: boolean
  /** In milliseconds, from how it began. */
  readonly defaults: ReadonlyMap<string, number>
  /** In milliseconds, until the transaction ends. */
  readonly locals: Map<string, number>
}

/** A statement that waits for a lock. */
export interface Waiting {
  place: Place
  /** What to say when it waited too long. */
  expired: readonly [code: string, text: string] | undefined
  /** Nobody wants its answer any more. */
  isOrphan: boolean
}

export class LockWaits {
  /** How many there were in all. */
  count = 0
  private readonly backends: Backends
  /** Who has waited longest comes first. */
  private readonly waiting: Array<Waiting> = []

  constructor(backends: Backends) {
    this.backends = backends
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0
  }

  find(place: Place): Waiting | undefined {
    return this.waiting.find((each) => each.place === place)
  }

  /** `expired` is called when it has waited too long: its statement is then cancelled as soon as it goes on. */
  add(kernel: Kernel, place: Place, text: string, expired: (waits: Waiting) => void): void {
    this.count++
    const waits: Waiting = { place, expired: undefined, isOrphan: false }
    const { name } = place.session.wire.process
    kernel.tell(`${name} waits for a lock: ${inLine(text)}`)
    this.waiting.push(waits)
    process.kill(place.pid, "SIGSTOP")
    const limit = (setting: string, millis: number, code: string, why: string): void => {
      if (millis <= 0) return
      kernel.after(millis, undefined, () => {
        if (!this.waiting.includes(waits) || waits.expired !== undefined) return
        waits.expired = [code, why]
        kernel.tell(`${name} has waited long enough (${setting})`)
        process.kill(place.pid, "SIGINT")
        expired(waits)
      })
    }
    const timeout = (setting: string): number => place.locals.get(setting) ?? place.defaults.get(setting) ?? 0
    const lockMillis = Shadows.ownLockMillisOf(text) ?? timeout("lock_timeout")
    limit("lock_timeout", lockMillis, "55P03", "canceling statement due to lock timeout")
    limit("statement_timeout", timeout("statement_timeout"), "57014", "canceling statement due to statement timeout")
  }

  /** The first that is not among those who wait on the server. */
  next(blocked: ReadonlySet<number>): Waiting | undefined {
    return this.waiting.find(({ place: { pid } }) => !blocked.has(pid))
  }

  /** Lets one go on, to its answer or to the next lock; undefined when it still waits. */
  resume(waits: Waiting): Done | undefined {
    const { backend, pid } = waits.place
    process.kill(pid, "SIGCONT")
    const [done] = this.backends.walk([{ backend, replies: 1 }])
    if (done === undefined || done.state === "waits") {
      process.kill(pid, "SIGSTOP")
      return undefined
    }
    this.waiting.splice(this.waiting.indexOf(waits), 1)
    return done
  }

  /** Ends them all, as a server that goes away does. */
  terminate(): ReadonlyArray<Place> {
    return this.waiting.splice(0).map(({ place }) => {
      process.kill(place.pid, "SIGTERM")
      process.kill(place.pid, "SIGCONT")
      this.backends.end(place.backend)
      return place
    })
  }
}
