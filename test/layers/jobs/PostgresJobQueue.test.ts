import { Layer } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import { suite } from "../../conformance/JobQueue.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

suite("PostgresJobQueue", Layer.provide(PostgresJobQueue.layer, TestDatabase.layer))
suite(
  "PostgresJobQueue in poll mode",
  Layer.provide(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer)
)
