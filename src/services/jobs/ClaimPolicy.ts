/**
 * When a worker asks the store for jobs: one value, and what it becomes with each event. Pure: times come with the events.
 *
 *   Full ── Freed, Ready ──▶ Looking ── something fits ─────────────▶ Asking
 *    ▲                       │  ▲  ▲ ▲                                │ │ │ │
 *    └───── nothing fits ────┘  │  │ └─ found jobs, or Ready came ────┘ │ │ │
 *                               │  │                                    │ │ │
 *                               │  └─ Announced ── Announcing ◀─────────┘ │ │
 *                               │       found none, and the store does    │ │
 *                               │       not know that we sleep            │ │
 *                               │                                         │ │
 *                               ├─ Elapsed, Ready ── Resting ◀─ found none┘ │
 *                               │  (Freed, for a queue left out)            │
 *                               │                                           │
 *                               └─ Reconciled ── Reconciling ◀─ Elapsed ── Failing (no answer)
 *
 *   Draining leads from everywhere to Closed; from Asking and Reconciling through Closing, which waits for their answer.
 *   Looking takes no time: the claimer answers with Fits at once.
 *
 * What holds by its shape: there is one claim at a time, as only its own answer leaves Asking. A claim without an
 * answer may have taken jobs all the same, and is reconciled before the next. For a job that becomes ready while a
 * claim is on its way there is another claim. Every state but Full has an end of its own (Resting lasts a poll at
 * most), and a slot that is freed ends Full.
 *
 * Rejected: a claim for each event (many small claims cost the store more than few large ones); a timer that claims at a fixed pace (it is
 * late when there is work and busy when there is none); flags beside the loop (there were nine, and in some of their combinations a wake-up
 * was lost for a poll); a shorter rest when a scheduled job becomes due (the heart makes it ready then, and that is an event).
 */

/** How many jobs of a queue fit. */
export interface Request {
  readonly queue: string
  readonly limit: number
}

/** What all states remember. */
export interface Memory {
  /**
   * What the store knows of us: it wakes us when we sleep. "Unheard" is a sleeper whose announcement failed: the poll finds the jobs.
   * "Unsure" is one that woke up and got no answer to that word: it says it again, and says anew that it sleeps.
   */
  readonly known: "Awake" | "Asleep" | "Unheard" | "Unsure"
  /** Claims since we fell asleep that were there to catch a job whose transaction was committing meanwhile. */
  readonly probes: number
  /** When the first of the latest claims found jobs; undefined when the last one found none. */
  readonly busySinceMillis: number | undefined
  /** Somebody waits until there is nothing to do. */
  readonly isAwaited: boolean
}

/** The last claim found nothing in these queues: it is made again at this time, or earlier for a reason. */
export interface Resting {
  readonly _tag: "Resting"
  readonly memory: Memory
  readonly queues: ReadonlyArray<string>
  readonly untilMillis: number
}

/** Nothing fits. */
export interface Full {
  readonly _tag: "Full"
  readonly memory: Memory
}

/** What the claimer does now. */
export type State =
  /** Finds out how many jobs fit, which takes no time. `before` goes on unless something fits for which it was not made. */
  | { readonly _tag: "Looking"; readonly memory: Memory; readonly before: Resting | Full | undefined }
  /** Waits for the answer to a claim. Stale: something became ready after it was sent. */
  | {
    readonly _tag: "Asking"
    readonly memory: Memory
    readonly requests: ReadonlyArray<Request>
    readonly isStale: boolean
  }
  /** Tells the store that we sleep, or do no longer. */
  | { readonly _tag: "Announcing"; readonly memory: Memory; readonly isAsleep: boolean }
  | Resting
  | Full
  /** The store did not answer: it is left alone until then. */
  | { readonly _tag: "Failing"; readonly memory: Memory; readonly untilMillis: number }
  /** Gives back what a claim without an answer may have taken. */
  | { readonly _tag: "Reconciling"; readonly memory: Memory }
  /** Asks for nothing more, and waits for the answer that is on its way. */
  | { readonly _tag: "Closing"; readonly memory: Memory }
  | { readonly _tag: "Closed"; readonly memory: Memory }

