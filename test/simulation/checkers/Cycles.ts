/**
 * Whether a history could have happened one transaction after the other, in an order that agrees with the clock on the wall (strict
 * serializability). Which transaction depends on which is seen from the versions that each read and wrote, as Elle does (Kingsbury and
 * Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020): a cycle of such dependencies has no order.
 */

/** One version of an object: 0 is what was there at the beginning, each write makes the next. */
export interface Access {
  readonly object: string
  readonly version: number
}

/** What somebody asked for, as it was seen from outside. */
export interface Transaction {
  readonly name: string
  readonly beganAt: number
  /** Undefined: it was never answered, and yet it happened. */
  readonly endedAt: number | undefined
  readonly reads: ReadonlyArray<Access>
  readonly writes: ReadonlyArray<Access>
}

type Kind = "ww" | "wr" | "rw" | "rt"

interface Edge {
  readonly to: number
  readonly kind: Kind
}

type Graph = ReadonlyArray<Array<Edge>>

const keyOf = ({ object, version }: Access): string => `${object}@${version}`

/** Who wrote each version; two writers of one, and reads of what nobody wrote, are wrong by themselves. */
const writersOf = (history: ReadonlyArray<Transaction>) => {
  const writers = new Map<string, number>()
  const wrong: Array<string> = []
  for (const [at, { name, writes }] of history.entries()) {
    for (const write of writes) {
      const other = writers.get(keyOf(write))
      if (other !== undefined && other !== at) {
        wrong.push(`${name} and ${history[other]?.name} both wrote version ${write.version} of ${write.object}`)
      }
      writers.set(keyOf(write), at)
    }
  }
  for (const { name, reads } of history) {
    for (const read of reads) {
      if (read.version > 0 && !writers.has(keyOf(read))) {
        wrong.push(`${name} read version ${read.version} of ${read.object}, which nobody wrote`)
      }
    }
  }
  return { writers, wrong }
}

/** How many of these ascending numbers are no larger. */
const countUpTo = (ascending: ReadonlyArray<number>, bound: number): number => {
  let from = 0
  for (let to = ascending.length; from < to;) {
    const middle = (from + to) >> 1
    if ((ascending[middle] ?? 0) <= bound) from = middle + 1
    else to = middle
  }
  return from
}

/** The next version that somebody wrote, by object: a version may be missing when its writer was not observed. */
const successors = (history: ReadonlyArray<Transaction>) => {
  const versions = new Map<string, Array<number>>()
  for (const { writes } of history) {
    for (const { object, version } of writes) {
      const known = versions.get(object)
      if (known === undefined) versions.set(object, [version])
      else known.push(version)
    }
  }
  for (const all of versions.values()) all.sort((a, b) => a - b)
  return ({ object, version }: Access): Access | undefined => {
    const all = versions.get(object) ?? []
    const next = all[countUpTo(all, version)]
    return next === undefined ? undefined : { object, version: next }
  }
}

/** Nodes behind those of the history stand for instants: what ended before one comes before what began after it. */
const addRealTime = (history: ReadonlyArray<Transaction>, graph: Array<Array<Edge>>): void => {
  const ends = [...new Set(history.flatMap(({ endedAt }) => endedAt ?? []))].sort((a, b) => a - b)
  const first = graph.length
  for (const at of ends.keys()) graph.push(at + 1 < ends.length ? [{ to: first + at + 1, kind: "rt" }] : [])
  for (const [at, { beganAt, endedAt }] of history.entries()) {
    if (endedAt !== undefined) graph[at]?.push({ to: first + countUpTo(ends, endedAt) - 1, kind: "rt" })
    const before = countUpTo(ends, beganAt)
    const last = ends[before - 1] === beganAt ? before - 2 : before - 1
    if (last >= 0) graph[first + last]?.push({ to: at, kind: "rt" })
  }
}

const graphOf = (history: ReadonlyArray<Transaction>, writers: ReadonlyMap<string, number>): Graph => {
  const graph: Array<Array<Edge>> = history.map(() => [])
  const next = successors(history)
  const link = (from: number | undefined, to: number | undefined, kind: Kind): void => {
    if (from !== undefined && to !== undefined && from !== to) graph[from]?.push({ to, kind })
  }
  const writerOf = (access: Access | undefined) => access === undefined ? undefined : writers.get(keyOf(access))
  for (const [at, { reads, writes }] of history.entries()) {
    for (const read of reads) {
      link(writerOf(read), at, "wr")
      link(at, writerOf(next(read)), "rw")
    }
    for (const write of writes) link(at, writerOf(next(write)), "ww")
  }
  addRealTime(history, graph)
  return graph
}

/** Groups of nodes that are each before and after each other (Tarjan, 1972), without recursion. */
const knots = (graph: Graph): ReadonlyArray<ReadonlyArray<number>> => {
  const index = new Map<number, number>()
  const low = new Map<number, number>()
  const stack: Array<number> = []
  const isOnStack = new Set<number>()
  const found: Array<ReadonlyArray<number>> = []
  const enter = (node: number): { readonly node: number; next: number } => {
    index.set(node, index.size)
    low.set(node, index.size - 1)
    stack.push(node)
    isOnStack.add(node)
    return { node, next: 0 }
  }
  const lower = (node: number, to: number | undefined): void => {
    if (to !== undefined) low.set(node, Math.min(low.get(node) ?? to, to))
  }
  const leave = (node: number): void => {
    if (low.get(node) !== index.get(node)) return
    const knot = stack.splice(stack.lastIndexOf(node))
    for (const each of knot) isOnStack.delete(each)
    if (knot.length > 1) found.push(knot)
  }
  for (const root of graph.keys()) {
    if (index.has(root)) continue
    const path = [enter(root)]
    for (let step = path.at(-1); step !== undefined; step = path.at(-1)) {
      const edge = graph[step.node]?.[step.next++]
      if (edge === undefined) {
        path.pop()
        leave(step.node)
        const parent = path.at(-1)
        if (parent !== undefined) lower(parent.node, low.get(step.node))
      } else if (!index.has(edge.to)) path.push(enter(edge.to))
      else if (isOnStack.has(edge.to)) lower(step.node, index.get(edge.to))
    }
  }
  return found
}

/** A shortest way round within a knot, in words. */
const wayRound = (history: ReadonlyArray<Transaction>, graph: Graph, knot: ReadonlyArray<number>): string => {
  const inside = new Set(knot)
  const start = knot.find((node) => node < history.length) ?? 0
  const cameBy = new Map<number, { readonly from: number; readonly kind: Kind }>()
  const queue = [start]
  for (let at = 0; at < queue.length && !cameBy.has(start); at++) {
    const from = queue[at] ?? start
    for (const { kind, to } of graph[from] ?? []) {
      if (!inside.has(to) || cameBy.has(to)) continue
      cameBy.set(to, { from, kind })
      queue.push(to)
    }
  }
  const words: Array<string> = []
  let node = start
  do {
    const came = cameBy.get(node)
    if (came === undefined) break
    const name = history[node]?.name
    if (name !== undefined) words.unshift(`-${came.kind}-> ${name}`)
    node = came.from
  } while (node !== start)
  return `${history[start]?.name} ${words.join(" ")}`
}

/** Why the history has no order; empty when it has one. */
export const check = (history: ReadonlyArray<Transaction>): ReadonlyArray<string> => {
  const { writers, wrong } = writersOf(history)
  const graph = graphOf(history, writers)
  return [...wrong, ...knots(graph).map((knot) => `no order: ${wayRound(history, graph, knot)}`)]
}
