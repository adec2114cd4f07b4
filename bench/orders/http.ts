/**
 * Orders over HTTP: read, listed and placed, beside peers that do one statement for one request, and beside a service
 * that has one request at a time. Each contender in a process of its own, one after the other in each round, so that a
 * slow minute of the machine is everyone's.
 */
import { join } from "node:path"
import type { BenchOptions } from "../main.ts"
import type { Contender, Found } from "./contenders.ts"
import {
  cpuMicros,
  databaseCpuMicros,
  isStopped,
  median,
  output,
  outputOf,
  row,
  start,
  whole,
  type World
} from "./measures.ts"

const kinds = ["GET", "LIST", "POST"] as const
type Kind = (typeof kinds)[number]

interface Load {
  readonly requests: number
  readonly seconds: number
  readonly p50: number
  readonly p99: number
  readonly failed: number
}

interface Figures {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly failed: number
  /** CPU of the server's process for one request; NaN where the system does not tell. */
  readonly cpuMicros: number
  /** CPU of all the database's processes for one request. */
  readonly databaseMicros: number
}

const orderOf = (customer: number) => ({ customerId: `customer-${customer}`, items: [{ sku: "sku-1", quantity: 1 }] })

/** One request of the kind, looked at: what answers something else is no contender. */
const check = async ({ name }: Contender, kind: Kind, url: string, run: string, { ids }: World): Promise<void> => {
  const headers = { "content-type": "application/json", "idempotency-key": run, connection: "close" }
  const path = kind === "GET" ? `/${ids[0]}` : kind === "LIST" ? "?customerId=customer-1&limit=20" : ""
  const response = await fetch(`${url}/v1/orders${path}`, {
    headers,
    ...(kind === "POST" && { method: "POST", body: JSON.stringify(orderOf(1)) })
  })
  const text = await response.text()
  const isRight = kind === "GET"
    ? response.status === 200 && text.includes(`"${ids[0]}"`)
    : kind === "LIST"
    ? response.status === 200 && (text.match(/"customerId": ?"customer-1"/g)?.length ?? 0) >= 10
    : response.status === 202 && response.headers.has("location")
  if (!isRight) throw new Error(`${name} answers ${kind} with ${response.status}: ${text.slice(0, 500)}`)
}

let runs = 0

/** One contender under one kind of load, after a second of warming up. */
const measure = async (
  contender: Contender,
  command: readonly [string, ReadonlyArray<string>],
  kind: Kind,
  seconds: number,
  hasWrk: boolean,
  world: World
): Promise<Figures> => {
  const server = start(...command, { ...world.env, NODE_ENV: "production" })
  try {
    const url = await Promise.race([
      new Promise<string>((resolve) => server.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))),
      server.ended.then((how) => Promise.reject(new Error(`${contender.name} ended with ${how}`)))
    ])
    const nextRun = () => `bench-${process.pid}-${runs += 1}`
    const load = async (duration: number): Promise<Load> => {
      const { connections } = contender
      const ids = kind === "GET" ? world.ids : []
      if (!hasWrk) {
        const told = JSON.stringify({ url, kind, seconds: duration, connections, ids, run: nextRun() })
        return JSON.parse(await output([join(import.meta.dirname, "load.mjs"), told], world.env)) as Load
      }
      const args = ["-t1", `-c${connections}`, `-d${Math.ceil(duration)}s`, "--timeout", "10s"]
      const script = ["-s", join(import.meta.dirname, "load.lua"), url, "--", kind, nextRun(), ids.join(",")]
      const text = await outputOf("wrk", [...args, ...script], {
        ...world.env,
        SLUICE_BENCH_CONNECTIONS: String(connections)
      })
      return JSON.parse(text.trim().split("\n").at(-1) ?? "") as Load
    }
    await check(contender, kind, url, nextRun(), world)
    await load(1)
    const before = [cpuMicros(server.pid), databaseCpuMicros(world.serverPid)] as const
    const { failed, p50, p99, requests, seconds: took } = await load(seconds)
    return {
      perSecond: requests / took,
      p50,
      p99,
      failed,
      cpuMicros: (cpuMicros(server.pid) - before[0]) / requests,
      databaseMicros: (databaseCpuMicros(world.serverPid) - before[1]) / requests
    }
  } finally {
    server.kill()
    await server.ended
  }
}

/** By kind and contender; none for one that failed in any round. */
type Results = ReadonlyMap<string, ReadonlyArray<Figures>>

/** The figures of one contender; what it fails with is told, and is its row. */
const attempt = async (key: string, measured: Promise<Figures>): Promise<Figures | undefined> => {
  try {
    return await measured
  } catch (error) {
    if (isStopped()) throw error
    console.error(`${key} failed: ${String(error)}`)
    return undefined
  }
}

