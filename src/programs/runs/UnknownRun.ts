import { Effect } from "effect"
import type { RunNotFound } from "../../services/fetch/Frontier.ts"
import { UsageError } from "../fetch/UsageError.ts"
import { CalledAs } from "../terminal/CalledAs.ts"

/** Says of a run that is not there how to find those that are. */
export const unknownRun = (error: RunNotFound): Effect.Effect<never, UsageError> =>
  Effect.flatMap(
    CalledAs,
    (calledAs) => Effect.fail(new UsageError({ problem: `${error.message}; \`${calledAs} runs\` lists them` }))
  )
