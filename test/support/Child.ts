/** A real child process of a test, read line by line. It is killed when the scope closes. */
import { type Cause, Effect, Queue, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"

/** One line of JSON that a child printed. */
export type Line = Readonly<Record<string, unknown>>

export interface Child {
  readonly process: ChildProcess
  readonly pid: number
  /** The lines it printed, parsed; ends with its stdout. */
  readonly lines: Queue.Dequeue<Line, Cause.Done>
  /** Its exit code or the signal that ended it. */
  readonly exit: Effect.Effect<number | string>
}

export interface Options {
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly cwd?: string | undefined
  /** In a process group of its own, as a shell with job control would have it. */
  readonly detached?: boolean | undefined
}

/** Starts a TypeScript program under our own Node. */
export const start = (
  program: string,
  args: ReadonlyArray<string>,
  options: Options = {}
): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const lines = yield* Queue.unbounded<Line, Cause.Done>()
      const { env, gid, uid, ...rest } = options
      const child = spawn(process.execPath, [program, ...args], {
        ...rest,
        ...(uid !== undefined && { uid }),
        ...(gid !== undefined && { gid }),
        stdio: ["pipe", "pipe", "inherit"],
        env: { ...process.env, NODE_OPTIONS: undefined, ...env }
      })
      let text = ""
      child.stdout.on("data", (chunk) => {
        const all = (text + String(chunk)).split("\n")
        text = all.pop() ?? ""
        for (const line of all) if (line.startsWith("{")) Queue.offerUnsafe(lines, JSON.parse(line))
      })
      child.stdout.on("close", () => Queue.endUnsafe(lines))
      child.stdin.on("error", () => {})
      const exited = Promise.withResolvers<number | string>()
      child.on("exit", (code, signal) => exited.resolve(signal ?? code ?? "?"))
      return { process: child, pid: child.pid ?? 0, lines, exit: Effect.promise(() => exited.promise) }
    }),
    (child) =>
      Effect.suspend(() => {
        if (child.process.exitCode !== null || child.process.signalCode !== null) return Effect.void
        child.process.kill("SIGKILL")
        return Effect.asVoid(child.exit)
      })
  )
