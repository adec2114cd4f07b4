/**
 * robots.txt by origin, fetched once by whoever needs it first, remembered for as long as RFC 9309 section 2.4 allows. While it cannot be
 * read everything is disallowed (section 2.3.1.4): it is asked for again, less and less often, and what it stands before waits for it.
 */
import { Result } from "effect"
import { type FetchError, RobotsUnreachable } from "../../../services/fetch/FetchError.ts"
import { type FetchTarget, target } from "../../../services/fetch/FetchRequest.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import * as Retry from "../../../services/fetch/Retry.ts"
import * as Robots from "../../../services/fetch/Robots.ts"
import * as Task from "./Call.ts"
import type { Limits } from "./Limits.ts"
import type { AttemptEnd } from "./Transfer.ts"

interface Known {
  readonly _tag: "Known"
  readonly rules: Robots.Rules
  readonly untilMillis: number
}

/** It could not be read. */
interface Unreachable {
  readonly _tag: "Unreachable"
  readonly error: FetchError
  /** When that was found out first. */
  readonly sinceMillis: number
  /** When it is asked for again. */
  readonly untilMillis: number
  /** How often it could not be read in a row. */
  readonly times: number
}

/** The rules for a target; when to ask again; or nothing yet, with the task to run for them if nobody does. */
export type Answer =
  | { readonly _tag: "Rules"; readonly allows: (path: string) => boolean; readonly gapMillis: number }
  | { readonly _tag: "Wait"; readonly untilMillis: number }
  | { readonly _tag: "Refused"; readonly error: RobotsUnreachable }
  | { readonly _tag: "Asked"; readonly task: Task.Task | undefined }

const dayMillis = 86_400_000

/** Wait before a robots.txt that could not be read is asked for again; doubles each time. */
const againMillis = 1000
const againMaxMillis = 300_000

const entriesMax = 10_000

/** Hops that a robots.txt may be away (RFC 9309 section 2.3.1.2). */
const hopsMax = 5

export class RobotsCache {
  private readonly entries = new Map<string, Known | Unreachable>()
  private readonly pending = new Map<string, Array<() => void>>()
  private readonly now: () => Task.Now

  constructor(now: () => Task.Now) {
    this.now = now
  }

  /** @param onKnown called once when the answer was not known, and is now */
  ask(of: FetchTarget, limits: Limits, onKnown: () => void): Answer {
    // What may not be asked by one may be by another.
    const key = `${limits.userAgent} ${limits.denyPrivate} ${of.origin}`
    const found = this.entries.get(key)
    const now = this.now()
    if (found !== undefined && found.untilMillis > now.nowMillis) {
      if (found._tag === "Unreachable") return whileUnreachable(found, of, limits, now)
      const { allows, delaySeconds } = found.rules
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
      // Interrupted with its session: nothing is known, and whoever asks next finds out.
      if (outcome !== undefined) this.learn(key, end, error, limits.userAgent)
      const waiting = this.pending.get(key) ?? []
      this.pending.delete(key)
      for (const each of waiting) each()
    })
  }

  private learn(key: string, end: AttemptEnd | undefined, error: FetchError | undefined, userAgent: string): void {
    const { nowMillis } = this.now()
    const before = this.entries.get(key)
    this.entries.delete(key)
    if (this.entries.size >= entriesMax) {
      const oldest = this.entries.keys().next()
      if (oldest.done !== true) this.entries.delete(oldest.value)
    }
    const rules = rulesOf(end, error, userAgent)
    this.entries.set(
      key,
      error === undefined || rules !== undefined
        ? { _tag: "Known", rules: rules ?? Robots.allowAll, untilMillis: nowMillis + dayMillis }
        : unreachable(before, error, nowMillis)
    )
  }
}

/** What it says; `undefined` when it could not be read. */
const rulesOf = (
  end: AttemptEnd | undefined,
  error: FetchError | undefined,
  userAgent: string
): Robots.Rules | undefined => {
  if (error === undefined) {
    return Robots.parse(new TextDecoder().decode(end?.body.subarray(0, Robots.sizeMaxBytes)), userAgent)
  }
  // More hops than five are as good as no file (section 2.3.1.2), and so is every 4xx but "too many requests".
  const isNone = error._tag === "RedirectError" ||
    (error._tag === "StatusError" && error.status >= 400 && error.status < 500 && error.status !== 429)
  return isNone ? Robots.allowAll : undefined
}

const unreachable = (before: Known | Unreachable | undefined, error: FetchError, nowMillis: number): Unreachable => {
  // One that nobody has asked about for long is a new case.
  const isSame = before?._tag === "Unreachable" && nowMillis - before.untilMillis < againMaxMillis
  const times = isSame ? before.times + 1 : 1
  const ownMillis = Math.min(againMaxMillis, againMillis * 2 ** (times - 1))
  const waitMillis = isDelay(error) ? Math.max(ownMillis, error.retryAfterMillis) : ownMillis
  const sinceMillis = isSame ? before.sinceMillis : nowMillis
  return { _tag: "Unreachable", error, sinceMillis, untilMillis: nowMillis + waitMillis, times }
}

/** What waits does so for as long as the patience allows; then it ends with why. */
const whileUnreachable = (
  { error, sinceMillis, untilMillis }: Unreachable,
  of: FetchTarget,
  limits: Limits,
  now: Task.Now
): Answer => {
  const mayChange = isDelay(error) || Retry.isTransient(error)
  if (mayChange && untilMillis - sinceMillis <= limits.patienceMillis) return { _tag: "Wait", untilMillis }
  const later = Task.later(untilMillis - now.nowMillis, now)
  return {
    _tag: "Refused",
    error: new RobotsUnreachable({
      url: Redact.url(of.url),
      reason: error._tag,
      problem: error.message,
      retryAfterMillis: mayChange ? later.retryAfterMillis : null,
      retryAt: mayChange ? later.retryAt : null
    })
  }
}

const isDelay = (error: FetchError) =>
  error._tag === "RetryAfterTooLong" || error._tag === "HostThrottled" || error._tag === "HostUnavailable"
