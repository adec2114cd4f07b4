/** Who is measured: Sluice, its peers, and what the tutorials begin with. A peer that cannot be had here is named so and left out. */
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { has } from "../fetch/processes.ts"
import type { World } from "./measures.ts"

export interface Contender {
  readonly name: string
  /** The server: a program that prints its address and ends on SIGTERM. `undefined`: cannot be had here. */
  readonly command: ((world: World) => readonly [string, ReadonlyArray<string>]) | undefined
  readonly connections: number
}

const packages = { fastify: "5.12.8", postgres: "3.4.9", pg: "8.23.1", autocannon: "9.0.0" }

/** Installs the packages of the peers into bench/peers when they are first needed; whether they are there. */
const install = (): boolean => {
  const directory = join(import.meta.dirname, "../peers")
  const wanted = JSON.stringify({ private: true, dependencies: packages }, null, 2)
  const manifest = join(directory, "package.json")
  const installed = join(directory, "node_modules/.package-lock.json")
  if (existsSync(installed) && readFileSync(manifest, "utf8") === wanted) return true
  mkdirSync(directory, { recursive: true })
  writeFileSync(manifest, wanted)
  try {
    execFileSync("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock"], {
      cwd: directory,
      stdio: "inherit"
    })
    return true
  } catch (error) {
    console.error(`npm cannot install ${Object.keys(packages).join(", ")}: ${String(error)}`)
    return false
  }
}

/** A Python that has these modules: Debian's, or what comes first on the path. */
const pythonWith = (modules: string): string | undefined => {
  const found = ["/usr/bin/python3", "python3"].find((command) => has(command, "-c", `import ${modules}`))
  if (found === undefined) console.error(`no python3 can import ${modules}: that row is left out`)
  return found
}

const says = (command: string, ...args: ReadonlyArray<string>): string =>
  spawnSync(command, args, { encoding: "utf8" }).stdout.trim()

/** Of V8, as `npm start` and the command give them. */
const flags = ["--min-semi-space-size=16", "--max-semi-space-size=16", "--heap-growing-percent=10"]

const here = (file: string): string => join(import.meta.dirname, file)

/** Everyone, and a line that says in which versions. */
export const find = () => {
  const hasPackages = install()
  const hasWrk = spawnSync("wrk", ["-v"]).error === undefined
  if (!hasPackages && !hasWrk) {
    throw new Error("no load: install wrk (Debian: apt-get install wrk), or let npm install autocannon")
  }
  const aiohttp = pythonWith("aiohttp, asyncpg")
  const psycopg2 = pythonWith("psycopg2")
  const script = (
    program: string | undefined,
    file: string,
    ...args: ReadonlyArray<string>
  ): Contender["command"] =>
    program === undefined ? undefined : ({ socketDirectory }) => [program, [here(file), socketDirectory, ...args]]
  const node = hasPackages ? process.execPath : undefined
  const many = 64
  const peers: ReadonlyArray<Contender> = [
    { name: "fastify + postgres", command: script(node, "fastify.mjs", "postgres"), connections: many },
    { name: "fastify + pg", command: script(node, "fastify.mjs", "pg"), connections: many },
    {
      name: "aiohttp + asyncpg",
      command: script(aiohttp, "aiohttp_asyncpg.py"),
      connections: many
    }
  ]
  const python = (name: string, mode: string, connections: number): Contender => ({
    name,
    command: script(psycopg2, "one_at_a_time.py", mode),
    connections
  })
  const oneAtATime: ReadonlyArray<Contender> = [
    python("Python http.server + psycopg2, one connection kept alive", "keep-alive", 1),
    python(`the same, ${many} connections, closed after each answer`, "close", many),
    python(`the same, and a connection to the database for each request, as the tutorials write it`, "connect", many),
    {
      name: `node:http + pg, one request at a time, ${many} connections`,
      command: script(node, "one_at_a_time.mjs"),
      connections: many
    }
  ]
  const sluice: Contender = {
    name: "**Sluice**",
    command: () => [process.execPath, [...flags, here("sluice.ts")]],
    connections: many
  }
  const load = hasWrk ? says("wrk", "-v").split(" [")[0] ?? "wrk" : `autocannon ${packages.autocannon}`
  const versions = [
    `load by ${load}`,
    hasPackages
      ? `fastify ${packages.fastify}, postgres ${packages.postgres}, pg ${packages.pg}`
      : "fastify, postgres and pg are not installed (npm could not)",
    aiohttp === undefined
      ? "aiohttp and asyncpg are not installed (Debian: apt-get install python3-aiohttp python3-asyncpg)"
      : says(
        aiohttp,
        "-c",
        `import aiohttp, asyncpg, importlib.util, platform
uvloop = __import__("uvloop") if importlib.util.find_spec("uvloop") else None
print(f"aiohttp {aiohttp.__version__}, asyncpg {asyncpg.__version__}, uvloop {uvloop.__version__ if uvloop else 'not installed'}, Python {platform.python_version()}")`
      ),
    psycopg2 === undefined
      ? "psycopg2 is not installed (Debian: apt-get install python3-psycopg2)"
      : says(psycopg2, "-c", `import psycopg2; print("psycopg2", psycopg2.__version__.split()[0])`)
  ]
  return { sluice, peers, oneAtATime, hasWrk, many, load, versions: `${versions.join("; ")}.` }
}

export type Found = ReturnType<typeof find>
