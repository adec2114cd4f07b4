/** Flows: jobs that wait for other jobs, enqueued together. */
import { Context, Effect, Layer, Result, Schema } from "effect"
import type { Child, WhenChildFails } from "./FlowChild.ts"
import type { JobId, Kind } from "./Job.ts"
import { JobOptionInvalid, type JobPayloadInvalid, type JobQueueError } from "./JobError.ts"
import * as JobOption from "./JobOption.ts"
import { type EnqueueError, type EnqueueOptions, invalidOptions, prepare } from "./JobQueue.ts"
import { type FlowJob, JobRecords, JobStore, type NewJob } from "./JobStore.ts"

export type { Child, WhenChildFails } from "./FlowChild.ts"

/** Jobs of one flow, and how far they may stand below each other. */
const jobsMax = 10_000
const depthMax = 10

/** How a job of a flow differs from what its kind says. None of them is unique. */
export interface NodeOptions extends Omit<EnqueueOptions, "unique" | "whenUnique"> {
  /** The jobs that this one waits for. @default none */
  readonly children?: ReadonlyArray<Node>
  /** @default "fail" */
  readonly whenChildFails?: WhenChildFails
}

/** A job of a flow with the jobs below it, its types erased so that many kinds fit in one. */
export interface Node {
  readonly prepare: () => Result.Result<NewJob, JobPayloadInvalid | JobOptionInvalid>
  readonly children: ReadonlyArray<Node>
  readonly whenChildFails: WhenChildFails
}

/** The ids of a flow in its shape. */
export interface FlowIds {
  readonly id: JobId
  readonly children: ReadonlyArray<FlowIds>
}

const nodeRules = { whenChildFails: JobOption.literal(["fail", "ignore", "continue"]) } as const

/**
 * Describes a job of a flow; `JobFlows.enqueue` stores it with all that are below it.
 *
 * @example JobFlow.node(Report, month, { children: days.map((day) => JobFlow.node(Count, day)) })
 */
export const node = <N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  payload: P,
  options: NodeOptions = {}
): Node => {
  const { children = [], whenChildFails = "fail", ...enqueueing } = options
  const where = `a flow's job of kind "${kind.name}"`
  return {
    children,
    whenChildFails,
    prepare: () => {
      const wrong = JobOption.invalid(where, options, nodeRules) ?? invalidOptions(kind, enqueueing)
      if (wrong !== undefined) return Result.fail(wrong)
      return Result.flatMap(prepare(kind, payload, enqueueing), (job) =>
        job.unique === null
          ? Result.succeed(job)
          : Result.fail(
            new JobOptionInvalid({ where, option: "unique", given: job.unique, expected: "none in a flow" })
          ))
    }
  }
}

/** The values of the children that succeeded, of one kind, oldest first; one that does not fit the kind's schema is a `SchemaError`. */
export const results = <N extends string, P, S, F>(
  kind: Kind<N, P, S, F>,
  children: ReadonlyArray<Child>
): Effect.Effect<ReadonlyArray<S>, Schema.SchemaError> => {
  const decode = Schema.decodeUnknownEffect(Schema.toCodecJson(kind.success))
  return Effect.forEach(
    children.filter((child) => child.kind === kind.name && child.state === "succeeded"),
    (child) => decode(child.result)
  )
}

/** Flows, as producers and the handlers of parents see them. */
export class JobFlows extends Context.Service<JobFlows, {
  /**
   * Enqueues a tree of jobs, all or none: at most 10,000, at most 10 below each other. Those without children wait to be claimed, the
   * others are `waiting` for theirs. Joins the caller's transaction.
   */
  readonly enqueue: (root: Node) => Effect.Effect<FlowIds, EnqueueError>
  /**
   * The children of a job, oldest first, with their results and failures: for the parent's handler. They are forgotten when it has
   * succeeded or was cancelled.
   */
  readonly children: (parent: JobId) => Effect.Effect<ReadonlyArray<Child>, JobQueueError>
}>()("sluice/services/jobs/JobFlow/JobFlows") {}

/** A tree laid out, children before their parent, or why it cannot be. */
const laidOut = (root: Node): Result.Result<ReadonlyArray<FlowJob>, JobPayloadInvalid | JobOptionInvalid> => {
  const jobs: Array<FlowJob> = []
  const tooLarge = (given: string, expected: string) =>
    Result.fail(new JobOptionInvalid({ where: "JobFlows.enqueue", option: "the flow", given, expected }))
  /** Puts a node behind those below it; answers its place. */
  const lay = (node: Node, depth: number): Result.Result<number, JobPayloadInvalid | JobOptionInvalid> => {
    if (depth > depthMax) return tooLarge(`more than ${depthMax} deep`, `at most ${depthMax} jobs below each other`)
    const places: Array<number> = []
    for (const child of node.children) {
      const place = lay(child, depth + 1)
      if (Result.isFailure(place)) return place
      places.push(place.success)
    }
    const prepared = node.prepare()
    if (Result.isFailure(prepared)) return Result.fail(prepared.failure)
    if (jobs.length === jobsMax) return tooLarge(`more than ${jobsMax} jobs`, `at most ${jobsMax} jobs`)
    const whenChildFails = places.length === 0 ? undefined : node.whenChildFails
    const place = jobs.push({ job: prepared.success, parent: undefined, whenChildFails }) - 1
    for (const child of places) {
      const below = jobs[child]
      if (below !== undefined) jobs[child] = { ...below, parent: place }
    }
    return Result.succeed(place)
  }
  return Result.map(lay(root, 1), () => jobs)
}

/** The ids, which are in the order of the jobs, in the shape of the tree: the root is the last. */
const shaped = (root: Node, ids: ReadonlyArray<JobId>): FlowIds => {
  let at = 0
  const shape = (node: Node): FlowIds => {
    const children = node.children.map(shape)
    // A store answers one id for each job.
    return { children, id: ids[at++] as JobId }
  }
  return shape(root)
}

const make = Effect.gen(function*() {
  const store = yield* JobStore
  const records = yield* JobRecords
  return JobFlows.of({
    enqueue: Effect.fn("JobFlows.enqueue")((root: Node) =>
      Effect.suspend((): Effect.Effect<FlowIds, EnqueueError> => {
        const jobs = laidOut(root)
        return Result.isFailure(jobs)
          ? Effect.fail(jobs.failure)
          : Effect.map(store.insertFlow(jobs.success), (ids) => shaped(root, ids))
      })
    ),
    children: (parent) => records.children(parent)
  })
})

/** Flows on any job storage. */
export const layer: Layer.Layer<JobFlows, never, JobStore | JobRecords> = Layer.effect(JobFlows, make)
