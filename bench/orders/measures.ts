/** What the tables of orders share: the world they are measured in, processes, medians and rows. */
import { type ChildProcess, spawn } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"

/** A database with something in it. */
export interface World {
  readonly env: NodeJS.ProcessEnv
  readonly socketDirectory: string
  /** The process of the database server that all its others are children of. */
  readonly serverPid: number
  /** Orders that are there. */
  readonly ids: ReadonlyArray<string>
}

const children = new Set<ChildProcess>()
let stopped = false

/** Whether the benchmark was told to stop. */
export const isStopped = (): boolean => stopped

/** Ends what is running, and nothing more is started: the benchmark was told to stop. */
export const stopAll = (): void => {
  stopped = true
  for (const child of children) child.kill("SIGKILL")
}

/** A process of which the standard output is ours; it ends with the benchmark. */
export const start = (command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv) => {
  if (stopped) throw new Error("the benchmark was told to stop")
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env })
  children.add(child)
  const { promise: ended, resolve } = Promise.withResolvers<number | string>()
  const end = (how: number | string) => {
    children.delete(child)
    resolve(how)
  }
  child.once("error", (error) => end(error.message))
  child.once("close", (code, signal) => end(code ?? signal ?? "nothing"))
  return { pid: child.pid ?? 0, stdout: child.stdout, ended, kill: () => child.kill("SIGTERM") }
}

/** All that a command prints; fails when the command does. */
export const outputOf = async (
  command: string,
  args: ReadonlyArray<string>,
  env: NodeJS.ProcessEnv
): Promise<string> => {
  const { ended, stdout } = start(command, args, env)
  let text = ""
  stdout.on("data", (chunk: Buffer) => text += chunk.toString())
  const how = await ended
  if (how !== 0) throw new Error(`${command} ${args[0]} ended with ${how}`)
  return text
}

/** The same of a script for Node. */
export const output = (args: ReadonlyArray<string>, env: NodeJS.ProcessEnv): Promise<string> =>
  outputOf(process.execPath, args, env)

/** The numbers of `/proc/<pid>/stat` after the command's name; none where the system has no such file or the process is gone. */
const stat = (pid: number | string): ReadonlyArray<number> => {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ").map(Number) ?? []
  } catch {
    return []
  }
}

const tickMicros = 10_000
const ticks = (fields: ReadonlyArray<number>, from: number, to: number): number =>
  fields.slice(from, to).reduce((sum, value) => sum + value, 0)

/** User and system time of a process in microseconds; NaN where the system does not tell (only Linux does). */
export const cpuMicros = (pid: number): number => {
  const fields = stat(pid)
  return fields.length === 0 ? Number.NaN : ticks(fields, 11, 13) * tickMicros
}

/** The same of the whole database: the server's process, its children that live, and those that it has seen end. */
export const databaseCpuMicros = (serverPid: number): number => {
  const server = stat(serverPid)
  if (server.length === 0) return Number.NaN
  const living = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(stat)
    .filter((fields) => fields[1] === serverPid)
  return living.reduce((sum, fields) => sum + ticks(fields, 11, 13), ticks(server, 11, 15)) * tickMicros
}

export const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
export const whole = (value: number): string => Number.isNaN(value) ? "" : Math.round(value).toLocaleString("en-US")
export const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
