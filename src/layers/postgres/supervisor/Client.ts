/** Reaches the supervisor of a data directory over its control socket, starting one when there is none. */
import { type Cause, Effect, Exit, Option, Queue, Schema, type Scope } from "effect"
import { spawn } from "node:child_process"
import { closeSync, openSync } from "node:fs"
import { connect as connectSocket, type Socket } from "node:net"
import { join } from "node:path"
import { execPath } from "node:process"
import { fileURLToPath } from "node:url"
import { DataDirectoryUnusable, EmbeddedFailure, ServerFailed } from "../EmbeddedFailure.ts"
import * as Files from "./Files.ts"
import * as Protocol from "./Protocol.ts"

/** A use of the server, for as long as its scope is open. */
export interface Use {
  readonly ready: Ready
  /** What the supervisor says after that; it ends when the supervisor does. */
  readonly messages: Queue.Dequeue<Protocol.Message, Cause.Done>
}

export type Ready = Extract<Protocol.Message, { readonly type: "ready" }>

/** How often a supervisor that leaves just as we come is met before we give up. */
const attemptsMax = 20
/** The last user waits this long for the server to be down, so that a program leaves nothing behind it. */
const goodbyeMillis = 1000

const decodeMessage = Schema.decodeUnknownOption(Schema.fromJsonString(Protocol.Message))
const decodeFailure = Schema.decodeUnknownOption(Schema.fromJsonString(EmbeddedFailure))

interface Link {
  readonly socket: Socket
  readonly messages: Queue.Queue<Protocol.Message, Cause.Done>
}

/** Feeds the queue with whole lines. The supervisor says little: two lines per restart of the server at most. */
const feed = ({ messages, socket }: Link): void => {
  let rest = ""
  socket.on("data", (chunk) => {
    const lines = (rest + chunk.toString()).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) {
      const message = decodeMessage(line)
      if (Option.isSome(message)) Queue.offerUnsafe(messages, message.value)
    }
  })
  socket.on("error", () => socket.destroy())
  socket.on("close", () => Queue.endUnsafe(messages))
}

/** `undefined` when nobody listens there. */
const dial = (path: string): Effect.Effect<Socket | undefined> =>
  Effect.callback<Socket | undefined>((resume) => {
    const socket = connectSocket({ path })
    socket.once("connect", () => {
      socket.removeAllListeners("error")
      resume(Effect.succeed(socket))
    })
    socket.once("error", () => resume(Effect.undefined))
    return Effect.sync(() => socket.destroy())
  })

/**
 * Ends the use and waits for the supervisor's answer. The bound is the socket's own timer: this runs as a finalizer, where
 * an interruptible wait is not to be had, and must not stand still under a test clock.
 */
const hangUp = ({ socket }: Link): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    socket.ref()
    socket.once("close", () => resume(Effect.void))
    socket.setTimeout(goodbyeMillis, () => socket.destroy())
    socket.end()
  })

const open = (path: string): Effect.Effect<Link | undefined, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const socket = yield* dial(path)
      if (socket === undefined) return undefined
      const messages = yield* Queue.sliding<Protocol.Message, Cause.Done>(64)
      const link = { socket, messages }
      feed(link)
      return link
    }),
    (link) => link === undefined ? Effect.void : hangUp(link)
  )

/** From source the cache saves the type stripper: 20 MB and 30 ms. */
const isSource = import.meta.url.endsWith(".ts")
const program = fileURLToPath(new URL(`./supervisorProcess${isSource ? ".ts" : ".js"}`, import.meta.url))

/**
 * Starts a supervisor in a session of its own and waits until it listens, or says that another one does. It gets an empty
 * environment, but for that cache: it lives long and needs none of our secrets.
 */
const launch = (options: Protocol.SupervisorOptions): Effect.Effect<void, EmbeddedFailure> => {
  const logFile = join(options.directory, Files.log)
  const openLog = Effect.try({
    try: () => openSync(logFile, "a", 0o600),
    catch: (error) => new DataDirectoryUnusable({ directory: options.directory, detail: String(error) })
  })
  return Effect.flatMap(openLog, (log) =>
    Effect.callback<void, EmbeddedFailure>((resume) => {
      const flags = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=1", "--max-old-space-size=64"]
      const child = spawn(execPath, [...flags, program, JSON.stringify(options)], {
        cwd: options.directory,
        detached: true,
        env: isSource ? { NODE_COMPILE_CACHE: join(options.directory, "pg.cache") } : {},
        stdio: ["ignore", "pipe", log]
      })
      closeSync(log)
      child.unref()
      let output = ""
      const failWith = (detail: string): void => resume(Effect.fail(new ServerFailed({ detail, logFile })))
      child.once("error", (error) => failWith(`its supervisor could not be started: ${error.message}`))
      child.once("close", (code) => {
        if (!output.includes("\n")) failWith(`its supervisor ended at once with code ${code ?? "?"}`)
      })
      child.stdout?.on("data", (chunk: Buffer) => {
        output += chunk.toString()
        if (!output.includes("\n")) return
        child.stdout?.destroy()
        resume(Option.match(decodeFailure(output.trim()), { onNone: () => Effect.void, onSome: Effect.fail }))
      })
    }))
}

/** Waits for the server; `undefined` when the supervisor left before it was up. */
const awaitReady = Effect.fnUntraced(function*(
  link: Link,
  report: (text: string) => Effect.Effect<void>
): Effect.fn.Return<Ready | undefined, EmbeddedFailure> {
  while (true) {
    const next = yield* Effect.exit(Queue.take(link.messages))
    if (Exit.isFailure(next)) return undefined
    const message = next.value
    if (message.type === "ready") return message
    if (message.type === "failed") return yield* message.reason
    yield* report(message.text)
  }
})

/** Uses the server of a data directory until the scope closes; starts it when nobody else has. */
export const use = Effect.fnUntraced(function*(
  controlPath: string,
  options: Protocol.SupervisorOptions,
  report: (text: string) => Effect.Effect<void>
): Effect.fn.Return<Use, EmbeddedFailure, Scope.Scope> {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    if (attempt > 0) yield* launch(options)
    const link = yield* open(controlPath)
    if (link === undefined) continue
    const ready = yield* awaitReady(link, report)
    if (ready === undefined) continue
    link.socket.unref()
    return { ready, messages: link.messages }
  }
  return yield* new ServerFailed({
    detail: `${attemptsMax} supervisors left as we came`,
    logFile: join(options.directory, Files.log)
  })
})
