/** The whole public face, by wing. Each wing is also importable alone: `sluice/fetch`, `sluice/jobs`, ... */
export * as fetch from "./fetch.ts"
export * as http from "./http.ts"
export * as jobs from "./jobs.ts"
export * as orders from "./orders.ts"
export * as postgres from "./postgres.ts"
export * as tasks from "./tasks.ts"
