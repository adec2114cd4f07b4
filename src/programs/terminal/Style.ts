/**
 * Words with colour, for people: plain when standard error is no terminal, or NO_COLOR says so (https://no-color.org).
 */
import { styleText } from "node:util"

type Format = Parameters<typeof styleText>[0]

const style = (format: Format) => (text: string): string =>
  styleText(format, text, { stream: process.stderr, validateStream: true })

export const bold = style("bold")
export const dim = style("dim")
export const green = style("green")
export const red = style("red")
export const yellow = style("yellow")

export const cyan = style("cyan")

/** A bar of `width` cells, filled to `share` (0 to 1), with eighths of a cell. */
export const bar = (share: number, width: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8)
  const full = Math.floor(eighths / 8)
  const rest = " ▏▎▍▌▋▊▉"[eighths % 8] ?? ""
  const filled = "█".repeat(full) + (eighths % 8 === 0 ? "" : rest)
  return cyan(filled) + dim("·".repeat(width - full - (eighths % 8 === 0 ? 0 : 1)))
}

/** Seconds with one decimal. */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** A whole number with thousands set apart by commas. */
export const count = (value: number): string => Math.round(value).toLocaleString("en-US")
