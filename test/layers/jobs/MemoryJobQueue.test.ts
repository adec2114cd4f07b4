import { layerMemory } from "../../../src/layers/jobs/MemoryJobQueue.ts"
import * as JobChanges from "../../conformance/JobChanges.suite.ts"
import * as JobFailures from "../../conformance/JobFailures.suite.ts"
import * as JobFlows from "../../conformance/JobFlows.suite.ts"
import * as JobMembership from "../../conformance/JobMembership.suite.ts"
import * as JobProgress from "../../conformance/JobProgress.suite.ts"
import { suite } from "../../conformance/JobQueue.suite.ts"
import * as JobTenants from "../../conformance/JobTenants.suite.ts"

suite("MemoryJobQueue", layerMemory)
JobChanges.suite("MemoryJobQueue", layerMemory)
JobFlows.suite("MemoryJobQueue", layerMemory)
JobProgress.suite("MemoryJobQueue", layerMemory)
JobTenants.suite("MemoryJobQueue", layerMemory)
JobMembership.suite("the fleet of MemoryJobQueue", layerMemory, false)
JobFailures.suite("failures in MemoryJobQueue", layerMemory)
