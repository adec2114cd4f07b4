/**
 * What a saved body is called: readable, the same for the same request, never outside its directory and never another's. Pure but for
 * the digest, which is given.
 */
import * as Extension from "./Extension.ts"
import type { Naming, SaveTemplate } from "./SaveTemplate.ts"

/** Bytes of a file name that every common file system takes. */
const nameMaxBytes = 255

/** Directories below the root at most: a path may have thousands. */
const depthMax = 16

const unsafe = /[^A-Za-z0-9._-]+/g

/** Letters, digits, `.`, `_` and `-`; no leading dot, nothing that a file system folds or forbids. */
const plain = (text: string, max: number): string =>
  text.replace(unsafe, "_").replace(/^[._]+/, "").slice(0, max).replace(/[._]+$/, "")

/** A name, relative to the root of all bodies. */
export interface BodyName {
  /** Directories from the root, none of them empty. */
  readonly directories: ReadonlyArray<string>
  readonly file: string
  /** What it is called where that name is taken: the request's own. `undefined`: so is `file`. */
  readonly spare: string | undefined
}

/** `host/path-digest.ext`: the digest alone makes names distinct, the rest is for people. */
const readable = ({ contentType, digest, target }: Naming): BodyName => {
  const path = target.path.split("?")[0] ?? ""
  const end = Extension.of(path, contentType)
  const stem = path.slice(0, path.length - Extension.writtenIn(path).length)
  const name = plain(stem, nameMaxBytes - 1 - digest.length - end.length)
  return {
    directories: [plain(target.host, 200) || "host"],
    file: `${name || "index"}-${digest}${end}`,
    spare: undefined
  }
}

/** As a template says, made safe. */
const filled = (template: SaveTemplate, naming: Naming): BodyName => {
  const { digest } = naming
  const parts = template.fill(naming).split("/")
  const directories = parts.slice(0, -1).map((part) => plain(part, 200)).filter((part) => part !== "")
  const last = parts.at(-1) ?? ""
  const end = Extension.writtenIn(last)
  const stem = plain(last.slice(0, last.length - end.length), nameMaxBytes - 1 - digest.length - end.length)
  return {
    directories: [
      ...directories.slice(0, depthMax - 1),
      ...directories.length < depthMax ? [] : [plain(directories.slice(depthMax - 1).join("_"), 200)]
    ],
    file: `${stem || digest}${end}`,
    spare: template.isDistinct ? undefined : `${stem === "" ? "" : `${stem}-`}${digest}${end}`
  }
}

/**
 * The name of a body.
 *
 * @param template @default undefined: `host/path-digest.ext`
 */
export const of = (naming: Naming, template?: SaveTemplate): BodyName =>
  template === undefined ? readable(naming) : filled(template, naming)
