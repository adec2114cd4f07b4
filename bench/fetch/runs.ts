/**
 * The command line as its users run it: every outcome recorded in the embedded Postgres, at ten thousand, two hundred
 * thousand and a million URLs, and the time that a single URL takes beside curl. Nothing is pinned: client, Postgres
 * and server share the machine.
 */
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const root = join(import.meta.dirname, "../..")
const manifest: { readonly scripts: { readonly start: string } } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
)
/** What `npm start` runs, without npm. */
const cli = manifest.scripts.start.split(" ").slice(1, -1).concat(join(root, "scripts/sluice.mjs"))
const sizes = [10_000, 200_000, 1_000_000]
const startUpRuns = 7

const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
const count = (value: number) => Math.round(value).toLocaleString("en-US")

/** Resident memory of a process in MiB; 0 when it has gone. */
const residentMiB = (pid: number): number => {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

interface Recorded {
  readonly perSecond: number
  readonly peakMiB: number
  /** Median of the samples of the second half of the run. */
  readonly steadyMiB: number
}

const fetchList = async (directory: string, url: string, urls: number, round: number): Promise<Recorded> => {
  const list = join(directory, `${urls}.txt`)
  writeFileSync(list, Array.from({ length: urls }, (_, n) => `${url}/${n}\n`).join(""))
  const args = ["fetch", "-i", list, "--run", `r${urls}-${round}`, "-c", "100", "--per-host", "100"]
  const started = performance.now()
  const child = spawn(process.execPath, [...cli, ...args, "-o", join(directory, `${urls}-${round}.ndjson`)], {
    env: { ...process.env, SLUICE_DATA_DIR: join(directory, "data") },
    stdio: "ignore"
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  child.on("exit", () => resolve())
  const samples: Array<number> = []
  while (child.exitCode === null && child.signalCode === null) {
    await Promise.race([promise, sleep(100)])
    const sample = residentMiB(child.pid ?? 0)
    if (sample > 0) samples.push(sample)
  }
  if (child.exitCode !== 0) throw new Error(`sluice fetch of ${urls} URLs ended with ${child.exitCode}`)
  return {
    perSecond: urls / ((performance.now() - started) / 1000),
    peakMiB: Math.max(...samples),
    steadyMiB: median(samples.slice(samples.length >> 1))
  }
}

const timeOf = (command: string, args: ReadonlyArray<string>, directory: string): number => {
  const started = performance.now()
  const { status } = spawnSync(command, args, {
    env: { ...process.env, SLUICE_DATA_DIR: join(directory, "data") },
    stdio: "ignore"
  })
  if (status !== 0) throw new Error(`${command} ended with ${status}`)
  return performance.now() - started
}

/**
 * Two tables: recorded runs beside `rawPerSecond`, the rate of raw undici in the same run of the benchmark; and the
 * start of the program.
 */
export const runs = async (url: string, rawPerSecond: number, rounds: number): Promise<string> => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-runs-"))
  try {
    const recorded = new Map<number, Array<Recorded>>(sizes.map((size) => [size, []]))
    timeOf(process.execPath, [...cli, "fetch", url], directory)
    for (let round = 1; round <= rounds; round++) {
      for (const size of sizes) {
        const figures = await fetchList(directory, url, size, round)
        recorded.get(size)?.push(figures)
        console.error(
          `${round}/${rounds} ${size} URLs recorded: ${count(figures.perSecond)}/s, ${count(figures.peakMiB)} MiB`
        )
      }
    }
    const own: Array<number> = []
    const curl: Array<number> = []
    for (let round = 0; round < startUpRuns; round++) {
      own.push(timeOf(process.execPath, [...cli, "fetch", url], directory))
      curl.push(timeOf("curl", ["-s", url], directory))
    }
    const of = (size: number, figure: (each: Recorded) => number) => median((recorded.get(size) ?? []).map(figure))
    return [
      `\`sluice fetch -c 100\`, every outcome a row in the embedded Postgres and a line of a file, nothing pinned, start and end of the program`,
      `and its database included (medians of ${rounds}):`,
      "",
      "| URLs | URLs/s | of raw undici | peak RSS MiB | steady RSS MiB |",
      "|--:|--:|--:|--:|--:|",
      ...sizes.map((size) =>
        `| ${count(size)} | ${count(of(size, (each) => each.perSecond))} | ${
          (of(size, (each) => each.perSecond) / rawPerSecond).toFixed(2)
        } | ${count(of(size, (each) => each.peakMiB))} | ${count(of(size, (each) => each.steadyMiB))} |`
      ),
      "",
      `One URL, existing data directory, database started and stopped: ${count(median(own))} ms; curl ${
        count(median(curl))
      } ms ` +
      `(medians of ${startUpRuns}).`
    ].join("\n")
  } finally {
    rmSync(directory, { recursive: true })
  }
}
