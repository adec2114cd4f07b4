/** A real nginx before servers of a test, as docs/operating.md configures it. */
import { Effect, type Scope } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { eventually } from "./eventually.ts"

/** Undefined where there is none. */
export const program: string | undefined = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].find(
  (path) => spawnSync(path, ["-v"]).status === 0
)

const page = new URL("../../docs/operating.md", import.meta.url)

/** The block of the page, with the ports of a test in the place of its own. */
const blockOf = (port: number, servers: ReadonlyArray<number>): string => {
  const block = /```nginx\n(.*?)```/s.exec(readFileSync(page, "utf8"))?.[1] ?? ""
  const listed = /(?: *server 127\.0\.0\.1:\d+[^\n]*\n)+/.exec(block)?.[0] ?? ""
  const options = /server 127\.0\.0\.1:\d+([^;]*);/.exec(listed)?.[1] ?? ""
  return block
    .replace(listed, servers.map((server) => `  server 127.0.0.1:${server}${options};\n`).join(""))
    .replace(/listen \d+;/, `listen 127.0.0.1:${port};`)
}

const configOf = (directory: string, block: string): string =>
  `daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 256; }
http {
  access_log off;
${
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `  ${name}_temp_path ${directory}/${name};`)
      .join("\n")
  }
${block}
}
`

const answers = (port: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.on("error", () => resume(Effect.succeed(false)))
  })

export interface Nginx {
  /** What it has to say about its upstreams, but that one is not there: then it asks the other. */
  readonly errors: () => string
}

/** Listens on a port and passes on to servers of these. */
export const start = Effect.fnUntraced(function*(
  program: string,
  options: { readonly port: number; readonly servers: ReadonlyArray<number> }
): Effect.fn.Return<Nginx, never, Scope.Scope> {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-nginx-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
  )
  const config = join(directory, "nginx.conf")
  writeFileSync(config, configOf(directory, blockOf(options.port, options.servers)))
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(program, ["-c", config, "-p", directory, "-e", join(directory, "error.log")], {
        stdio: "ignore"
      })
      return { child, ended: new Promise((resolve) => child.on("exit", resolve)) }
    }),
    ({ child, ended }) =>
      Effect.promise(() => {
        child.kill("SIGTERM")
        return ended
      })
  )
  yield* eventually(answers(options.port), (isUp) => isUp)
  return {
    errors: () =>
      readFileSync(join(directory, "error.log"), "utf8").split("\n")
        .filter((line) => !line.includes("Connection refused")).join("\n")
  }
})
