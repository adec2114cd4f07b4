/** The routes of those who run it: jobs, queues, tasks. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as OpenApi from "effect/http-api/OpenApi"
import { JobId, JobInfo, JobState } from "../jobs/Job.ts"
import { TaskTree } from "../tasks/Tasks.ts"
import { common, CursorText, Limit } from "./OrdersGroup.ts"
import * as Problem from "./Problem.ts"

const JobBody = Schema.Struct({ ...JobInfo.fields }).annotate({ identifier: "Job" })

const JobPage = Schema.Struct({ jobs: Schema.Array(JobBody), next: Schema.optionalKey(Schema.String) })

const Name = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9._:-]{1,200}$/u))

const jobs = HttpApiEndpoint.get("listJobs", "/v1/jobs", {
  query: {
    queue: Schema.optionalKey(Name),
    kind: Schema.optionalKey(Name),
    state: Schema.optionalKey(JobState),
    limit: Schema.optionalKey(Limit),
    cursor: Schema.optionalKey(CursorText)
  },
  success: JobPage.annotate({ identifier: "JobPage" }),
  error: common
}).annotateMerge(OpenApi.annotations({ summary: "List jobs", description: "The latest first, live and ended." }))

const job = HttpApiEndpoint.get("getJob", "/v1/jobs/:id", {
  params: { id: JobId },
  success: JobBody,
  error: [...common, Problem.JobNotFound]
}).annotateMerge(OpenApi.annotations({ summary: "Read a job", description: "Where it is, and what it answered." }))

const QueueBody = Schema.Struct({
  queue: Schema.String,
  paused: Schema.Boolean,
  ready: Schema.Finite,
  scheduled: Schema.Finite,
  blocked: Schema.Finite,
  running: Schema.Finite,
  succeeded: Schema.Finite,
  cancelled: Schema.Finite,
  dead: Schema.Finite,
  retried: Schema.Finite,
  oldestReadyMillis: Schema.NullOr(Schema.Finite)
}).annotate({ identifier: "Queue" })

const queues = HttpApiEndpoint.get("listQueues", "/v1/queues", {
  success: Schema.Struct({ queues: Schema.Array(QueueBody) }),
  error: common
}).annotateMerge(OpenApi.annotations({ summary: "List queues", description: "Exact counters, cheap at any size." }))

const tasks = HttpApiEndpoint.get("listTasks", "/v1/tasks", {
  success: TaskTree,
  error: common
}).annotateMerge(OpenApi.annotations({
  summary: "The live task tree of this process",
  description: "Named tasks with age, state and what each waits on; parents before children."
}))

/** Jobs, queues and tasks. */
export const group = HttpApiGroup.make("operate").add(jobs, job, queues, tasks).annotateMerge(
  OpenApi.annotations({ description: "Live views for those who run it." })
)