/** What happens to a claimer. */
export type Event =
  /** A slot, a transaction or a settlement is free. */
  | { readonly _tag: "Freed" }
  /** Something is ready, or may be. */
  | { readonly _tag: "Ready" }
  /** Somebody waits from now on until there is nothing to do. */
  | { readonly _tag: "Awaited" }
  /** What fits; at rest: nothing is held, run or to be settled. */
  | { readonly _tag: "Fits"; readonly requests: ReadonlyArray<Request>; readonly isAtRest: boolean }
  /** The claim was answered with so many jobs. */
  | { readonly _tag: "Answered"; readonly jobs: number; readonly isAtRest: boolean; readonly nowMillis: number }
  | { readonly _tag: "Announced"; readonly isHeard: boolean }
  | { readonly _tag: "Reconciled" }
  /** The claim, or its reconciliation, has no answer. */
  | { readonly _tag: "Failed"; readonly nowMillis: number }
  /** The time that Resting or Failing lasts is over. */
  | { readonly _tag: "Elapsed" }
  | { readonly _tag: "Draining" }

/** What does not change while a claimer lives. */
export interface Rules {
  /** How many queues there are. */
  readonly queues: number
  readonly pollMillis: number
}

/** Pauses before the claims that follow the first one after falling asleep; then it is the poll. */
const probeMillis = [5, 25, 100]
/** A worker that was busy for so long no longer asks to be woken. */
const busyMillis = 200
/** A store that does not answer is asked again after a poll, after so long at most. */
const failingMaxMillis = 1_000

/** A worker that has just joined; it begins with Ready. */
export const initial: State = {
  _tag: "Full",
  memory: { known: "Awake", probes: 0, busySinceMillis: undefined, isAwaited: false }
}

const look = (memory: Memory, before?: Resting | Full): State => ({ _tag: "Looking", memory, before })

/** What becomes of a state; the same object when nothing does. */
export const next = (state: State, event: Event, rules: Rules): State => {
  switch (event._tag) {
    case "Awaited":
      return awaited(state)
    case "Draining":
      return drained(state)
    default:
      return stepped(state, event, rules)
  }
}

/** A claim that is on its way may have been made before the last job of whoever waits. */
const awaited = (state: State): State => {
  const memory = { ...state.memory, isAwaited: true }
  switch (state._tag) {
    case "Looking":
    case "Resting":
    case "Full":
      return look(memory)
    case "Asking":
      return { ...state, memory, isStale: true }
    case "Closing":
    case "Closed":
      return state
    default:
      return { ...state, memory }
  }
}

const drained = (state: State): State => {
  switch (state._tag) {
    case "Closing":
    case "Closed":
      return state
    case "Asking":
    case "Reconciling":
      return { _tag: "Closing", memory: state.memory }
    default:
      return { _tag: "Closed", memory: state.memory }
  }
}

type Step = Exclude<Event, { readonly _tag: "Awaited" | "Draining" }>

