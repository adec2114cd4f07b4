/** A failing seed as somebody reads it: who did what, when, in so many lines. */

const isDetail = (line: string): boolean => / {2}· /.test(line)
const isWrong = (line: string): boolean => line.includes("WRONG: ")
/** What every worker does all the time. */
const isChatter = (line: string): boolean =>
  / (BEGIN|COMMIT|ROLLBACK|select set_config)/i.test(line) || /job_beat|job_fold/.test(line)

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
  const upTo = end < 0 ? story : story.slice(0, end + 1)
  const details = upTo.flatMap((line, at) => isDetail(line) && !isChatter(line) ? [at] : [])
  const told = upTo.filter((line) => !isDetail(line)).length
  // At least so many of them, however much was told.
  const room = Math.max(Math.floor(most / 4), most - told)
  const kept = new Set(details.slice(Math.max(0, details.length - room)))
  const lines = upTo.filter((line, at) => !isDetail(line) || kept.has(at))
  return cut(lines, most)
}
