import * as MemoryShop from "../../../src/layers/orders/MemoryShop.ts"
import { suite } from "../../conformance/Catalog.suite.ts"

suite("memory", MemoryShop.layer)
