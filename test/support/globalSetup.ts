/** Gives each vitest run one throw-away database server, and takes it away at the end. See `TestDatabase.ts`. */
import { randomBytes } from "node:crypto"
import { chmod, mkdtemp, rm } from "node:fs/promises"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  interface ProvidedContext {
    readonly testDatabase: {
      /** The server's data directory; nothing is in it before the first test asks for a database. */
      readonly directory: string
      /** A part of every database's name. */
      readonly run: string
    }
  }
}

/** Asks the supervisor of a data directory for its pid, stops it, and waits until it has gone. */
const stopServer = (directory: string): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const socket = connect({ path: join(directory, "pg.sock") })
  let text = ""
  socket.on("data", (chunk) => {
    text += chunk.toString()
    const pid = /"supervisorPid":(\d+)/.exec(text)?.[1]
    if (pid !== undefined) process.kill(Number(pid), "SIGTERM")
  })
  socket.on("error", () => resolve())
  socket.on("close", () => resolve())
  return promise
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), "sluice-test-"))
  await chmod(directory, 0o755)
  project.provide("testDatabase", { directory, run: randomBytes(4).toString("hex") })
  return async () => {
    await stopServer(directory)
    await rm(directory, { recursive: true, force: true })
  }
}
