import { Layer } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as JobMembership from "../../conformance/JobMembership.suite.ts"
import { suite } from "../../conformance/JobQueue.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const polling = PostgresJobQueue.layerWith({ listen: false })

suite("PostgresJobQueue", Layer.provide(PostgresJobQueue.layer, TestDatabase.layer))
suite("PostgresJobQueue in poll mode", Layer.provide(polling, TestDatabase.layer))
// Members that beat only when a test says so: without the session lock, by which a killed process is seen at once.
JobMembership.suite("the fleet of PostgresJobQueue", Layer.provide(polling, TestDatabase.layer), true)
