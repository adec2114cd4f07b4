import { readdirSync, readFileSync } from "node:fs"

/**
 * What is done with a block, as the words behind its ` ```ts ` say:
 *
 * - nothing: it is run;
 * - `no-run`: it is only type-checked;
 * - `database`: it is run with a DATABASE_URL of its page: a fresh database, migrated, in which the page's blocks run one after another;
 * - `database serve`: the same, for a program that goes on for ever: once it has printed what it shows, it gets a SIGTERM and must drain.
 */
export type Mode = "run" | "check" | "database" | "serve"

/** A TypeScript block of a page. */
export interface Block {
  readonly page: string
  /** "docs/from-asyncio.md:42" */
  readonly at: string
  /** Where it is written: in the folder of its page, under the name that it has (`file=mail.ts`), so that other blocks can import it. */
  readonly file: string
  readonly code: string
  readonly mode: Mode
  /** What it must print, line by line: the text behind each `// =>`; `undefined` when it shows none. */
  readonly output: ReadonlyArray<string> | undefined
}

const modeOf = (words: ReadonlyArray<string>): Mode =>
  words.includes("no-run")
    ? "check"
    : words.includes("serve")
    ? "serve"
    : words.includes("database")
    ? "database"
    : "run"

/** All TypeScript blocks of a page. */
export const blocksOf = (page: string, text: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  const lines = text.split("\n")
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```ts(?:\s+(.*))?$/u.exec(lines[i] ?? "")
    if (fence === null) continue
    const words = (fence[1] ?? "").split(/\s+/u)
    const name = words.flatMap((word) => word.startsWith("file=") ? [word.slice("file=".length)] : [])[0]
    const start = i + 1
    let end = start
    while (end < lines.length && lines[end] !== "```") end++
    const code = lines.slice(start, end)
    const output = code.flatMap((line) => {
      const shown = /\/\/ => (.*)$/u.exec(line)
      return shown === null ? [] : [shown[1] ?? ""]
    })
    blocks.push({
      page,
      at: `${page}:${start + 1}`,
      file: `${page.replaceAll(/[^a-z0-9]+/giu, "-")}/${name ?? `${start + 1}.ts`}`,
      code: code.join("\n"),
      mode: modeOf(words),
      output: output.length === 0 ? undefined : output
    })
    i = end
  }
  return blocks
}

/** README.md and every page of docs/. */
export const allBlocks = (root: URL): ReadonlyArray<Block> => {
  const inRoot = readdirSync(root).filter((name) => name === "README.md")
  const inDocs = readdirSync(new URL("docs/", root)).filter((name) => name.endsWith(".md")).map((name) =>
    `docs/${name}`
  )
  return [...inRoot, ...inDocs].flatMap((page) => blocksOf(page, readFileSync(new URL(page, root), "utf8")))
}
