/**
 * What is known of hosts, as rows, and back.
 */
import { Option, Schema } from "effect"
import type { Fetched } from "../../services/fetch/Fetcher.ts"
import * as HostState from "../../services/fetch/HostState.ts"
import * as Columns from "../postgres/Columns.ts"
import type { Arguments } from "../postgres/SqlFunction.ts"
import type { Lane, Lease, Noted } from "./LeaseBook.ts"

/** A host's state, as it is to be written; `state` is `undefined` where nothing is known any more. */
export interface HostNote {
  readonly lane: Lane
  readonly state: HostState.HostState | undefined
  readonly noted: Noted | undefined
}

const decode = Schema.decodeUnknownOption(HostState.HostState)

/** The state that a row holds; nothing for one that another version of Sluice has written in its own way. */
export const hostStateOf = (state: unknown): HostState.HostState | undefined => Option.getOrUndefined(decode(state))

/** What settling these says of their hosts: the last word on each, where it is news. */
export const hostNotes = (
  leases: ReadonlyArray<Lease>,
  fetched: ReadonlyArray<Fetched>,
  nowMillis: number
): ReadonlyArray<HostNote> => {
  const words = new Map<Lane, HostState.HostState | undefined>()
  for (let at = 0; at < leases.length; at++) {
    const lane = leases[at]?.lane
    const state = fetched[at]?.host
    // Nearly all hosts are well, and stay so.
    if (lane !== undefined && (state !== undefined || lane.noted !== undefined || words.has(lane))) {
      words.set(lane, state)
    }
  }
  const notes: Array<HostNote> = []
  for (const [lane, state] of words) {
    if (state === undefined) {
      if (lane.noted !== undefined) notes.push({ lane, state, noted: undefined })
      continue
    }
    const text = JSON.stringify(state)
    if (lane.noted?.state === text && HostState.isFresh(lane.noted.staleAtMillis, nowMillis)) continue
    notes.push({ lane, state, noted: { state: text, staleAtMillis: HostState.staleAtMillis(state, nowMillis) } })
  }
  return notes
}

/** What `fetch_settle` takes of hosts. */
export const hostColumns = (notes: ReadonlyArray<HostNote>, nowMillis: number): Arguments => ({
  hosts: Columns.texts(notes.map(({ lane }) => lane.host)),
  host_states: Columns.texts(notes.map(({ noted }) => noted?.state ?? null)),
  host_shuts: Columns.times(notes.map(({ state }) => state === undefined ? 0 : shutUntil(state, nowMillis))),
  host_stales: Columns.times(notes.map(({ noted }) => noted?.staleAtMillis ?? nowMillis))
})

/** No later than the row is kept. */
const shutUntil = (state: HostState.HostState, nowMillis: number): number =>
  Math.min(HostState.shutUntilMillis(state), HostState.staleAtMillis(state, nowMillis))
