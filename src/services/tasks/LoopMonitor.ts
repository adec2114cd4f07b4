import { Context, type Effect, Schema, type Stream } from "effect"

/** The event loop stood still. */
export class LoopBlocked extends Schema.Class<LoopBlocked>("sluice/LoopBlocked")({
  /** How long nothing else could run. */
  blockedMillis: Schema.Finite,
  /** What ran, innermost first, as `function (file:line:column)`; empty when it could not be taken. */
  stack: Schema.Array(Schema.String),
  atMillis: Schema.Finite
}) {
  override toString(): string {
    return `event loop blocked for ${Math.round(this.blockedMillis)} ms\n${
      this.stack.map((frame) => `    at ${frame}`).join("\n")
    }`
  }
}

/** Watches the event loop, always. */
export class LoopMonitor extends Context.Service<LoopMonitor, {
  /** Each blockage from now on. */
  readonly blocked: Stream.Stream<LoopBlocked>
  /** The last blockages, the newest last; at most 32. */
  readonly recent: Effect.Effect<ReadonlyArray<LoopBlocked>>
}>()("sluice/services/tasks/LoopMonitor") {}
