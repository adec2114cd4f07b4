import { install } from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as Suite from "./Suite.ts"
install()
const server = await PgliteServer.open(new Kernel(0))
Suite.prepare(server)
const [scene, seed, sql] = process.argv.slice(2)
const v = Suite.run(Suite.scenes.find((s) => s.name === scene)!, Suite.pglite(server), {
  seed: Number(seed),
  seconds: 90,
  story: true
})
console.log(v.wrong)
for (const s of (sql ?? "").split(";")) console.log(server.rows(s))
process.exit(0)