const stepped = (state: State, event: Step, rules: Rules): State => {
  const { memory } = state
  switch (state._tag) {
    case "Looking":
      if (event._tag === "Fits") return looked(state, event)
      return event._tag === "Ready" && state.before?._tag === "Resting" ? look(memory) : state
    case "Asking":
      if (event._tag === "Ready") return state.isStale ? state : { ...state, isStale: true }
      if (event._tag === "Failed") return failed(memory, event.nowMillis, rules)
      return event._tag === "Answered" ? answered(state, event, rules) : state
    case "Announcing":
      return event._tag === "Announced" ? look(announced(memory, state.isAsleep, event.isHeard)) : state
    case "Resting":
      if (event._tag === "Ready" || event._tag === "Elapsed") return look(memory)
      // Where all queues had nothing, more room changes nothing; whoever waits for the end of all work waits for this event.
      return event._tag === "Freed" && (state.queues.length < rules.queues || memory.isAwaited)
        ? look(memory, state)
        : state
    case "Full":
      return event._tag === "Freed" || event._tag === "Ready" ? look(memory, state) : state
    case "Failing":
      return event._tag === "Elapsed" ? { _tag: "Reconciling", memory } : state
    case "Reconciling":
      if (event._tag === "Failed") return failed(memory, event.nowMillis, rules)
      return event._tag === "Reconciled" ? look(memory) : state
    case "Closing":
      return event._tag === "Answered" || event._tag === "Failed" || event._tag === "Reconciled"
        ? { _tag: "Closed", memory }
        : state
    default:
      return state
  }
}

const looked = (
  { before, memory }: Extract<State, { readonly _tag: "Looking" }>,
  { isAtRest, requests }: Extract<Event, { readonly _tag: "Fits" }>
): State => {
  if (requests.length === 0) return before ?? { _tag: "Full", memory }
  const asking: State = { _tag: "Asking", memory, requests, isStale: false }
  if (before?._tag !== "Resting") return asking
  const isNew = requests.some(({ queue }) => !before.queues.includes(queue))
  // Whoever waits for this worker to be idle is not helped by claims while it is busy.
  return isNew || (memory.isAwaited && isAtRest) ? asking : before
}

const failed = (memory: Memory, nowMillis: number, rules: Rules): State => ({
  _tag: "Failing",
  memory,
  untilMillis: nowMillis + Math.min(failingMaxMillis, rules.pollMillis)
})

const answered = (
  { isStale, memory, requests }: Extract<State, { readonly _tag: "Asking" }>,
  { isAtRest, jobs, nowMillis }: Extract<Event, { readonly _tag: "Answered" }>,
  rules: Rules
): State => {
  if (jobs > 0) {
    const busySinceMillis = memory.busySinceMillis ?? nowMillis
    const busy = { ...memory, busySinceMillis }
    return memory.known !== "Awake" && memory.known !== "Unheard" && nowMillis - busySinceMillis > busyMillis
      ? { _tag: "Announcing", memory: busy, isAsleep: false }
      : look(busy)
  }
  if (isStale) return look(memory)
  const isNothing = requests.length === rules.queues && isAtRest
  const idle = { ...memory, busySinceMillis: undefined, isAwaited: memory.isAwaited && !isNothing }
  if (memory.known === "Awake" || memory.known === "Unsure") return { _tag: "Announcing", memory: idle, isAsleep: true }
  const queues = requests.map(({ queue }) => queue)
  const rest: Resting = { _tag: "Resting", queues, ...pause(idle, nowMillis, rules) }
  // Room for a queue that was left out may have come while the claim was on its way.
  return queues.length < rules.queues ? look(rest.memory, rest) : rest
}

/** How long a rest lasts, and what is remembered of it. */
const pause = (memory: Memory, nowMillis: number, { pollMillis }: Rules): Pick<Resting, "memory" | "untilMillis"> =>
  memory.known === "Unheard"
    // The next claim that finds nothing announces it again.
    ? { memory: { ...memory, known: "Awake" }, untilMillis: nowMillis + pollMillis }
    : {
      memory: { ...memory, probes: memory.probes + 1 },
      untilMillis: nowMillis + Math.min(pollMillis, probeMillis[memory.probes] ?? pollMillis)
    }

/** A store that was not told that we woke up wakes us once too often. */
const announced = (memory: Memory, isAsleep: boolean, isHeard: boolean): Memory => {
  if (isAsleep) return { ...memory, known: isHeard ? "Asleep" : "Unheard", probes: 0 }
  return { ...memory, known: isHeard ? "Awake" : "Unsure" }
}
