import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as OpenApi from "effect/http-api/OpenApi"
import { JobId, JobInfo, JobState } from "../jobs/Job.ts"
import { TaskTree } from "../tasks/Tasks.ts"
import * as Problem from "./Problem.ts"
import { common, documented, paging } from "./Route.ts"

const JobBody = Schema.Struct({ ...JobInfo.fields }).annotate({ identifier: "Job" })

const JobPage = Schema.Struct({ jobs: Schema.Array(JobBody), next: Schema.optionalKey(Schema.String) })

/** As wide as the names themselves; `JobAdmin` refuses what cannot be a name. */
const Name = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200))

const jobs = HttpApiEndpoint.get("listJobs", "/v1/jobs", {
  query: {
    queue: Schema.optionalKey(Name),
    kind: Schema.optionalKey(Name),
    state: Schema.optionalKey(JobState),
    ...paging
  },
  success: JobPage.annotate({ identifier: "JobPage" }),
  error: common
}).annotateMerge(
  documented(
    "List jobs",
    "The latest first, live and ended. The newest 5000 of each table are looked at for a page, so one with a filter may be short, or empty: as long as there is a `next` there is more to look at.",
    { 200: "A page of jobs." }
  )
)

const job = HttpApiEndpoint.get("getJob", "/v1/jobs/:id", {
  params: { id: JobId },
  success: JobBody,
  error: [...common, Problem.JobNotFound]
}).annotateMerge(documented("Read a job", "Where it is, and what it answered.", { 200: "The job." }))

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const QueueBody = Schema.Struct({
  queue: Schema.String,
  paused: Schema.Boolean,
  ready: Count,
  scheduled: Count,
  blocked: Count,
  waiting: Count,
  running: Count,
  succeeded: Count,
  cancelled: Count,
  dead: Count,
  retried: Count,
  oldestReadyMillis: Schema.NullOr(Schema.Finite)
}).annotate({ identifier: "Queue" })

const queues = HttpApiEndpoint.get("listQueues", "/v1/queues", {
  success: Schema.Struct({ queues: Schema.Array(QueueBody) }).annotate({ identifier: "QueueList" }),
  error: common
}).annotateMerge(documented("List queues", "Exact counters, cheap at any size.", { 200: "All queues." }))

const tasks = HttpApiEndpoint.get("listTasks", "/v1/tasks", {
  success: TaskTree,
  error: common
}).annotateMerge(
  documented(
    "The live task tree of this process",
    "Named tasks with age, state and what each waits on; parents before children. The first thousand: `omitted` says how many more there are.",
    { 200: "The tree, as a list." }
  )
)

/** The routes for operators: jobs, queues, tasks. */
export const group = HttpApiGroup.make("operate").add(jobs, job, queues, tasks).annotateMerge(
  OpenApi.annotations({ description: "Live views for those who run it." })
)
