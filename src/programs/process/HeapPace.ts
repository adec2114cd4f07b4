/**
 * How eagerly V8 collects garbage. The process begins with a tight heap (`--heap-growing-percent=10`, first line of `bin/main.ts`): a
 * bulk fetch stays as flat as its list is long.
 * A server would pay for that with a fifth of its CPU.
 */
import { Effect } from "effect"
import { setFlagsFromString } from "node:v8"

/** From here on V8's own pace: for servers and workers. */
export const relaxed: Effect.Effect<void> = Effect.sync(() => setFlagsFromString("--heap-growing-percent=0"))
