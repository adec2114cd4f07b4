/**
 * Whole programs beside `curl --parallel`, aria2c and wget2: a list of small URLs from start to end, and large bodies to disk.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { has, median, output, pinned, type Server } from "./processes.ts"

const smallCount = 5_000
const largeCount = 20
const largeBytes = 20 * 2 ** 20

interface Contender {
  readonly name: string
  readonly command: string
  /** The arguments to fetch the URLs of a list into a directory; `lists` has the list in each form. */
  readonly args: (lists: Lists, directory: string) => ReadonlyArray<string>
}

interface Lists {
  readonly plain: string
  readonly curl: string
}

const sluice = (mode: string): Contender => ({
  name: mode === "save" ? "**Sluice**, with sha256, fsync and rename" : "**Sluice**, with sha256",
  command: process.execPath,
  args: ({ plain }, directory) => [join(import.meta.dirname, "listClient.ts"), mode, plain, directory]
})

const curl: Contender = {
  name: "curl --parallel",
  command: "curl",
  args: ({ curl }) => ["--parallel", "--parallel-max", "100", "--silent", "--config", curl]
}

const aria2c: Contender = {
  name: "aria2c",
  command: "aria2c",
  args: ({ plain }, directory) => ["-q", "-j", "100", "-x", "1", "--file-allocation=none", "-d", directory, "-i", plain]
}

const wget2: Contender = {
  name: "wget2",
  command: "wget2",
  args: ({ plain }, directory) => ["-q", "--max-threads=100", "-nH", "-P", directory, "-i", plain]
}

const installed = (contenders: ReadonlyArray<Contender>) =>
  contenders.filter(({ command }) => command === process.execPath || has(command, "--version"))

/** Seconds of each contender, process start included. */
const time = async (
  contenders: ReadonlyArray<Contender>,
  urls: ReadonlyArray<string>,
  saves: boolean,
  runs: number
): Promise<ReadonlyMap<string, number>> => {
  const all = new Map<string, Array<number>>()
  for (let round = 1; round <= runs; round++) {
    for (const { args, command, name } of installed(contenders)) {
      const directory = mkdtempSync(join(tmpdir(), "sluice-bench-list-"))
      const lists = { plain: join(directory, "urls"), curl: join(directory, "curl") }
      const into = join(directory, "out")
      mkdirSync(into)
      writeFileSync(lists.plain, urls.join("\n"))
      const curlTo = (n: number) => saves ? join(into, String(n)) : "/dev/null"
      writeFileSync(lists.curl, urls.map((url, n) => `url = ${url}\noutput = ${curlTo(n)}`).join("\n"))
      spawnSync("sync")
      const from = performance.now()
      await output(...pinned(1, command, args(lists, into)))
      const seconds = (performance.now() - from) / 1000
      all.set(name, [...all.get(name) ?? [], seconds])
      console.error(`${round}/${runs} ${name}: ${seconds.toFixed(2)} s`)
      rmSync(directory, { recursive: true })
    }
  }
  return new Map([...all].map(([name, seconds]) => [name, median(seconds)]))
}

const table = (
  title: string,
  unit: string,
  perSecond: (seconds: number) => number,
  times: ReadonlyMap<string, number>
) =>
  [
    title,
    "",
    `| program | seconds | ${unit} |`,
    "|---|--:|--:|",
    ...[...times].map(([name, seconds]) =>
      `| ${name} | ${seconds.toFixed(2)} | ${Math.round(perSecond(seconds)).toLocaleString("en-US")} |`
    )
  ].join("\n")

/** The tables of lists. */
export const run = async (server: Server, runs: number): Promise<ReadonlyArray<string>> => {
  const urls = Array.from({ length: smallCount }, (_, n) => `${server.url}/${n}`)
  const small = await time([sluice("count"), curl, aria2c, wget2], urls, false, runs)
  const tables = [
    table(
      `A list of ${
        smallCount.toLocaleString("en-US")
      } URLs of 1 KiB from start to end, process start included (aria2c and wget2 write files). Not first: Node and Effect need about half a second to start, and curl is C.`,
      "URLs/s",
      (seconds) => smallCount / seconds,
      small
    )
  ]
  if (server.root === undefined) return tables
  mkdirSync(server.root, { recursive: true })
  const body = Buffer.alloc(largeBytes, "0123456789abcdef")
  const files = Array.from({ length: largeCount }, (_, n) => `${n}.bin`)
  for (const file of files) writeFileSync(join(server.root, file), body)
  const bytes = files.reduce((sum, file) => sum + statSync(join(server.root ?? "", file)).size, 0)
  const large = await time(
    [sluice("save"), curl, aria2c, wget2],
    files.map((file) => `${server.url}/files/${file}`),
    true,
    runs
  )
  tables.push(
    table(
      `${largeCount} bodies of 20 MiB to disk. Not first: only Sluice hashes each body, syncs it to the disk and renames it, which the others leave to chance.`,
      "MB/s",
      (seconds) => bytes / 1e6 / seconds,
      large
    )
  )
  return tables
}
