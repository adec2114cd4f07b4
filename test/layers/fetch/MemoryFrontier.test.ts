import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import { frontierSuite } from "../../conformance/Frontier.suite.ts"

frontierSuite("MemoryFrontier", { layer: MemoryFrontier.layer })
