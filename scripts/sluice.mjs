#!/usr/bin/env node
// `npm start`: the command line, run from source. The compile cache halves the time to the first line of output.
import module from "node:module"
import { fileURLToPath } from "node:url"
import "./requireNode.mjs"

module.enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/sluice", import.meta.url)))
await import("../src/programs/bin/main.ts")
