import { Layer } from "effect"
import { layerMemory } from "../../../src/layers/jobs/MemoryJobQueue.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import { suite } from "../../conformance/DeadLetters.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

suite("dead letters in memory", layerMemory, isLong ? 2_000 : 200)
suite(
  "dead letters in Postgres",
  Layer.provide(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer),
  isLong ? 200 : 12
)
