/**
 * robots.txt by origin, fetched once by whoever needs it first, remembered for as long as RFC 9309 section 2.4 allows.
 */
import { Result } from "effect"
import { type FetchTarget, target } from "../../../services/fetch/FetchRequest.ts"
import * as Robots from "../../../services/fetch/Robots.ts"
import type { Limits } from "./Limits.ts"
import type { AttemptEnd } from "./Reception.ts"
import * as Task from "./Task.ts"

interface Entry {
  readonly rules: Robots.Rules
  readonly expiresAtMillis: number
}

/** The rules for a target; or nothing yet, with the task to run for them if nobody does. */
export type Answer =
  | { readonly _tag: "Rules"; readonly allows: (path: string) => boolean; readonly gapMillis: number }
  | { readonly _tag: "Asked"; readonly task: Task.Task | undefined }

const dayMillis = 86_400_000

/** How long "it cannot be read" is remembered: not a day, or a restart of the server would cost one. */
const unreachableMillis = 300_000

const entriesMax = 10_000

/** Hops that a robots.txt may be away (RFC 9309 section 2.3.1.2). */
const hopsMax = 5

export class RobotsCache {
  private readonly entries = new Map<string, Entry>()
  private readonly pending = new Map<string, Array<() => void>>()
  private readonly nowMillis: () => number

  constructor(nowMillis: () => number) {
    this.nowMillis = nowMillis
  }

  /** @param onKnown called once when the answer was not known, and is now */
  ask(of: FetchTarget, limits: Limits, onKnown: () => void): Answer {
    // What may not be asked by one may be by another.
    const key = `${limits.userAgent} ${limits.denyPrivate} ${of.origin}`
    const known = this.entries.get(key)
    if (known !== undefined && known.expiresAtMillis > this.nowMillis()) {
      const { allows, delaySeconds } = known.rules
      return { _tag: "Rules", allows, gapMillis: Math.min(delaySeconds ?? 0, 300) * 1000 }
    }
    const waiting = this.pending.get(key)
    if (waiting !== undefined) {
      waiting.push(onKnown)
      return { _tag: "Asked", task: undefined }
    }
    this.pending.set(key, [onKnown])
    return { _tag: "Asked", task: this.task(key, of, limits) }
  }

  private task(key: string, of: FetchTarget, limits: Limits): Task.Task {
    const at = target({ url: `${of.origin}/robots.txt` })
    const wants = { store: undefined, keeps: true, cutBytes: Robots.sizeMaxBytes }
    const own: Limits = { ...limits, robots: false, redirectsMax: hopsMax, bodyMaxBytes: Robots.sizeMaxBytes * 4 }
    return Task.make(Result.getOrElse(at, () => of), own, wants, undefined, (outcome, end, error) => {
      const { rules, millis } = judge(end, error?._tag, limits.userAgent)
      if (this.entries.size >= entriesMax) {
        const oldest = this.entries.keys().next()
        if (oldest.done !== true) this.entries.delete(oldest.value)
      }
      // Interrupted with its session: nothing is known, and whoever asks next finds out.
      if (outcome !== undefined) this.entries.set(key, { rules, expiresAtMillis: this.nowMillis() + millis })
      const waiting = this.pending.get(key) ?? []
      this.pending.delete(key)
      for (const each of waiting) each()
    })
  }
}

const judge = (
  end: AttemptEnd | undefined,
  tag: string | undefined,
  userAgent: string
): { readonly rules: Robots.Rules; readonly millis: number } => {
  if (end !== undefined && tag === undefined) {
    const text = new TextDecoder().decode(end.body.subarray(0, Robots.sizeMaxBytes))
    return { rules: Robots.parse(text, userAgent), millis: dayMillis }
  }
  // More hops than five are as good as no file (section 2.3.1.2), and so is every 4xx but "too many requests".
  const isUnavailable = tag === "RedirectError" ||
    (end !== undefined && end.status >= 400 && end.status < 500 && end.status !== 429)
  return isUnavailable
    ? { rules: Robots.allowAll, millis: dayMillis }
    : { rules: Robots.disallowAll, millis: unreachableMillis }
}
