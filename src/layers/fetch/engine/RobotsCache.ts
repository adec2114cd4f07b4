/**
 * robots.txt by origin, fetched once by whoever needs it first, remembered for as long as RFC 9309 section 2.4 allows. While it cannot be
 * read everything is disallowed (section 2.3.1.4): it is asked for again, less and less often, and the pages of its site wait for it.
 */
import { Cause, Result } from "effect"
import { type FetchError, RobotsDisallowed, RobotsUnreachable } from "../../../services/fetch/FetchError.ts"
import { type FetchTarget, parseTarget } from "../../../services/fetch/FetchRequest.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import * as Retry from "../../../services/fetch/Retry.ts"
import * as Robots from "../../../services/fetch/Robots.ts"
import * as Call from "./Call.ts"
import type { Limits } from "./Limits.ts"
import { later } from "./Step.ts"

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

/** Who waits for the rules. */
export interface Asker {
  /** Whose call it is, if one is made: without its owner it does not end (`forget`). */
  readonly owner: object
  /** Called once when the answer was not known, and may be now; with the cause if finding it out has died. */
  readonly onKnown: (died: Cause.Cause<never> | undefined) => void
}

/** A robots.txt that is on its way. */
interface Pending {
  readonly host: string
  readonly owner: object
  readonly waiting: Array<Asker["onKnown"]>
}

/** Whether a target may be fetched; when to ask again; or nothing yet, with the call to make for the rules if nobody makes it. */
export type Answer =
  /** @property gapMillis least time between two requests, as the site asks for it; 0 is none */
  | { readonly _tag: "Allowed"; readonly gapMillis: number }
  | { readonly _tag: "Wait"; readonly untilMillis: number }
  | { readonly _tag: "Refused"; readonly error: RobotsDisallowed | RobotsUnreachable }
  | { readonly _tag: "Asked"; readonly call: Call.Call | undefined }

const dayMillis = 86_400_000

/** Wait before a robots.txt that could not be read is asked for again; doubles each time. */
const againMillis = 1000
const againMaxMillis = 300_000

const entriesMax = 10_000

/** Hops that a robots.txt may be away (RFC 9309 section 2.3.1.2). */
const hopsMax = 5

export class RobotsCache {
  /** Hosts whose robots.txt is on its way. */
  readonly asked = new Set<string>()
  private readonly entries = new Map<string, Known | Unreachable>()
  private readonly pending = new Map<string, Pending>()
  private readonly now: () => Call.Now

  constructor(now: () => Call.Now) {
    this.now = now
  }

  ask(of: FetchTarget, limits: Limits, { onKnown, owner }: Asker): Answer {
    // What may not be asked by one may be by another.
    const key = `${limits.userAgent} ${limits.denyPrivate} ${of.origin}`
    const found = this.entries.get(key)
    const now = this.now()
    if (found !== undefined && found.untilMillis > now.nowMillis) {
      if (found._tag === "Unreachable") return whileUnreachable(found, of, limits, now)
      const { allows, delaySeconds } = found.rules
      return allows(of.path)
        ? { _tag: "Allowed", gapMillis: Math.min(delaySeconds ?? 0, 300) * 1000 }
        : { _tag: "Refused", error: new RobotsDisallowed({ url: Redact.url(of.url) }) }
    }
    const pending = this.pending.get(key)
    if (pending !== undefined) {
      pending.waiting.push(onKnown)
      return { _tag: "Asked", call: undefined }
    }
    this.pending.set(key, { host: of.host, owner, waiting: [onKnown] })
    this.asked.add(of.host)
    return { _tag: "Asked", call: this.call(key, of, limits) }
  }

  /** The calls of this owner do not end any more: whoever waits for them asks again. */
  forget(owner: object): void {
    for (const [key, pending] of this.pending) if (pending.owner === owner) this.release(key, pending)
  }

  private release(key: string, { host, waiting }: Pending, died?: Cause.Cause<never>): void {
    this.pending.delete(key)
    this.asked.delete(host)
    for (const each of waiting) each(died)
  }

  private call(key: string, of: FetchTarget, limits: Limits): Call.Call {
    const at = parseTarget({ url: `${of.origin}/robots.txt` })
    const settle = (end: Call.End) => {
      // Interrupted: nothing is known, and whoever asks next finds out. A bug would be met by each who asks.
      const died = end._tag === "Lost" && !Cause.hasInterruptsOnly(end.cause) ? end.cause : undefined
      if (end._tag !== "Lost") this.learn(key, end, limits.userAgent)
      const pending = this.pending.get(key)
      if (pending !== undefined) this.release(key, pending, died)
    }
    return Call.make({
      target: Result.getOrElse(at, () => of),
      limits: { ...limits, robots: false, redirectsMax: hopsMax, bodyMaxBytes: Robots.sizeMaxBytes * 4 },
      wants: { store: undefined, keeps: true, cutBytes: Robots.sizeMaxBytes },
      context: undefined,
      settle
    })
  }

  private learn(key: string, end: Answered, userAgent: string): void {
    const { nowMillis } = this.now()
    const before = this.entries.get(key)
    this.entries.delete(key)
    if (this.entries.size >= entriesMax) {
      const oldest = this.entries.keys().next()
      if (oldest.done !== true) this.entries.delete(oldest.value)
    }
    const rules = rulesOf(end, userAgent)
    this.entries.set(
      key,
      rules instanceof Error
        ? unreachable(before, rules, nowMillis)
        : { _tag: "Known", rules, untilMillis: nowMillis + dayMillis }
    )
  }
}

type Answered = Exclude<Call.End, { readonly _tag: "Lost" }>

/** What it says; or why it could not be read. */
const rulesOf = (end: Answered, userAgent: string): Robots.Rules | FetchError => {
  if (end._tag === "Done") {
    return Robots.parse(new TextDecoder().decode(end.reply.body.subarray(0, Robots.sizeMaxBytes)), userAgent)
  }
  const { error } = end
  // More hops than five are as good as no file (section 2.3.1.2), and so is every 4xx but "too many requests".
  const isNone = error._tag === "RedirectError" ||
    (error._tag === "StatusError" && error.status >= 400 && error.status < 500 && error.status !== 429)
  return isNone ? Robots.allowAll : error
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
  now: Call.Now
): Answer => {
  const mayChange = isDelay(error) || Retry.isTransient(error)
  if (mayChange && untilMillis - sinceMillis <= limits.patienceMillis) return { _tag: "Wait", untilMillis }
  const again = later(untilMillis - now.nowMillis, now)
  return {
    _tag: "Refused",
    error: new RobotsUnreachable({
      url: Redact.url(of.url),
      reason: error._tag,
      problem: error.message,
      retryAfterMillis: mayChange ? again.retryAfterMillis : null,
      retryAt: mayChange ? again.retryAt : null
    })
  }
}

const isDelay = (error: FetchError) =>
  error._tag === "RetryAfterTooLong" || error._tag === "HostThrottled" || error._tag === "HostUnavailable"
