/**
 * The attempts of a dispatcher that are under way: each is a fiber, watched by its deadlines.
 */
import { Context, Effect, type Fiber } from "effect"
import type * as HttpClientError from "effect/http/HttpClientError"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import { CurrentDeadline, effectiveMillis } from "../../../services/tasks/CurrentDeadline.ts"
import { CurrentTask, TaskNode } from "../../../services/tasks/TaskNode.ts"
import { Attempt } from "./Attempt.ts"
import type { BodySink } from "./BodySink.ts"
import * as Call from "./Call.ts"
import type { Hub } from "./Hub.ts"
import * as OutgoingRequest from "./OutgoingRequest.ts"
import type { AttemptExit } from "./Step.ts"
import * as Transfer from "./Transfer.ts"

/** Starts the fiber of an attempt. */
export type Fork = <A, E extends HttpClientError.HttpClientError | FetchError>(
  effect: Effect.Effect<A, E>
) => Fiber.Fiber<A, E>

/** What attempts are made with. */
export interface Means {
  readonly hub: Hub
  readonly fork: Fork
  /** Bodies under way: what is in it when the dispatcher's owner ends is the owner's to close. */
  readonly sinks: Set<BodySink>
  /** The deadline and the place in the live tree of the calls that have no context of their own. */
  readonly context: Context.Context<never>
}

export class InFlight {
  /** How many are under way. */
  count = 0
  private readonly means: Means
  private readonly node: TaskNode
  private readonly onEnd: (call: Call.Call, attempt: Attempt, exit: AttemptExit) => void

  /** @param onEnd an attempt has ended, and is not under way any more */
  constructor(means: Means, node: TaskNode, onEnd: (call: Call.Call, attempt: Attempt, exit: AttemptExit) => void) {
    this.means = means
    this.node = node
    this.onEnd = onEnd
  }

  /** Starts an attempt of a call whose place at the gate is taken. */
  launch(call: Call.Call, gate: HostGate, nowMillis: number): Attempt {
    const { fork, hub, sinks } = this.means
    const { context, current } = call
    const parent = context === undefined ? this.node : Context.get(context, CurrentTask)
    const node = new TaskNode("task", () => `fetch ${Redact.url(current.url)}`, parent, call.startedAt)
    const totalEndsAtMillis = Math.min(Call.endsAt(call), nowMillis + this.remainingMillis(call))
    const attempt = new Attempt(call, { alarm: hub.alarm, gate, node, nowMillis, sinks, totalEndsAtMillis })
    call.sink = undefined
    call.inFlight.push(attempt)
    this.count++
    node.attach()
    hub.watch(attempt)
    const request = OutgoingRequest.make(current, call.limits, attempt.sink?.resumeHeaders)
    const transfer = Transfer.run(hub.client, request, attempt)
    const fiber = fork(context === undefined ? transfer : Effect.provideContext(transfer, context))
    attempt.fiber = fiber
    fiber.addObserver((exit) => this.ended(call, attempt, exit))
    return attempt
  }

  private ended(call: Call.Call, attempt: Attempt, exit: AttemptExit): void {
    call.inFlight.splice(call.inFlight.indexOf(attempt), 1)
    this.count--
    attempt.node.detach()
    this.means.hub.unwatch(attempt)
    this.onEnd(call, attempt, exit)
  }

  /** What the deadline of its caller leaves a call. */
  private remainingMillis({ context }: Call.Call): number {
    const deadline = Context.get(context ?? this.means.context, CurrentDeadline)
    return deadline === undefined ? Infinity : Math.max(0, effectiveMillis(deadline) - this.means.hub.wallMillis())
  }
}
