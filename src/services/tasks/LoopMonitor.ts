import { Context, type Effect, Schema, type Stream } from "effect"

/** The event loop stood still. */
export class LoopBlocked extends Schema.Class<LoopBlocked>("sluice/LoopBlocked")({
  /** How long nothing else could run. */
  blockedMillis: Schema.Finite,
  /**
   * What ran, innermost first, as `function (file:line:column)`; empty when that is not certain: a native call cannot be
   * looked into, and a stack is not read twice in a second.
   */
  stack: Schema.Array(Schema.String),
  atMillis: Schema.Finite
}) {
  override toString(): string {
    const blocked = `event loop blocked for ${Math.round(this.blockedMillis)} ms`
    return this.stack.length === 0
      ? `${blocked}, in a native call or unknown`
      : [blocked, ...this.stack.map((frame) => `    at ${frame}`)].join("\n")
  }
}

/** Watches the event loop, always. */
export class LoopMonitor extends Context.Service<LoopMonitor, {
  /** Each blockage from now on. */
  readonly blocked: Stream.Stream<LoopBlocked>
  /** The last blockages, the newest last; at most 32. */
  readonly recent: Effect.Effect<ReadonlyArray<LoopBlocked>>
}>()("sluice/services/tasks/LoopMonitor") {}
