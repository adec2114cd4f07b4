import { readdirSync, readFileSync } from "node:fs"

/** A TypeScript block of a page. */
export interface Block {
  /** "docs/from-asyncio.md:42" */
  readonly at: string
  /** A file name that says where it is from. */
  readonly file: string
  readonly code: string
  /** Whether it is run, or only type-checked (` ```ts no-run `). */
  readonly isRun: boolean
  /** What it must print, line by line: the text behind each `// =>`; `undefined` when it shows none. */
  readonly output: ReadonlyArray<string> | undefined
}

/** All TypeScript blocks of a page. */
export const blocksOf = (page: string, text: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  const lines = text.split("\n")
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```ts(?:\s+(.*))?$/u.exec(lines[i] ?? "")
    if (fence === null) continue
    const start = i + 1
    let end = start
    while (end < lines.length && lines[end] !== "```") end++
    const code = lines.slice(start, end)
    const output = code.flatMap((line) => {
      const shown = /\/\/ => (.*)$/u.exec(line)
      return shown === null ? [] : [shown[1] ?? ""]
    })
    blocks.push({
      at: `${page}:${start + 1}`,
      file: `${page.replaceAll(/[^a-z0-9]+/giu, "-")}-${start + 1}.ts`,
      code: code.join("\n"),
      isRun: fence[1]?.includes("no-run") !== true,
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
