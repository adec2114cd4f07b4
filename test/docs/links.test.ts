/**
 * Every link of README.md, CONTRIBUTING.md and docs/ leads to a file or a heading that is there; every guide is reached from README and
 * leads back.
 */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, relative, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")
const guides = readdirSync(resolve(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
const pages = ["README.md", "CONTRIBUTING.md", ...guides]

/** The text without what stands in code. */
const proseOf = (page: string): string =>
  readFileSync(resolve(root, page), "utf8").replaceAll(/^```[\s\S]*?^```/gmu, "")

/** The anchors that GitHub makes of headings. */
const anchorsOf = (page: string): ReadonlySet<string> =>
  new Set(
    Array.from(proseOf(page).matchAll(/^#+ (.*)$/gmu), ([, heading = ""]) =>
      heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(/\s/gu, "-"))
  )

interface Link {
  readonly target: string
  readonly path: string
  readonly anchor: string | undefined
}

const linksOf = (page: string): ReadonlyArray<Link> =>
  Array.from(proseOf(page).matchAll(/\]\(([^)\s]+)\)/gu), ([, target = ""]) => target)
    .filter((target) => !/^[a-z]+:/u.test(target))
    .map((target) => {
      const [file = "", anchor] = target.split("#")
      const path = file === "" ? page : relative(root, resolve(root, dirname(page), file))
      return { target, path, anchor }
    })

describe("links of the documents", () => {
  it.each(pages)("%s: each leads somewhere", (page) => {
    const broken = linksOf(page).filter(({ anchor, path }) =>
      !existsSync(resolve(root, path)) || anchor !== undefined && path.endsWith(".md") && !anchorsOf(path).has(anchor)
    )
    assert.deepStrictEqual(broken.map(({ target }) => target), [])
  })

  it("every guide is reached from README.md and leads back to it", () => {
    const fromReadme = new Set(linksOf("README.md").map(({ path }) => path))
    assert.deepStrictEqual(guides.filter((page) => !fromReadme.has(page)), [], "not reached from README.md")
    const away = guides.filter((page) => !linksOf(page).some(({ path }) => path === "README.md"))
    assert.deepStrictEqual(away, [], "lead nowhere")
  })
})
