#!/usr/bin/env node
// `npm start`: the command line, run from source. The compile cache halves the time to the first line of output.
import module from "node:module"
import "./requireNode.mjs"

module.enableCompileCache()
await import("../src/programs/bin/main.ts")
