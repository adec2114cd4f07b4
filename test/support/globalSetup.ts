/** Gives each vitest run one throw-away database server, and takes it away at the end. See `TestDatabase.ts`. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Redacted } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { randomBytes } from "node:crypto"
import { chmod, mkdtemp, readdir, rm } from "node:fs/promises"
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

/** Drops what a run left on a server that is not its own: the template, and databases of killed tests. */
const dropAll = (url: string, run: string): Promise<void> =>
  Effect.gen(function*() {
    const sql = yield* PgClient.makeClient({
      url: Redacted.make(Object.assign(new URL(url), { pathname: "/postgres" }).toString())
    })
    const rows = yield* sql<{ readonly name: string }>`
      select datname as name from pg_database where datname ~ ${`^sluice_(test|template)_${run}`}`
    yield* Effect.forEach(rows, ({ name }) => sql`drop database ${sql(name)} with (force)`)
  }).pipe(Effect.scoped, Effect.provide(Reactivity.layer), Effect.runPromise)

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Takes away what runs left behind that were killed; their servers ended with their last user. */
const removeStale = async (): Promise<void> => {
  for (const name of await readdir(tmpdir())) {
    const pid = /^sluice-(?:test|own)-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(tmpdir(), name), { recursive: true, force: true })
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await removeStale()
  const directory = await mkdtemp(join(tmpdir(), `sluice-test-${process.pid}-`))
  await chmod(directory, 0o755)
  const run = randomBytes(4).toString("hex")
  project.provide("testDatabase", { directory, run })
  return async () => {
    const given = process.env["SLUICE_TEST_DATABASE_URL"]
    if (given !== undefined && given !== "") await dropAll(given, run)
    await stopServer(directory)
    await rm(directory, { recursive: true, force: true })
  }
}
