/** Every scene, and every level that it is played on. Loaded again for each mutant of the code: see `mutants/CodeMutants.ts`. */
import { level as memory } from "./levels/MemoryLevel.ts"
import { level as pglite, prepare } from "./levels/PgliteLevel.ts"
import { level as postgres } from "./levels/PostgresLevel.ts"
import { run, type Scene } from "./Scene.ts"
import { scene as api } from "./scenes/Api.ts"
import { scene as fetch } from "./scenes/Fetch.ts"
import { scene as jobs } from "./scenes/Jobs.ts"
import { scene as orders } from "./scenes/Orders.ts"

export const scenes: ReadonlyArray<Scene> = [jobs, orders, fetch, api]

export { memory, pglite, postgres, prepare, run }
