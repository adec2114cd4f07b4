// `npm run lock`: writes package-lock.json anew, whole for every platform.
// npm leaves out an optional platform package that its registry does not serve where the lock is written, and `npm ci` then refuses that
// lock everywhere (npm/cli issue 4828). Such a package never installs on a platform it is not for, so its name, version and platform are
// enough.
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

// Resolved in an empty folder: with a node_modules beside it, npm would keep only what this machine has installed.
const room = mkdtempSync(join(tmpdir(), "sluice-lock-"))
copyFileSync("package.json", join(room, "package.json"))
execFileSync("npm", ["install", "--package-lock-only", "--ignore-scripts", "--loglevel=error"], {
  cwd: room,
  stdio: "inherit"
})

const systems = ["android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32", "aix"]
const cpus = ["arm64", "arm", "ia32", "x64", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32"]
const lock = JSON.parse(readFileSync(join(room, "package-lock.json"), "utf8"))
rmSync(room, { recursive: true })
const missing = Object.entries(lock.packages).flatMap(([path, pkg]) =>
  Object.entries(pkg.optionalDependencies ?? {})
    .filter(([name]) => lock.packages[`node_modules/${name}`] === undefined)
    .map(([name, version]) => ({ name, version, dev: pkg.dev === true, path }))
)
for (const { name, version, dev } of missing) {
  const words = name.split(/[-/]/)
  const os = systems.filter((word) => words.includes(word))
  const cpu = cpus.filter((word) => words.includes(word))
  if (os.length === 0 && cpu.length === 0) throw new Error(`${name} names no platform: is the registry in order?`)
  lock.packages[`node_modules/${name}`] = {
    version: version.replace(/^[~^]/, ""),
    ...(cpu.length > 0 && { cpu }),
    ...(words.some((word) => word.startsWith("musl")) && { libc: ["musl"] }),
    ...(dev && { dev }),
    optional: true,
    ...(os.length > 0 && { os })
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).toSorted(([a], [b]) => a < b ? -1 : 1))
writeFileSync("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`)
console.log(`package-lock.json: ${missing.length} platform packages added by name`)
