/**
 * robots.txt (RFC 9309): groups, rules and the longest match. Pure: fetching and caching are elsewhere.
 */

/** Bytes of a robots.txt that are read (RFC 9309 section 2.5 asks for at least 500 KiB). */
export const sizeMaxBytes = 500 * 1024

interface Rule {
  readonly allows: boolean
  /** Length of the pattern: the longest match wins. */
  readonly length: number
  readonly matches: (path: string) => boolean
}

interface Group {
  readonly agents: Array<string>
  readonly rules: Array<Rule>
  delaySeconds: number | undefined
}

/** What one crawler may fetch. */
export interface Rules {
  /** Whether this path (with query) may be fetched. */
  readonly allows: (path: string) => boolean
  /** Least seconds between two requests, where the site asks for it (Crawl-delay; no part of the RFC). */
  readonly delaySeconds: number | undefined
}

/** Everything may be fetched: there is no robots.txt (4xx, RFC 9309 section 2.3.1.3). */
export const allowAll: Rules = { allows: () => true, delaySeconds: undefined }

/** Nothing may be fetched: it could not be read (5xx or no connection, RFC 9309 section 2.3.1.4). */
export const disallowAll: Rules = { allows: (path) => path === "/robots.txt", delaySeconds: undefined }

const line = /^[ \t]*([A-Za-z-]+)[ \t]*:[ \t]*([^#\r\n]*)/

/** The rules of a robots.txt for this crawler: its product token, as `sluice` of `sluice/0.1 (+https://...)`. */
export const parse = (text: string, userAgent: string): Rules => {
  const groups = groupsOf(text)
  const token = (/^[A-Za-z_-]+/.exec(userAgent)?.[0] ?? "").toLowerCase()
  const named = groups.filter(({ agents }) => agents.some((agent) => agent === token))
  const applying = named.length > 0 ? named : groups.filter(({ agents }) => agents.includes("*"))
  if (applying.length === 0) return allowAll
  // Groups for the same crawler are one (section 2.2.1).
  const rules = applying.flatMap((group) => group.rules).sort((a, b) =>
    b.length - a.length || Number(b.allows) - Number(a.allows)
  )
  return {
    allows: (path) => path === "/robots.txt" || (rules.find((rule) => rule.matches(normal(path)))?.allows ?? true),
    delaySeconds: applying.find((group) => group.delaySeconds !== undefined)?.delaySeconds
  }
}

const groupsOf = (text: string): ReadonlyArray<Group> => {
  const groups: Array<Group> = []
  let group: Group | undefined
  let isNaming = false
  for (const each of text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/)) {
    const found = line.exec(each)
    if (found === null) continue
    const name = (found[1] ?? "").toLowerCase()
    const value = (found[2] ?? "").trim()
    if (name === "user-agent") {
      if (group === undefined || !isNaming) groups.push(group = { agents: [], rules: [], delaySeconds: undefined })
      const token = value === "*" ? "*" : (/^[A-Za-z_-]+/.exec(value)?.[0] ?? "").toLowerCase()
      if (token !== "") group.agents.push(token)
      isNaming = true
    } else if (name === "allow" || name === "disallow") {
      isNaming = false
      if (group !== undefined && value !== "") group.rules.push(rule(name === "allow", value))
    } else if (name === "crawl-delay") {
      // Other records do not end the list of agents (section 2.2.4).
      const seconds = Number(value)
      if (group !== undefined && value !== "" && seconds >= 0) group.delaySeconds ??= seconds
    }
  }
  return groups
}

const rule = (allows: boolean, value: string): Rule => {
  const pattern = normal(value)
  return { allows, length: pattern.length, matches: matcher(pattern) }
}

/** `*` is any run of characters, `$` at the end is the end. Without a regular expression, so that no pattern is slow. */
const matcher = (pattern: string): (path: string) => boolean => {
  const isAnchored = pattern.endsWith("$")
  const [first = "", ...parts] = (isAnchored ? pattern.slice(0, -1) : pattern).split("*")
  return (path) => {
    if (!path.startsWith(first)) return false
    if (parts.length === 0) return !isAnchored || path.length === first.length
    let at = first.length
    for (const [index, part] of parts.entries()) {
      if (isAnchored && index === parts.length - 1) return path.length - part.length >= at && path.endsWith(part)
      const found = path.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return true
  }
}

const escaped = /%[0-9A-Fa-f]{2}/g
const unreserved = /^[A-Za-z0-9._~-]$/

/** Percent-encoding made comparable (section 2.2.2): unreserved characters decoded, everything else encoded in capitals. */
const normal = (path: string): string =>
  path
    .replace(/[^\x21-\x7E]/gu, (each) => encodeURIComponent(each.toWellFormed()))
    .replace(escaped, (each) => {
      const character = String.fromCharCode(Number.parseInt(each.slice(1), 16))
      return unreserved.test(character) ? character : each.toUpperCase()
    })
