/**
 * One attempt under way: its fiber, its place at the gate, and its line in the live tree.
 */
import type { Fiber } from "effect"
import type * as HttpClientError from "effect/http/HttpClientError"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import type { TaskNode } from "../../../services/tasks/TaskNode.ts"
import type { Attempt } from "./Attempt.ts"
import type { AttemptEnd } from "./Transfer.ts"

/** What an attempt's fiber may fail with. */
export type AttemptError = HttpClientError.HttpClientError | FetchError

/** One attempt under way. */
export interface Flight {
  readonly attempt: Attempt
  readonly gate: HostGate
  readonly node: TaskNode
  readonly startedAtMillis: number
  /** Which of the requests to its host it is. */
  readonly ticket: number
  fiber: Fiber.Fiber<AttemptEnd, AttemptError> | undefined
  /** Another attempt of the same task was first. */
  isLoser: boolean
}
