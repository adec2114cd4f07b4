/** Whether this process can serve: what `/readyz` asks. */
import type { Effect } from "effect"
import { Context } from "effect"

/** Whether what the process depends on answers. */
export class Readiness extends Context.Service<Readiness, {
  /** Undefined when all is well, else what is wrong, for people. Answers within about a second. */
  readonly problem: Effect.Effect<string | undefined>
}>()("sluice/services/http/Readiness") {}
