import { Effect, Layer, Logger, ManagedRuntime, Redacted, References } from "effect"
import * as Http1Client from "../../layers/fetch/Http1Client.ts"
import * as HttpFetcher from "../../layers/fetch/HttpFetcher.ts"
import * as MemoryJobQueue from "../../layers/jobs/MemoryJobQueue.ts"
import * as PostgresJobQueue from "../../layers/jobs/PostgresJobQueue.ts"
import * as Database from "../../layers/postgres/Database.ts"
import type { Json, LogLine, OpenOptions, Sluice } from "./Face.ts"
import * as PromiseFetch from "./PromiseFetch.ts"
import { PromiseJobs, WorkerScope } from "./PromiseJobs.ts"
import { errorOf, Runner } from "./Runner.ts"

/** Connections of a program that has others beside it. */
const poolMax = 10

const database = (options: OpenOptions) =>
  Database.layerConfig({
    ...(options.databaseUrl !== undefined && { url: Redacted.make(String(options.databaseUrl)) }),
    ...(options.directory !== undefined && { url: undefined, directory: options.directory }),
    ...(options.migrate !== undefined && { schema: options.migrate ? "migrate" : "check" }),
    poolMin: 0,
    poolMax: options.poolMax ?? poolMax
  })

const queue = (options: OpenOptions) =>
  options.memory === true
    ? MemoryJobQueue.layerMemory
    : Layer.provide(PostgresJobQueue.layer, database(options))

const levels: Readonly<Record<string, LogLine["level"]>> = {
  Trace: "debug",
  Debug: "debug",
  Info: "info",
  Warn: "warn",
  Error: "error",
  Fatal: "error"
}

const logging = ({ log }: OpenOptions) =>
  log === undefined
    ? Layer.mergeAll(Layer.succeed(Logger.LogToStderr, true), Layer.succeed(References.MinimumLogLevel, "Warn"))
    : Logger.layer([
      Logger.make((line) =>
        log({ level: levels[line.logLevel] ?? "info", at: line.date, message: Logger.formatSimple.log(line) })
      )
    ])

/** What a Sluice for promises stands on: the layers that everybody else has. */
const layerOf = (options: OpenOptions) =>
  Layer.effect(WorkerScope, Effect.scope).pipe(
    Layer.provideMerge(Layer.mergeAll(queue(options), Layer.provide(HttpFetcher.layer, Http1Client.layer()))),
    Layer.provideMerge(logging(options))
  )

/**
 * Opens Sluice for plain JavaScript: jobs in the database that is named, and fetching. Rejects with an `Error` that says what is wrong
 * and what would be right when there is no such database, or its tables are missing. Close it when you are through.
 *
 * @example
 * await using sluice = await open({ databaseUrl: "postgres://app@localhost/app" })
 * await sluice.jobs.enqueue("mail.welcome", { user: 7 })
 */
export const open = async <K extends object = Record<string, Json>>(options: OpenOptions = {}): Promise<Sluice<K>> => {
  const runtime = ManagedRuntime.make(layerOf(options))
  try {
    const runner = new Runner(runtime, await runtime.context())
    return {
      jobs: new PromiseJobs<K>(runner),
      fetch: (urls, options) => runner.iterate(PromiseFetch.outcomes(urls, options), options?.signal),
      fetchOne: (request, options) => runner.run(PromiseFetch.one(request, options), options?.signal),
      close: runner.close,
      [Symbol.asyncDispose]: runner.close
    }
  } catch (error) {
    await runtime.dispose()
    throw errorOf(error)
  }
}
