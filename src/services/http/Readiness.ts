import type { Effect } from "effect"
import { Context } from "effect"

/** Whether this process can serve, as `/readyz` asks: whether what it depends on answers. */
export class Readiness extends Context.Service<Readiness, {
  /** Undefined when all is well, else what is wrong, for people. Answers within about a second. */
  readonly problem: Effect.Effect<string | undefined>
}>()("sluice/services/http/Readiness") {}
