/**
 * How many files (sockets too) this process may have open. Node raises the soft limit to the hard one when it starts.
 */
import { Effect } from "effect"
import { readFileSync } from "node:fs"

/** Where the system does not tell in a file. */
const assumed = 1024

/** The limit of this process; read from `/proc`, assumed to be 1,024 elsewhere. */
export const read: Effect.Effect<number> = Effect.orElseSucceed(
  Effect.map(Effect.try(() => readFileSync("/proc/self/limits", "utf8")), (text) => {
    const soft = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1]
    return soft === undefined ? assumed : soft === "unlimited" ? Infinity : Number(soft)
  }),
  () => assumed
)
