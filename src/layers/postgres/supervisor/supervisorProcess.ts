/**
 * The owner of the embedded database of one data directory: a small process of its own, in its own session, so that
 * neither Ctrl-C nor the end of the program that started it takes the server away from the others.
 *
 * - It holds the lock of the directory as long as it lives, so there is one supervisor and one server.
 * - A connection to `pg.sock` is a use. When the last one closes (the kernel sees to that after kill -9) it shuts the
 *   server down and leaves.
 * - Killed itself, it takes the server along (`setpriv --pdeathsig`), or the next supervisor stops the orphan first.
 *
 * Plain Node, no Effect: it starts in a third of the time and stays small. Its starter reads one line from stdout.
 */
import { connect } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Binaries from "./Binaries.ts"
import * as Cluster from "./Cluster.ts"
import { fromSystem } from "./Failure.ts"
import * as Files from "./Files.ts"
import * as Lock from "./Lock.ts"
import * as Owner from "./Owner.ts"
import * as Postmaster from "./Postmaster.ts"
import type { MessageEncoded, SupervisorOptions } from "./Protocol.ts"
import * as Users from "./Users.ts"

const options: SupervisorOptions = JSON.parse(process.argv[2] ?? "{}")
const { directory } = options
const logFile = join(directory, Files.log)
/** Relative, so that a long path is no trouble. */
const socketPath = Files.controlSocket

/** Our starter connects at once; if it was killed meanwhile nobody comes. */
const firstUserMillis = 2000
const lockPauseMillis = 10
/** More deaths of the server than this within the window, and we give up. */
const restartsMax = 5
const restartWindowMillis = 60_000

/** The one line that the starter waits for. */
const answer = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

const isServed = (): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ path: socketPath })
  socket.once("connect", () => resolve(true))
  socket.once("error", () => resolve(false))
  return promise.finally(() => socket.destroy())
}

/** Waits for the lock while its holder is leaving; `false` when the holder is there to serve. */
const takeLock = async (): Promise<boolean> => {
  while (!Lock.take(Files.lock, directory)) {
    if (await isServed()) return false
    await sleep(lockPauseMillis)
  }
  return true
}

const serve = async (): Promise<void> => {
  const { promise: left, resolve } = Promise.withResolvers<"left">()
  // The decision and the closed door are one step: nobody may come in and be told "ready" by a server about to stop. Who
  // comes from here on finds no socket, starts the next supervisor, and that one waits for our lock.
  const leave = (): void => {
    users.close()
    resolve("left")
  }
  let { lingerMillis } = options
  let timer = setTimeout(leave, firstUserMillis)
  const users = await Users.listen(socketPath, lingerMillis === 0, (count) => {
    clearTimeout(timer)
    if (count === 0) timer = setTimeout(leave, lingerMillis)
  })
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, leave)
  answer("listening")
  const report = (text: string): void => users.say({ type: "progress", text })
  let server: Postmaster.Postmaster | undefined
  try {
    const owner = Owner.decide(directory)
    const binaries = Binaries.find(owner, options.temporary, report)
    const cluster: Cluster.ClusterOptions = { directory, logFile, binaries, owner }
    const path = await Cluster.prepare(cluster, report)
    const deaths: Array<number> = []
    while (true) {
      server = await Postmaster.start(path, cluster, options.settings, report)
      users.say({ type: "ready", supervisorPid: process.pid, serverPid: server.pid })
      const outcome = await Promise.race([left, server.ended.then((output) => ({ output }))])
      if (outcome === "left") break
      const now = performance.now()
      deaths.push(now)
      while (now - (deaths[0] ?? now) > restartWindowMillis) deaths.shift()
      if (deaths.length > restartsMax) throw Cluster.explain(outcome.output, cluster)
      users.say({ type: "restarting", text: "the database server ended by itself and is started again" })
    }
  } catch (error) {
    const failed: MessageEncoded = { type: "failed", reason: fromSystem(error, directory, logFile).reason }
    users.say(failed)
    // Whoever is on the way must hear it too: the first to leave after that ends it.
    lingerMillis = 0
    await left
  }
  await server?.stop()
  users.release()
  clearTimeout(timer)
}

process.chdir(directory)
process.umask(0o077)
try {
  if (await takeLock()) await serve()
  else answer("served")
} catch (error) {
  answer(JSON.stringify(fromSystem(error, directory, logFile).reason))
}
process.exit(0)
