/**
 * Fetching on loopback beside its peers: small GETs to one host and to a thousand, a list from start to end, large bodies to disk. Each
 * contender in a process of its own, the server on the other core; rounds are interleaved, so that a slow minute of the machine is
 * everyone's.
 */
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as lists from "./fetch/lists.ts"
import { canPin, median, output, pinned, python, serve, type Server } from "./fetch/processes.ts"
import { runs as recorded } from "./fetch/runs.ts"
import type { BenchOptions } from "./main.ts"

const concurrency = 100

const contenders = [
  "sluice",
  "sluice, loop monitor on",
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

const measure = async (name: string, url: string, seconds: number, hosts: number): Promise<Figures> => {
  const script = join(import.meta.dirname, "fetch", name === "aiohttp" ? "aiohttp_client.py" : "client.ts")
  const limits = [String(seconds), String(concurrency)]
  const args = name === "aiohttp"
    ? pinned(1, python, [script, url, ...limits])
    : pinned(1, process.execPath, [script, name, url, ...limits, String(hosts)])
  return JSON.parse(await output(...args)) as Figures
}

/** A table of requests per second over so many hosts. */
const small = async (
  title: string,
  names: ReadonlyArray<string>,
  server: Server,
  hosts: number,
  { runs, seconds }: BenchOptions
): Promise<{ readonly table: string; readonly rawPerSecond: number }> => {
  const all = new Map<string, Array<Figures>>(names.map((name) => [name, []]))
  for (let round = 1; round <= runs; round++) {
    for (const name of names) {
      const figures = await measure(name, server.url, seconds, hosts)
      all.get(name)?.push(figures)
      console.error(`${round}/${runs} ${name}: ${perSecond(figures)}/s, ${perCpuSecond(figures)} per CPU-second`)
      await sleep(200)
    }
  }
  const of = (name: string, figure: (each: Figures) => number) => median((all.get(name) ?? []).map(figure))
  const raw = of("undici.request", perCpuSecond)
  const rows = names.map((name) => [
    name.startsWith("sluice") ? `**${name.replace("sluice", "Sluice, all policies")}**` : name,
    format(of(name, perSecond)),
    format(of(name, perCpuSecond)),
    (of(name, perCpuSecond) / raw).toFixed(2),
    of(name, (each) => each.rssMiB).toFixed(0)
  ])
  const table = [
    `${title}, ${server.name}${canPin ? ", client and server on a core each" : ""}.`,
    "",
    "| client | requests/s | per CPU-second | of raw undici | RSS MiB |",
    "|---|--:|--:|--:|--:|",
    ...rows.map((row) => `| ${row.join(" | ")} |`)
  ].join("\n")
  return { table, rawPerSecond: of("undici.request", perSecond) }
}

/** The tables of fetching. */
export const run = async (options: BenchOptions): Promise<string> => {
  const server = await serve()
  try {
    const names = contenders.filter((name) => name !== "aiohttp" || python !== "")
    const one = await small(`1 KiB GETs at concurrency ${concurrency} to one host`, names, server, 1, options)
    const some = ["sluice", "undici.request", "fetch"]
    const many = await small(`The same to 1,000 hosts (127.0.0.0/8)`, some, server, 1000, options)
    const rest = await lists.run(server, options.runs)
    const kept = await recorded(server.url, one.rawPerSecond, options.runs)
    return [one.table, many.table, ...rest, kept].join("\n\n")
  } finally {
    server.stop()
  }
}

const perSecond = ({ requests, seconds }: Figures) => Math.round(requests / seconds)
const perCpuSecond = ({ cpuSeconds, requests }: Figures) => Math.round(requests / cpuSeconds)
const format = (value: number) => value.toLocaleString("en-US")
