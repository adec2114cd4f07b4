/** Which processes belong to a data directory: so that a test can count what it leaves behind (Linux). */
import { Effect } from "effect"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { eventually } from "./eventually.ts"

export interface Process {
  readonly pid: number
  readonly command: string
}

const listOnce = (directory: string): ReadonlyArray<Process> =>
  readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const cwd = readlinkSync(`/proc/${name}/cwd`)
      if (cwd !== directory && !cwd.startsWith(`${directory}/`)) return []
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").join(" ").trim()
      return [{ pid: Number(name), command }]
    } catch {
      return []
    }
  })

/** The processes that work in a directory or below it, now. */
export const processesNow = (directory: string): Effect.Effect<ReadonlyArray<Process>> =>
  Effect.sync(() => listOnce(directory))

/** Those that do not go: a server that was asked to stop may take a moment. Real time. */
export const processesOf = (directory: string): Effect.Effect<ReadonlyArray<Process>> =>
  Effect.andThen(
    Effect.exit(eventually(processesNow(directory), (all) => all.length === 0, { within: "20 seconds" })),
    processesNow(directory)
  )
