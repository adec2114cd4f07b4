/**
 * The live lines of a fetch on a terminal. A pure picture of the meter; drawing is `LiveRegion`'s.
 */
import { Clock, Effect } from "effect"
import type { HostView } from "../../services/fetch/HostView.ts"
import * as Screen from "../terminal/Screen.ts"
import { bar, bold, count, cyan, dim, red, yellow } from "../terminal/Style.ts"
import type { RunMeter } from "./RunMeter.ts"

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const

/** Bytes for people. */
export const size = (bytes: number): string => {
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** Seconds for people: `42 s`, `3:05`, `2:00:07`. */
export const clock = (seconds: number): string => {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  const pad = (value: number) => String(value).padStart(2, "0")
  const minutes = Math.floor(whole / 60)
  return minutes < 60
    ? `${minutes}:${pad(whole % 60)}`
    : `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(whole % 60)}`
}

/** So many lines of an input. */
export const lines = (many: number): string => `${count(many)} ${many === 1 ? "line" : "lines"}`

/** Lines that hosts may take. */
const hostsShown = 4

/** How far the run has come. */
const reached = (meter: RunMeter) => {
  const done = Math.min(meter.total, meter.before + meter.done)
  const share = meter.total === 0 ? 0 : done / meter.total
  return {
    share,
    figures: `${count(done)}/${count(meter.total)}${meter.isInputDone ? "" : "+"}`,
    percent: meter.isInputDone ? `${(Math.floor(share * 1000) / 10).toFixed(1)} %` : "reading"
  }
}

const totals = (name: string, meter: RunMeter, columns: number): string => {
  const { figures, percent, share } = reached(meter)
  const shown = name.length > 24 ? `${name.slice(0, 23)}…` : name
  const width = Math.max(8, Math.min(40, columns - shown.length - figures.length - percent.length - 10))
  return `  ${bold(shown)}  ${bar(share, width)}  ${figures}  ${dim(percent)}`
}

const pace = (meter: RunMeter, nowMillis: number): ReadonlyArray<string> => {
  const elapsed = Math.max(0.001, (nowMillis - meter.startedMillis) / 1000)
  const rate = meter.rate(nowMillis)
  const left = meter.secondsLeft(nowMillis)
  return [
    `${count(rate)} URLs/s`,
    `${size(meter.bytes / elapsed)}/s`,
    `${count(meter.inFlight)} in flight`,
    ...(meter.retries > 0 ? [yellow(`${count(meter.retries)} retries`)] : []),
    ...(meter.failed > 0 ? [red(`${count(meter.failed)} failed`)] : []),
    ...(meter.malformed > 0 ? [red(`${lines(meter.malformed)} malformed`)] : []),
    ...(left === undefined ? [] : [`${clock(left)} left`])
  ]
}

/** What is on the wire, or why nothing is; and what the host was seen to take. */
const stateOf = (view: HostView | undefined): string => {
  const { block, inFlight = 0, perSecond, places } = view ?? {}
  const more = clock((block?.forMillis ?? 0) / 1000)
  return [
    block === undefined
      ? `${String(inFlight).padStart(4)} in flight`
      : block._tag === "Silent"
      ? `silent, asked again in ${more}`
      : `blocked ${more} more (${block.status})`,
    ...(places === undefined ? [] : [`${count(places)} at a time`]),
    ...(perSecond === undefined ? [] : [`${perSecond < 10 ? perSecond.toFixed(1) : count(perSecond)}/s`])
  ].join(", ")
}

/** Columns before a name, of what is done, and of what has failed. */
const hostMargin = 4
const doneWidth = 17
const failedWidth = 12

/** The busiest hosts, when there is more than one, or the only one holds something up. */
const hosts = (meter: RunMeter, columns: number): ReadonlyArray<string> => {
  const views = new Map(meter.hostViews.map((view) => [view.host, view]))
  const shown = Array.from(meter.hosts)
    .filter(([name, host]) => host.taken > 0 && (meter.hosts.size > 1 || views.get(name)?.block !== undefined))
    .toSorted(([, a], [, b]) => b.taken - a.taken || b.done - a.done)
    .slice(0, hostsShown)
    .map(([name, host]) => ({ name, host, view: views.get(name), state: stateOf(views.get(name)) }))
  const stateWidth = Math.max(0, ...shown.map(({ state }) => state.length))
  const figuresWidth = doneWidth + (shown.some(({ host: { failed } }) => failed > 0) ? failedWidth : 0)
  const nameWidth = Math.max(12, Math.min(40, columns - hostMargin - stateWidth - figuresWidth))
  return shown.map(({ host: { done, failed }, name, state, view }) => {
    const label = name.length > nameWidth ? `${name.slice(0, nameWidth - 1)}…` : name
    const colour = view?.block === undefined ? dim : yellow
    return " ".repeat(hostMargin) + cyan(label.padEnd(nameWidth)) + colour(` ${state.padEnd(stateWidth)}`) +
      dim(` ${count(done).padStart(9)} done`) + (failed > 0 ? red(`  ${count(failed)} failed`) : "")
  })
}

/** When a frame is drawn, and how much room there is. */
export interface Frame {
  readonly nowMillis: number
  readonly columns: number
  readonly rows: number
}

/** The lines of one frame. Retries are no URLs: they move neither the bar nor the rate. */
export const render = (
  name: string,
  meter: RunMeter,
  { columns, nowMillis, rows }: Frame
): ReadonlyArray<string> => [
  totals(name, meter, columns),
  `  ${pace(meter, nowMillis).join(dim(" · "))}`,
  ...hosts(meter, columns).slice(0, Math.max(0, rows - 4))
]

/** The frame of now, on the terminal as it is now. */
export const draw = Effect.fnUntraced(function*(name: string, meter: RunMeter) {
  const size = yield* Screen.size
  return render(name, meter, { nowMillis: yield* Clock.currentTimeMillis, ...size })
})

/** The same in a line, for a log. */
export const line = Effect.fnUntraced(function*(name: string, meter: RunMeter) {
  const { figures, percent } = reached(meter)
  return `${name}: ${figures} (${percent}), ${pace(meter, yield* Clock.currentTimeMillis).join(", ")}`
})
