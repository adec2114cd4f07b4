/**
 * Processes for benchmarks: contenders on one core, servers on the other.
 */
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

export const has = (command: string, ...args: ReadonlyArray<string>) => spawnSync(command, args).status === 0
export const canPin = cpus().length > 1 && has("taskset", "-V")
export const pinned = (core: number, command: string, args: ReadonlyArray<string>): [string, ReadonlyArray<string>] =>
  canPin ? ["taskset", ["-c", String(core), command, ...args]] : [command, args]

export const output = (command: string, args: ReadonlyArray<string>): Promise<string> => {
  const { promise, reject, resolve } = Promise.withResolvers<string>()
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (chunk: Buffer) => text += chunk.toString())
  child.on("error", reject)
  child.on("exit", (code) => code === 0 ? resolve(text) : reject(new Error(`${command} ended with ${code}`)))
  return promise
}

export interface Server {
  readonly url: string
  readonly name: string
  /** Where nginx serves files from at `/files/`; `undefined` for the bundled server. */
  readonly root: string | undefined
  readonly stop: () => void
}

/** Debian's python3 has python3-aiohttp; another that comes first on the path may not. */
export const python = ["/usr/bin/python3", "python3"].find((command) => has(command, "-c", "import aiohttp")) ?? ""

/** nginx when it is there, else the bundled one. */
export const serve = async (): Promise<Server> => has("nginx", "-v") ? await nginx() : await bundled()

const start = (command: string, args: ReadonlyArray<string>) => {
  const [program, all] = pinned(0, command, args)
  return spawn(program, all, { stdio: ["ignore", "pipe", "inherit"] })
}

const bundled = async (): Promise<Server> => {
  const child = start(process.execPath, [join(import.meta.dirname, "server.mjs")])
  const { promise, resolve } = Promise.withResolvers<string>()
  child.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))
  return { url: `http://127.0.0.1:${await promise}`, name: "bundled server", root: undefined, stop: () => child.kill() }
}

const nginx = async (): Promise<Server> => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  const probe = createServer()
  const { promise, resolve } = Promise.withResolvers<number>()
  probe.listen(0, "127.0.0.1", () => {
    const address = probe.address()
    resolve(typeof address === "object" && address !== null ? address.port : 0)
  })
  const port = await promise
  probe.close()
  writeFileSync(
    join(directory, "nginx.conf"),
    `daemon off; master_process off; worker_processes 1; pid ${directory}/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/plain;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  sendfile on;
  server { listen 0.0.0.0:${port} backlog=4096; location /files/ { root ${directory}; } location / { return 200 "${
      "x".repeat(1024)
    }"; } }
}`
  )
  const child = start("nginx", ["-p", directory, "-c", join(directory, "nginx.conf")])
  await sleep(500)
  return {
    url: `http://127.0.0.1:${port}`,
    name: "nginx",
    root: join(directory, "files"),
    stop: () => {
      child.on("exit", () => rmSync(directory, { recursive: true }))
      child.kill()
    }
  }
}

/** The middle of some values. */
export const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0
