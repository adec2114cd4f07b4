/**
 * Hours of seeds over several processes. Each plays seeds of its own and tells of every one in a line of JSON; here
 * they are added up. What goes wrong first is kept in a file, with its story.
 */
import { Schema } from "effect"
import { spawn } from "node:child_process"
import { appendFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { type Played, Tally } from "./Tally.ts"

export interface SoakOptions {
  readonly hours: number
  readonly jobs: number
  readonly firstSeed: number
  /** Passed on to each process. */
  readonly args: ReadonlyArray<string>
  /** Where failures go. */
  readonly failures: string
  readonly progressMillis: number
  readonly say: (line: string) => void
}

const keptFailures = 20
/** A process that was asked to stop ends its seed first. */
const graceMillis = 120_000

const { Array: List, Finite, Int, Literal, String, Struct, fromJsonString } = Schema

const decode = Schema.decodeUnknownOption(fromJsonString(Struct({
  type: Literal("verdict"),
  level: String,
  scene: String,
  seed: Int,
  wrong: List(String),
  accepted: Int,
  strikes: List(String),
  kinds: List(String),
  statements: Int,
  steps: Int,
  virtualSeconds: Finite,
  lockWaits: Int,
  deadlocks: Int,
  hash: String,
  story: List(String)
})))

/** One process, until it has ended; what it says beside its lines is in `problem` when it ended badly. */
const play = (args: ReadonlyArray<string>, signal: AbortSignal, note: (played: Played) => void) =>
  new Promise<{ readonly problem: string | undefined }>((resolve) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("simulate.ts", import.meta.url)), ...args], {
      // Ctrl-C is for the parent, who asks.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"]
    })
    let said = ""
    child.stderr.on("data", (text) => (said = `${said}${text}`.slice(-2000)))
    const timer: { kill?: NodeJS.Timeout } = {}
    const stop = (): void => {
      child.kill("SIGTERM")
      timer.kill = setTimeout(() => child.kill("SIGKILL"), graceMillis)
    }
    signal.addEventListener("abort", stop)
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = decode(line)
      if (found._tag === "Some") note(found.value)
    })
    child.on("close", (code) => {
      signal.removeEventListener("abort", stop)
      clearTimeout(timer.kill)
      // 1 is for seeds that were wrong: they have been told.
      resolve({
        problem: code === 0 || code === 1 || (code === 130 && signal.aborted)
          ? undefined
          : `a process ended with ${code}: ${said}`
      })
    })
  })

/** Plays until the time is up, or `signal` says so. */
export const soak = async (
  options: SoakOptions,
  signal: AbortSignal
): Promise<{ readonly tally: Tally; readonly problems: ReadonlyArray<string> }> => {
  const { args, failures, firstSeed, hours, jobs, progressMillis, say } = options
  const tally = new Tally()
  let kept = 0
  const note = (played: Played): void => {
    tally.add(played)
    if (played.wrong.length === 0) return
    say(`WRONG: ${played.level} ${played.scene}, seed ${played.seed}: ${played.wrong[0]}`)
    if (kept++ < keptFailures) appendFileSync(failures, `${JSON.stringify(played)}\n`)
  }
  const timer = setInterval(() => say(tally.line), progressMillis)
  const ended = await Promise.all(Array.from({ length: jobs }, (_, job) =>
    play(
      [...args, "--json", "--seed", `${firstSeed + job}`, "--step", `${jobs}`, "--hours", `${hours}`],
      signal,
      note
    )))
  clearInterval(timer)
  return { tally, problems: ended.flatMap(({ problem }) => problem === undefined ? [] : [problem]) }
}
