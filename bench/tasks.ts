/**
 * Tasks: what a fan-out, a waiting task, a permit and the parts that are always on cost, beside peers. Each figure in a process of its
 * own; the contenders of a figure take turns, so that a slow minute of the machine is everyone's.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { join } from "node:path"
import type { BenchOptions } from "./main.ts"

const contenderFile = join(import.meta.dirname, "tasks/contender.ts")
const pythonFile = join(import.meta.dirname, "tasks/semaphore.py")
const python = ["/usr/bin/python3", "python3"].find((command) =>
  spawnSync(command, ["-c", "import asyncio"]).status === 0
)

const tasks = 100_000

const measure = (figure: string, contender: string, size: number): number =>
  contender === asyncio && python !== undefined
    ? Number(execFileSync(python, [pythonFile, String(size)]))
    : Number(execFileSync(process.execPath, ["--expose-gc", contenderFile, figure, contender, String(size)]))

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/** The median of each contender, measured in turns. */
const inTurns = (
  figure: string,
  contenders: ReadonlyArray<string>,
  size: number,
  runs: number
): ReadonlyArray<number> => {
  const all = contenders.map((): Array<number> => [])
  for (let run = 0; run < runs; run++) {
    for (const [i, contender] of contenders.entries()) all[i]?.push(measure(figure, contender, size))
  }
  return all.map(median)
}

const asyncio = "asyncio, gather and Semaphore"
const fanOutContenders = ["p-limit", "p-queue", "Effect.forEach", "sluice"]
const ours = "sluice: FanOut, with names, a deadline and cancellation"

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n")

const fanOut = (runs: number): string => {
  const contenders = python === undefined ? fanOutContenders : [...fanOutContenders, asyncio]
  const settled = inTurns("settled promise", fanOutContenders, tasks, runs)
  const turns = inTurns("turn of the loop", contenders, tasks, runs)
  const cell = (values: ReadonlyArray<number>, i: number): string => {
    const value = values[i]
    return value === undefined ? "" : `${value.toFixed(2)} us (${(value / (values[0] ?? 1)).toFixed(2)}x)`
  }
  return table(
    [
      `${tasks.toLocaleString("en")} tasks, 100 at once`,
      "time per task, a settled promise",
      "time per task, one turn of the loop"
    ],
    contenders.map((name, i) => [name === "sluice" ? ours : name, cell(settled, i), cell(turns, i)])
  )
}

const memory = (runs: number): string => {
  const contenders = ["p-limit", "Effect fibers on a Semaphore", "sluice fibers on a FairSemaphore", "sluice FanOut"]
  const bytes = inTurns("waiter", contenders, tasks, runs)
  return table(
    ["memory of a waiting task", "bytes"],
    contenders.map((name, i) => [
      name === "sluice FanOut" ? "sluice FanOut (items that wait are not tasks yet)" : name,
      (bytes[i] ?? 0).toFixed(0)
    ])
  )
}

const permits = (runs: number): string => {
  const sizes = [1000, 10_000, 100_000]
  const fair = sizes.map((size) => inTurns("permit", ["sluice FairSemaphore"], size, runs)[0] ?? Number.NaN)
  // A hundred thousand would take minutes: each release copies the whole line.
  const effect = sizes.slice(0, 2).map((size) =>
    inTurns("permit", ["Effect Semaphore"], size, Math.min(runs, 3))[0] ?? Number.NaN
  )
  const cells = (values: ReadonlyArray<number>) =>
    sizes.map((_, i) => values[i] === undefined ? "not run" : `${values[i].toFixed(1)} us`)
  return table(["a permit, waiters in line", ...sizes.map((size) => size.toLocaleString("en"))], [
    ["Effect Semaphore", ...cells(effect)],
    ["sluice FairSemaphore", ...cells(fair)]
  ])
}

const overhead = (runs: number): string => {
  const names = [
    "named task, us",
    "loop monitor of an idle process, % of a core",
    "offload round trip, us"
  ]
  const values = names.map((name) => inTurns("overhead", [name], tasks, runs)[0] ?? Number.NaN)
  return table(["always on", ""], names.map((name, i) => [name, (values[i] ?? 0).toFixed(2)]))
}

/** Measures everything; `runs` is how often. */
export const run = (options: BenchOptions): Promise<string> =>
  Promise.resolve([fanOut, memory, permits, overhead].map((part) => part(options.runs)).join("\n\n"))
