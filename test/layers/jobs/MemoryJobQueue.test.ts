import { layerMemory } from "../../../src/layers/jobs/MemoryJobQueue.ts"
import { suite } from "../../conformance/JobQueue.suite.ts"

suite("MemoryJobQueue", layerMemory)
