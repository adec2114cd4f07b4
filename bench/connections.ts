/**
 * What a WebSocket costs the process that serves it: the chat of examples/, with so many members who are connected and silent, and then
 * after one message to each. Memory is what the system says (RSS), less what the server had before the first of them; Linux only.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { resolve } from "node:path"
import { createInterface } from "node:readline"
import type { BenchOptions } from "./main.ts"

const root = resolve(import.meta.dirname, "..")

/** As `sluice` runs: little garbage is kept. */
const flags = ["--max-semi-space-size=1", "--heap-growing-percent=10", "--conditions=sluice-source"]

const kibOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])

const pause = (millis: number) => new Promise((resume) => setTimeout(resume, millis))

/** A member that reads and says nothing, or what it is told. */
const member = async (port: number, room: string): Promise<Socket> => {
  const socket = connect(port, "127.0.0.1")
  socket.write(
    `GET /rooms/${room} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
  )
  await once(socket, "data")
  socket.resume()
  return socket
}

/** A text of less than 126 bytes, masked with zeros. */
const say = (socket: Socket, text: string): void => {
  const payload = Buffer.from(text)
  socket.write(Buffer.concat([Buffer.of(0x81, 0x80 | payload.length), Buffer.alloc(4), payload]))
}

const measure = async (count: number): Promise<{ readonly silent: number; readonly told: number }> => {
  const server = spawn(process.execPath, [...flags, "examples/chat.ts", "serve"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"]
  })
  const [address] = await once(createInterface(server.stdout), "line")
  const port = Number(new URL(String(address)).port)
  const pid = server.pid ?? 0
  // What the first of them loads and compiles is none's cost.
  const warm = await Promise.all(Array.from({ length: 100 }, () => member(port, "warm")))
  for (const socket of warm) socket.destroy()
  await pause(1_000)
  const before = kibOf(pid)
  const members: Array<Socket> = []
  for (let done = 0; done < count; done += 50) {
    members.push(
      ...await Promise.all(Array.from({ length: 50 }, (_, index) => member(port, `room-${(done + index) % 10}`)))
    )
  }
  await pause(1_000)
  const silent = kibOf(pid) - before
  for (const socket of members.slice(0, 10)) say(socket, "hello, everybody")
  await pause(1_000)
  const told = kibOf(pid) - before
  for (const socket of members) socket.destroy()
  const gone = once(server, "exit")
  server.kill("SIGKILL")
  await gone
  return { silent: silent / count, told: told / count }
}

/** Tells what each connection costs, in KiB. */
export const run = async (options: BenchOptions): Promise<string> => {
  const rows: Array<string> = []
  for (const count of [1_000, 1_900]) {
    const runs: Array<Awaited<ReturnType<typeof measure>>> = []
    for (let index = 0; index < options.runs; index++) runs.push(await measure(count))
    const of = (read: (run: { readonly silent: number; readonly told: number }) => number) =>
      runs.map(read).map((kib) => kib.toFixed(1)).join(", ")
    rows.push(`| ${count.toLocaleString("en")} | ${of(({ silent }) => silent)} | ${of(({ told }) => told)} |`)
  }
  return ["| connections | KiB each, silent | KiB each, after a message |", "| --: | --: | --: |", ...rows].join("\n")
}
