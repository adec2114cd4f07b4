/** Which processes belong to a data directory: so that a test can count what it leaves behind (Linux). */
import { Effect } from "effect"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"

export interface Process {
  readonly pid: number
  readonly command: string
}

const goneMillis = 5000
const pollMillis = 20

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

/** Those that are still there after a few seconds: a server that was asked to stop may take a moment. Real time. */
export const processesOf = (directory: string): Effect.Effect<ReadonlyArray<Process>> =>
  Effect.promise(async () => {
    for (let waited = 0; waited < goneMillis; waited += pollMillis) {
      if (listOnce(directory).length === 0) return []
      await sleep(pollMillis)
    }
    return listOnce(directory)
  })
