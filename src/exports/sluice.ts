/** The whole public face, by wing. Each wing is also importable alone: `sluice/fetch`, `sluice/postgres`, ... */
export * as fetch from "./fetch.ts"
