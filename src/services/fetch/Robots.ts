/**
 * robots.txt (RFC 9309): groups and rules. Pure: fetching and caching are elsewhere.
 */
import * as RobotsRules from "./RobotsRules.ts"

/** Bytes of a robots.txt that are read (RFC 9309 section 2.5 asks for at least 500 KiB). */
export const sizeMaxBytes = 500 * 1024

interface Group {
  readonly agents: Array<string>
  readonly rules: Array<RobotsRules.Rule>
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

const line = /^[ \t]*([A-Za-z-]+)[ \t]*:[ \t]*([^#\r\n]*)/

/** The rules of a robots.txt for this crawler: its product token, as `sluice` of `sluice/0.1 (+https://...)`. */
export const parse = (text: string, userAgent: string): Rules => {
  const groups = groupsOf(text)
  const token = (/^[A-Za-z_-]+/.exec(userAgent)?.[0] ?? "").toLowerCase()
  const named = groups.filter(({ agents }) => agents.some((agent) => agent === token))
  const applying = named.length > 0 ? named : groups.filter(({ agents }) => agents.includes("*"))
  if (applying.length === 0) return allowAll
  // Groups for the same crawler are one (section 2.2.1).
  const isAllowed = RobotsRules.compile(applying.flatMap((group) => group.rules))
  return {
    allows: (path) => path === "/robots.txt" || isAllowed(path),
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
      if (group !== undefined && value !== "") group.rules.push({ allows: name === "allow", pattern: value })
    } else if (name === "crawl-delay") {
      // Other records do not end the list of agents (section 2.2.4).
      const seconds = Number(value)
      if (group !== undefined && value !== "" && seconds >= 0) group.delaySeconds ??= seconds
    }
  }
  return groups
}
