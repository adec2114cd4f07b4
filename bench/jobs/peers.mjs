/**
 * The peers of `bench -- jobs`, each as its own documentation has it at its fastest: claims and acknowledgements in batches
 * where it can. They are installed by the benchmark into bench/peers/jobs.
 */
import { createRequire } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const require = createRequire(join(import.meta.dirname, "../peers/jobs/package.json"))
const load = (name) => import(pathToFileURL(require.resolve(name)).href)

const graphile = async (url, batched) => {
  const { makeWorkerUtils, run } = await load("graphile-worker")
  const utils = await makeWorkerUtils({ connectionString: url })
  let runner
  const start = async (task, concurrency = 24) => {
    const worker = { connectionString: url, concurrentJobs: concurrency, maxPoolSize: 12, pollInterval: 2000 }
    if (batched) Object.assign(worker, { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 })
    const silent = { error() {}, warn() {}, info() {}, debug() {} }
    const { Logger } = await load("graphile-worker")
    runner = await run({
      preset: { worker: { ...worker, logger: new Logger(() => (level, message) => silent[level]?.(message)) } },
      taskList: { bench: (payload) => task(payload) },
      noHandleSignals: true
    })
  }
  return {
    setup: () => utils.migrate(),
    bulk: (payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: "bench", payload }))),
    one: (payload) => utils.addJob("bench", payload),
    start,
    stop: async () => {
      await runner?.stop().catch(() => {})
      await utils.release()
    }
  }
}

const pgBoss = async (url) => {
  const { PgBoss } = await load("pg-boss")
  const boss = new PgBoss({ connectionString: url, max: 12, supervise: false, schedule: false, useListenNotify: true })
  boss.on("error", () => {})
  const state = { isRunning: false }
  let loops = []
  return {
    setup: async () => {
      await boss.start()
      await boss.createQueue("bench", { partition: true, notify: true })
    },
    open: () => boss.start(),
    bulk: (payloads) => boss.insert("bench", payloads.map((data) => ({ data }))),
    one: (data) => boss.send("bench", data),
    /** Batches of a thousand, two at a time: its fastest here. */
    start: async (task) => {
      state.isRunning = true
      loops = [0, 1].map(async () => {
        while (state.isRunning) {
          const jobs = await boss.fetch("bench", { batchSize: 1000 })
          if (jobs.length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
          else {
            await boss.complete("bench", jobs.map((job) => job.id))
            for (const job of jobs) await task(job.data)
          }
        }
      })
    },
    listen: (task) => boss.work("bench", { pollingIntervalSeconds: 1 }, (jobs) => task(jobs[0].data)),
    stop: async () => {
      state.isRunning = false
      await Promise.all(loops)
      await boss.stop({ graceful: false })
    }
  }
}

const bullmq = async (url) => {
  const { createPostgresBackend, Queue, setDefaultBackendFactory, Worker } = await load("bullmq")
  setDefaultBackendFactory(createPostgresBackend)
  const connection = { connectionString: url, migrate: true, max: 12 }
  const queue = new Queue("bench", { connection })
  let worker
  return {
    setup: () => queue.waitUntilReady(),
    bulk: (payloads) => queue.addBulk(payloads.map((data) => ({ name: "bench", data }))),
    one: (data) => queue.add("bench", data),
    start: async (task, concurrency = 32) => {
      worker = new Worker("bench", (job) => task(job.data), { connection, concurrency })
      await worker.waitUntilReady()
    },
    stop: async () => {
      await worker?.close(true)
      await queue.close()
    }
  }
}

export const peers = {
  "graphile-worker": (url) => graphile(url, false),
  "graphile-worker, batched": (url) => graphile(url, true),
  "pg-boss, batched": (url) => pgBoss(url),
  "bullmq on Postgres": (url) => bullmq(url)
}
