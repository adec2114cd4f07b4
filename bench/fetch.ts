/**
 * Small GETs on loopback: Sluice with every policy on beside its peers. Each contender in a process of its own, the server on the
 * other core; rounds are interleaved, so that a slow minute of the machine is everyone's.
 */
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { runs as recorded } from "./fetch/runs.ts"
import type { BenchOptions } from "./main.ts"

const concurrency = 100

const contenders = [
  "sluice",
  "undici.request",
  "undici.request, abort and timer",
  "fetch",
  "Effect undici layer",
  "Effect undici layer, timeout and retry",
  "aiohttp"
]

interface Figures {
  readonly requests: number
  readonly seconds: number
  readonly cpuSeconds: number
  readonly rssMiB: number
}

const has = (command: string, ...args: ReadonlyArray<string>) => spawnSync(command, args).status === 0
const canPin = cpus().length > 1 && has("taskset", "-V")
const pinned = (core: number, command: string, args: ReadonlyArray<string>): [string, ReadonlyArray<string>] =>
  canPin ? ["taskset", ["-c", String(core), command, ...args]] : [command, args]

const output = (command: string, args: ReadonlyArray<string>): Promise<string> => {
  const { promise, reject, resolve } = Promise.withResolvers<string>()
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (chunk: Buffer) => text += chunk.toString())
  child.on("error", reject)
  child.on("exit", (code) => code === 0 ? resolve(text) : reject(new Error(`${command} ended with ${code}`)))
  return promise
}

interface Server {
  readonly url: string
  readonly name: string
  readonly stop: () => void
}

/** Debian's python3 has python3-aiohttp; another that comes first on the path may not. */
const python = ["/usr/bin/python3", "python3"].find((command) => has(command, "-c", "import aiohttp")) ?? ""

/** nginx when it is there, else the bundled one. */
const serve = async (): Promise<Server> => has("nginx", "-v") ? await nginx() : await bundled()

const start = (command: string, args: ReadonlyArray<string>) => {
  const [program, all] = pinned(0, command, args)
  return spawn(program, all, { stdio: ["ignore", "pipe", "inherit"] })
}

const bundled = async (): Promise<Server> => {
  const child = start(process.execPath, [join(import.meta.dirname, "fetch/server.mjs")])
  const { promise, resolve } = Promise.withResolvers<string>()
  child.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))
  return { url: `http://127.0.0.1:${await promise}`, name: "bundled server", stop: () => child.kill() }
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
  server { listen 127.0.0.1:${port} backlog=4096; location / { return 200 "${"x".repeat(1024)}"; } }
}`
  )
  const child = start("nginx", ["-p", directory, "-c", join(directory, "nginx.conf")])
  await sleep(500)
  return {
    url: `http://127.0.0.1:${port}`,
    name: "nginx",
    stop: () => {
      child.on("exit", () => rmSync(directory, { recursive: true }))
      child.kill()
    }
  }
}

const measure = async (name: string, url: string, seconds: number): Promise<Figures> => {
  const args = name === "aiohttp"
    ? pinned(1, python, [
      join(import.meta.dirname, "fetch/aiohttp_client.py"),
      url,
      String(seconds),
      String(concurrency)
    ])
    : pinned(1, process.execPath, [
      join(import.meta.dirname, "fetch/client.ts"),
      name,
      url,
      String(seconds),
      String(concurrency)
    ])
  return JSON.parse(await output(...args)) as Figures
}

const median = (values: ReadonlyArray<number>): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

/** The table of small GETs. */
export const run = async ({ runs, seconds }: BenchOptions): Promise<string> => {
  const server = await serve()
  const names = contenders.filter((name) => name !== "aiohttp" || python !== "")
  const all = new Map<string, Array<Figures>>(names.map((name) => [name, []]))
  try {
    for (let round = 1; round <= runs; round++) {
      for (const name of names) {
        const figures = await measure(name, server.url, seconds)
        all.get(name)?.push(figures)
        console.error(`${round}/${runs} ${name}: ${perSecond(figures)}/s, ${perCpuSecond(figures)} per CPU-second`)
        await sleep(200)
      }
    }
    return `${table(server, names, all)}\n\n${await recorded(server.url, median(rates(all, raw)), runs)}`
  } finally {
    server.stop()
  }
}

const raw = "undici.request"

const rates = (all: ReadonlyMap<string, ReadonlyArray<Figures>>, name: string) => (all.get(name) ?? []).map(perSecond)

const table = (
  server: Server,
  names: ReadonlyArray<string>,
  all: ReadonlyMap<string, ReadonlyArray<Figures>>
): string => {
  const of = (name: string, figure: (each: Figures) => number) => median((all.get(name) ?? []).map(figure))
  const rawPerCpuSecond = of(raw, perCpuSecond)
  const rows = names.map((name) =>
    `| ${name === "sluice" ? "**Sluice, all policies on**" : name} | ${format(of(name, perSecond))} | ${
      format(of(name, perCpuSecond))
    } | ` +
    `${(of(name, perCpuSecond) / rawPerCpuSecond).toFixed(2)} | ${of(name, (each) => each.rssMiB).toFixed(0)} |`
  )
  return [
    `1 KiB GETs at concurrency ${concurrency} on loopback, ${server.name}${
      canPin ? ", client and server on a core each" : ""
    }.`,
    "",
    "| client | requests/s | per CPU-second | of raw undici | RSS MiB |",
    "|---|--:|--:|--:|--:|",
    ...rows
  ].join("\n")
}

const perSecond = ({ requests, seconds }: Figures) => Math.round(requests / seconds)
const perCpuSecond = ({ cpuSeconds, requests }: Figures) => Math.round(requests / cpuSeconds)
const format = (value: number) => value.toLocaleString("en-US")
