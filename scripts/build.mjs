// dist/ is what npm publishes: plain JS, types and maps. Always from scratch, so that no stale file is packed.
import { execFileSync } from "node:child_process"
import { rmSync } from "node:fs"

rmSync("dist", { recursive: true, force: true })
execFileSync("tsc", ["-p", "tsconfig.build.json"], { stdio: "inherit" })