const rounds = async ({ runs, seconds }: BenchOptions, found: Found, world: World): Promise<Results> => {
  const all = new Map<string, Array<Figures>>()
  const broken = new Set<string>()
  for (let round = 1; round <= runs; round++) {
    for (const kind of kinds) {
      for (const contender of [found.sluice, ...found.peers, ...kind === "GET" ? found.oneAtATime : []]) {
        const command = contender.command?.(world)
        if (command === undefined) continue
        const key = `${kind} ${contender.name}`
        const figures = await attempt(key, measure(contender, command, kind, seconds, found.hasWrk, world))
        if (figures === undefined) {
          broken.add(key)
          continue
        }
        all.set(key, [...all.get(key) ?? [], figures])
        console.error(
          `${round}/${runs} ${key}: ${whole(figures.perSecond)}/s, p99 ${figures.p99} ms, ${
            whole(figures.cpuMicros)
          } us ` +
            `of CPU, ${whole(figures.databaseMicros)} us of the database's, ${figures.failed} failed`
        )
      }
    }
  }
  for (const key of broken) all.delete(key)
  return all
}

const of = (results: Results, key: string, figure: keyof Figures): number =>
  median((results.get(key) ?? []).map((each) => each[figure]))
/** Of all runs: a median would hide those of one. */
const failedOf = (results: Results, key: string): string =>
  whole((results.get(key) ?? []).reduce((sum, { failed }) => sum + failed, 0))

/** What stands in a row that has no figures. */
const absent = (results: Results, command: Contender["command"], key: string): string | undefined =>
  command === undefined ? "not installed" : results.has(key) ? undefined : "failed"

const peersTable = (results: Results, { peers, sluice }: Found): ReadonlyArray<string> => {
  const lines = kinds.flatMap((kind) => {
    const rates = peers.map(({ name }) => of(results, `${kind} ${name}`, "perSecond")).filter((rate) => rate > 0)
    return [sluice, ...peers].map(({ command, name }) => {
      const without = absent(results, command, `${kind} ${name}`)
      if (without !== undefined) return row([kind, name, without, "", "", "", "", "", ""])
      const figure = (figure: keyof Figures) => of(results, `${kind} ${name}`, figure)
      return row([
        kind,
        name,
        whole(figure("perSecond")),
        rates.length === 0 ? "" : (figure("perSecond") / Math.max(...rates)).toFixed(2),
        figure("p50").toFixed(1),
        figure("p99").toFixed(1),
        whole(figure("cpuMicros")),
        whole(figure("databaseMicros")),
        failedOf(results, `${kind} ${name}`)
      ])
    })
  })
  const heads = [
    "requests/s",
    "of the best peer",
    "p50 ms",
    "p99 ms",
    "CPU us/request",
    "database's CPU us/request",
    "failed"
  ]
  return [
    row(["request", "server", ...heads]),
    row(["---", "---", ...heads.map(() => "--:")]),
    ...lines
  ]
}

/** Sluice's GET from the same run beside services that have one request at a time. */
const oneAtATimeTable = (results: Results, { oneAtATime, sluice }: Found): ReadonlyArray<string> => {
  const ours = (figure: keyof Figures) => of(results, `GET ${sluice.name}`, figure)
  const lines = oneAtATime.map(({ command, name }) => {
    const without = absent(results, command, `GET ${name}`)
    if (without !== undefined) return row([name, without, "", "", "", ""])
    const figure = (figure: keyof Figures) => of(results, `GET ${name}`, figure)
    return row([
      name,
      whole(figure("perSecond")),
      `${(ours("perSecond") / figure("perSecond")).toFixed(1)}x`,
      whole(figure("cpuMicros")),
      Number.isNaN(ours("cpuMicros")) ? "" : `${(100 * ours("cpuMicros") / figure("cpuMicros")).toFixed(0)} %`,
      failedOf(results, `GET ${name}`)
    ])
  })
  const heads = ["requests/s", "Sluice's rate", "CPU us/request", "Sluice's CPU", "failed"]
  return [
    row(["GET by id, one request at a time", ...heads]),
    row(["---", ...heads.map(() => "--:")]),
    ...lines
  ]
}

/** The tables. */
export const httpTables = async (options: BenchOptions, found: Found, world: World): Promise<string> => {
  const results = await rounds(options, found, world)
  return [
    `${found.many} connections, no pipelining, one server process; load, server and database on the same machine. POST writes order, idempotency key and job durably before it answers. Latencies are those of the requests that were made (wrk's own correction taken back); failed are statuses from 400 on and errors of sockets, in all runs. ${found.versions}`,
    "",
    ...peersTable(results, found),
    "",
    "The same GET from services that have one request at a time: one process, and one connection to the database that stays open unless the row says otherwise. Sluice is the GET above.",
    "",
    ...oneAtATimeTable(results, found)
  ].join("\n")
}
