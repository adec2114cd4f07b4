#!/usr/bin/env -S node --min-semi-space-size=16 --max-semi-space-size=16 --heap-growing-percent=10
// The command line: of a checkout from source (`./sluice`, `npm start`), of an installed package (`sluice`, `npx sluice`) what was built.
// The flags keep a run of any length in flat memory: left to itself, V8 lets garbage double the heap before it collects.
// The compile cache halves the time to the first line of output.
import module from "node:module"
import { fileURLToPath } from "node:url"
import "./requireNode.mjs"

if (process.env.npm_lifecycle_event === "start" && process.env.npm_config_loglevel !== "silent") {
  // It has written them by now, and they cannot be taken back.
  if (process.argv.length > 2 && !process.stdout.isTTY) {
    console.error(
      "sluice: npm writes lines of its own to standard output; `./sluice` does not, and `npm start -s --` neither"
    )
  }
}

// Node reads TypeScript as it is anywhere but below node_modules.
const isPackage = import.meta.url.includes("/node_modules/")
module.enableCompileCache(
  isPackage ? undefined : fileURLToPath(new URL("../node_modules/.cache/sluice", import.meta.url))
)
await import(isPackage ? "../dist/programs/bin/main.js" : "../src/programs/bin/main.ts")
