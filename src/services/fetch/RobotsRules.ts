/**
 * The rules of one group of a robots.txt, compiled once: the longest match wins (RFC 9309 section 2.2.2). A path is compared only with
 * the rules whose rarest piece it holds, so that 20,000 rules cost as little as a few.
 */

/** `*` is any run of characters, `$` at the end is the end. */
export interface Rule {
  readonly allows: boolean
  /** As written. */
  readonly pattern: string
}

interface Compiled {
  readonly allows: boolean
  /** In octets: the longest wins. */
  readonly length: number
  /** What the path begins with, or is. */
  readonly first: string
  readonly isExact: boolean
  readonly middle: ReadonlyArray<string>
  /** What the path ends with; `undefined` when it may go on. */
  readonly last: string | undefined
}

interface Bucket {
  readonly rules: Array<Compiled>
  /** The question in which it was looked at last: a path may hold the same piece often. */
  askedIn: number
}

/** Characters of a piece that rules are found by. */
const pieceMax = 3

/** Says of a path (with query) whether the rules allow it. */
export const compile = (rules: ReadonlyArray<Rule>): (path: string) => boolean => {
  const buckets = new Map<number, Bucket>()
  const known = new Set<string>()
  for (const rule of rules) {
    const compiled = compileRule(rule)
    const { first, last, middle } = compiled
    const name = JSON.stringify(compiled)
    if (known.has(name)) continue
    known.add(name)
    rarest(buckets, [first, ...middle, last ?? ""]).rules.push(compiled)
  }
  for (const { rules } of buckets.values()) {
    rules.sort((a, b) => b.length - a.length || Number(b.allows) - Number(a.allows))
  }
  let questions = 0
  return (path) => {
    const text = encoded(path)
    const question = ++questions
    let best: Compiled | undefined
    const look = (piece: number) => {
      const bucket = buckets.get(piece)
      if (bucket === undefined || bucket.askedIn === question) return
      bucket.askedIn = question
      best = bestOf(bucket.rules, text, best)
    }
    look(0)
    for (let at = 0; at < text.length; at++) {
      let piece = 0
      for (let end = at; end < Math.min(at + pieceMax, text.length); end++) {
        piece = piece << 8 | text.charCodeAt(end)
        look(piece)
      }
    }
    return best?.allows ?? true
  }
}

/** The longest that matches, where it is longer than what is there; an allowing one of the same length wins. */
const bestOf = (rules: ReadonlyArray<Compiled>, path: string, than: Compiled | undefined): Compiled | undefined => {
  for (const rule of rules) {
    if (than !== undefined && rule.length < than.length) return than
    const isBetter = than === undefined || rule.length > than.length || (rule.allows && !than.allows)
    if (isBetter && matches(rule, path)) return rule
  }
  return than
}

/** Every piece as early as it comes. Without a regular expression, so that no pattern is slow. */
const matches = ({ first, isExact, last, middle }: Compiled, path: string): boolean => {
  if (isExact) return path === first
  if (!path.startsWith(first)) return false
  let at = first.length
  for (const piece of middle) {
    const found = path.indexOf(piece, at)
    if (found < 0) return false
    at = found + piece.length
  }
  return last === undefined || (path.length - last.length >= at && path.endsWith(last))
}

const compileRule = ({ allows, pattern }: Rule): Compiled => {
  const isAnchored = pattern.endsWith("$")
  const pieces = (isAnchored ? pattern.slice(0, -1) : pattern).split("*").map(encoded)
  const length = pieces.reduce((sum, piece) => sum + piece.length, pieces.length - 1 + Number(isAnchored))
  const [first = "", ...rest] = pieces
  const isExact = isAnchored && rest.length === 0
  const last = isAnchored ? rest.pop() : undefined
  return { allows, length, first, isExact, middle: rest.filter((piece) => piece !== ""), last }
}

/** The bucket of the piece of these that the fewest rules are found by so far; 0 is that of rules without any. */
const rarest = (buckets: Map<number, Bucket>, texts: ReadonlyArray<string>): Bucket => {
  const longest = texts.reduce((max, { length }) => Math.max(max, length), 0)
  const size = Math.min(pieceMax, longest)
  let key = 0
  let fewest = Infinity
  for (const text of size === 0 ? [] : texts) {
    for (let at = 0; at + size <= text.length; at++) {
      let piece = 0
      for (let end = at; end < at + size; end++) piece = piece << 8 | text.charCodeAt(end)
      const count = buckets.get(piece)?.rules.length ?? 0
      if (count >= fewest) continue
      key = piece
      fewest = count
    }
  }
  const bucket = buckets.get(key) ?? { rules: [], askedIn: 0 }
  buckets.set(key, bucket)
  return bucket
}

const percentEncoded = /%[0-9A-Fa-f]{2}/g
const unreserved = /^[A-Za-z0-9._~-]$/

/**
 * Percent-encoding made comparable (section 2.2.2): unreserved characters decoded, everything else encoded in capitals; and `*` and `$`,
 * which are literal here, as they are written where they would be special (section 2.2.3).
 */
const encoded = (text: string): string =>
  text
    .replace(/[^\x21-\x7E]/gu, (each) => encodeURIComponent(each.toWellFormed()))
    .replace(percentEncoded, (each) => {
      const character = String.fromCharCode(Number.parseInt(each.slice(1), 16))
      return unreserved.test(character) ? character : each.toUpperCase()
    })
    .replaceAll("*", "%2A")
    .replaceAll("$", "%24")
