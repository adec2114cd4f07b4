/**
 * A list of pages of one host through its bare gate: the loop of a session without its fibers, at thousands of pages a millisecond.
 */
import { HostGate, type HostLimits } from "../../../src/services/fetch/HostGate.ts"
import type { Block } from "../../../src/services/fetch/HostView.ts"
import { equalJitterMillis } from "../../../src/services/fetch/Retry.ts"
import type { SimulatedHost } from "./SimulatedHost.ts"

/** The policy's defaults. */
export const defaults: HostLimits = {
  perHost: 16,
  perHostRatePerSecond: Infinity,
  isAdaptive: true,
  patienceMillis: 60_000,
  blockMaxMillis: 600_000,
  forgiveMillis: 600_000,
  breakerFailures: 8,
  breakerCooldownMillis: 1000,
  retryRatio: 0.2,
  retriesPerSecond: 10
}

/** One step of a run: what has just happened, and the gate after it. */
export interface Step {
  readonly atMillis: number
  readonly event: "start" | "answered" | "refused"
  readonly ticket: number
  readonly inFlight: number
  readonly concurrency: number
  readonly ratePerSecond: number
  /** Nothing starts before this time. */
  readonly shutUntilMillis: number
  /** Requests that have started. */
  readonly started: number
}

export interface Options {
  readonly pages: number
  readonly limits?: Partial<HostLimits>
  readonly chance?: () => number
  /** When the run is given up. @default 1 hour */
  readonly untilMillis?: number
  readonly onStep?: (step: Step) => void
}

export interface Result {
  readonly served: number
  /** Pages that had no retry left. */
  readonly failed: number
  /** Pages that the gate refused. */
  readonly refusals: ReadonlyArray<Block>
  /** Requests that were sent. */
  readonly requests: number
  readonly refusedRequests: number
  readonly endedAtMillis: number
  readonly steps: ReadonlyArray<Step>
}

interface Page {
  readonly name: string
  attempts: number
}

interface Event {
  readonly atMillis: number
  readonly run: () => void
}

/** Runs until every page has ended, or nothing more can happen. */
export const run = (host: SimulatedHost, options: Options): Result => {
  const limits = { ...defaults, ...options.limits }
  const chance = options.chance ?? (() => 0.5)
  const gate = new HostGate("simulated")
  const queue: Array<Page> = Array.from({ length: options.pages }, (_, n) => ({ name: `/${n}`, attempts: 0 })).reverse()
  const events: Array<Event> = []
  const steps: Array<Step> = []
  const refusals: Array<Block> = []
  let nowMillis = 0
  let served = 0
  let failed = 0
  let requests = 0
  let refusedRequests = 0
  let wakesAtMillis = Infinity

  const at = (atMillis: number, run: () => void) => {
    let index = events.length
    while (index > 0 && (events[index - 1]?.atMillis ?? 0) <= atMillis) index--
    events.splice(index, 0, { atMillis, run })
  }
  const note = (event: Step["event"], ticket: number) => {
    const step: Step = {
      atMillis: nowMillis,
      event,
      ticket,
      inFlight: gate.inFlight,
      concurrency: gate.concurrency(limits),
      ratePerSecond: gate.ratePerSecond(limits),
      shutUntilMillis: gate.shutUntilMillis,
      started: gate.started
    }
    steps.push(step)
    options.onStep?.(step)
  }
  const send = (page: Page) => {
    const ticket = gate.started
    const attempt = ++page.attempts
    if (attempt === 1) gate.asked(limits)
    requests++
    note("start", ticket)
    const { askedMillis, isRefused, millis } = host.answer(page.name, nowMillis)
    at(nowMillis + millis, () => {
      if (isRefused) {
        refusedRequests++
        gate.refused(limits, { status: 503, askedMillis, ticket, isAgain: attempt > 1, chance: chance() }, nowMillis)
        if (attempt > 3 || !gate.takeRetry(limits, nowMillis)) failed++
        else at(nowMillis + equalJitterMillis(attempt, 250, 30_000, chance()), () => queue.push(page))
      } else {
        served++
        gate.answered(limits, nowMillis)
      }
      note(isRefused ? "refused" : "answered", ticket)
      gate.end()
    })
  }
  const pump = () => {
    for (let page = queue.at(-1); page !== undefined; page = queue.at(-1)) {
      const refusal = gate.refusal(limits, nowMillis)
      if (refusal !== undefined) {
        refusals.push(refusal)
        queue.pop()
        continue
      }
      const opensAtMillis = gate.tryStart(limits, nowMillis)
      if (opensAtMillis !== undefined) {
        if (opensAtMillis < wakesAtMillis) {
          wakesAtMillis = opensAtMillis
          at(opensAtMillis, () => {
            if (wakesAtMillis === opensAtMillis) wakesAtMillis = Infinity
          })
        }
        return
      }
      queue.pop()
      send(page)
    }
  }

  pump()
  for (let event = events.pop(); event !== undefined; event = events.pop()) {
    if (event.atMillis > (options.untilMillis ?? 3_600_000)) break
    nowMillis = event.atMillis
    event.run()
    pump()
  }
  return { served, failed, refusals, requests, refusedRequests, endedAtMillis: nowMillis, steps }
}
