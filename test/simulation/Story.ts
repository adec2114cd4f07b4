/** A failing seed as somebody reads it: who did what, when, in so many lines. */

const isDetail = (line: string): boolean => / {2}· /.test(line)
const isWrong = (line: string): boolean => line.includes("WRONG: ")
/** What every worker does all the time. */
const isChatter = (line: string): boolean =>
  / (BEGIN|COMMIT|ROLLBACK|select set_config)/i.test(line) || /job_beat|job_fold/.test(line)

/** One line for what is done again and again. */
const merged = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const runs: Array<{ readonly line: string; readonly what: string; times: number }> = []
  for (const line of lines) {
    const last = runs.at(-1)
    const what = line.slice(9).replace(/, connection \d+/, "")
    if (last !== undefined && isDetail(line) && last.what === what) last.times++
    else runs.push({ line, what, times: 1 })
  }
  return runs.map(({ line, times }) => times === 1 ? line : `${line} (${times} times)`)
}

/** Without the list of a statement's parameters. */
const short = (line: string): string => line.replace(/\(\$1.*$/, "(…)").replace("select * from ", "")

const cut = (lines: ReadonlyArray<string>, most: number): ReadonlyArray<string> => {
  if (lines.length <= most) return lines
  const head = Math.floor(most / 2)
  return [
    ...lines.slice(0, head),
    `          … ${lines.length - most + 1} more lines …`,
    ...lines.slice(lines.length - (most - head - 1))
  ]
}

/** What was told, and what was done just before the first thing that is wrong. */
export const summary = (story: ReadonlyArray<string>, most = 40): ReadonlyArray<string> => {
  const end = story.findIndex(isWrong)
  const upTo = merged(
    (end < 0 ? story : story.slice(0, end + 1)).filter((line) => !isDetail(line) || !isChatter(line)).map(short)
  )
  const details = upTo.flatMap((line, at) => isDetail(line) ? [at] : [])
  const told = upTo.filter((line) => !isDetail(line)).length
  // At least so many of them, however much was told.
  const room = Math.max(Math.floor(most / 4), most - told)
  const kept = new Set(details.slice(Math.max(0, details.length - room)))
  const lines = upTo.filter((line, at) => !isDetail(line) || kept.has(at))
  return cut(lines, most)
}
