/** The command line as people run it: a real process of a test, its lines and its end. It is killed when the scope closes. */
import { Effect, Queue, type Scope } from "effect"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const program = fileURLToPath(new URL("../../src/programs/bin/main.ts", import.meta.url))

export interface SluiceProcess {
  /** What it says on standard output and error. */
  readonly lines: Queue.Dequeue<string>
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Its exit code or the signal that ended it. */
  readonly exit: Effect.Effect<number | string>
}

/** Starts `sluice` with these arguments, on the embedded database of the SLUICE_DATA_DIR in `env`. */
export const start = (
  args: ReadonlyArray<string>,
  env: Record<string, string>
): Effect.Effect<SluiceProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const lines = yield* Queue.unbounded<string>()
      const child = spawn(process.execPath, [program, ...args], {
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, NODE_OPTIONS: undefined, DATABASE_URL: undefined, SLUICE_DRAIN_DELAY: "0", ...env }
      })
      for (const output of [child.stdout, child.stderr]) {
        // Whole lines: what is written at once may come in parts.
        createInterface({ input: output }).on("line", (line) => {
          if (line !== "") Queue.offerUnsafe(lines, line)
        })
      }
      const exited = Promise.withResolvers<number | string>()
      child.on("exit", (code, signal) => exited.resolve(code ?? signal ?? "?"))
      return {
        lines,
        kill: (signal: NodeJS.Signals) => Effect.sync(() => void child.kill(signal)),
        exit: Effect.promise(() => exited.promise)
      }
    }),
    (child) => Effect.andThen(child.kill("SIGKILL"), child.exit)
  )

/** Waits for a line that has this in it, and gives what its first group matched, else the line. */
export const awaitLine = Effect.fnUntraced(function*(child: SluiceProcess, pattern: RegExp) {
  while (true) {
    const line = yield* Queue.take(child.lines)
    const match = pattern.exec(line)
    if (match !== null) return match[1] ?? line
  }
})

/** Waits until a server listens, and says where. */
export const listening = (server: SluiceProcess): Effect.Effect<string> => awaitLine(server, /listening on (http:\S+)/)
