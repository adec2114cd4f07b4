// dist/ is what npm publishes: plain JS, types and maps. Always from scratch, so that no stale file is packed.
import { execFileSync } from "node:child_process"
import { cpSync, rmSync, statSync } from "node:fs"

rmSync("dist", { recursive: true, force: true })
execFileSync("tsc", ["-p", "tsconfig.build.json"], { stdio: "inherit" })
// The schema's .sql files stand beside the code that reads them.
cpSync("src", "dist", { recursive: true, filter: (from) => statSync(from).isDirectory() || from.endsWith(".sql") })
