/** What is simulated: processes that do something, and a checker that knows nothing of how. */
import { Effect } from "effect"
import * as Migrations from "../../src/layers/postgres/Migrations.ts"
import { Kernel } from "./kernel/Kernel.ts"
import { Network } from "./kernel/Network.ts"
import { Process } from "./kernel/Process.ts"
import * as Client from "./levels/Client.ts"
import type { PgliteServer } from "./levels/PgliteServer.ts"
import * as Nemesis from "./Nemesis.ts"
import { World, type WorldOptions } from "./World.ts"

/** One seed's play of a scene. */
export interface Play {
  /** Starts the process of a slot, again after it was killed. */
  readonly boot: (world: World, process: Process, slot: number) => void
  /** Starts those that nothing happens to. */
  readonly begin: (world: World) => void
  /** What was promised to somebody. */
  readonly accepted: () => number
  /** What is wrong at the end, when all has been well for a while; empty when nothing is. */
  readonly check: (server: PgliteServer) => Promise<ReadonlyArray<string>>
}

export interface Scene {
  readonly name: string
  readonly slots: number
  /** Tables of its own, made once. */
  readonly tables: string
  /** Makes them empty again. */
  readonly empty: string
  readonly play: () => Play
}

/** What one seed came to. */
export interface Verdict {
  readonly seed: number
  readonly wrong: ReadonlyArray<string>
  readonly accepted: number
  readonly strikes: ReadonlyArray<string>
  readonly statements: number
  readonly steps: number
  readonly virtualSeconds: number
  readonly hash: string
  readonly story: ReadonlyArray<string>
}

/** Within so long after the last fault everything that was accepted must have ended. */
const settleSeconds = 60

/** Makes the schema, through the wire and the real client, and the scenes' own tables. */
export const prepare = async (server: PgliteServer, scenes: ReadonlyArray<Scene>): Promise<void> => {
  const kernel = new Kernel(0)
  const network = new Network(kernel)
  server.attach(kernel)
  const process = new Process(kernel, "migrate")
  let outcome: string | undefined
  process.run(
    Migrations.run("the simulation").pipe(
      Effect.provide(Client.layer(() => network.connect(process, server), "migrate")),
      Effect.match({ onFailure: (error) => String(error), onSuccess: () => "done" }),
      Effect.map((what) => {
        outcome = what
      })
    )
  )
  kernel.runWhile(() => outcome === undefined, 60_000)
  process.kill()
  for (const wire of network.wires) wire.endedByServer(undefined)
  if (outcome !== "done") throw new Error(`the schema could not be made: ${outcome}`)
  for (const { tables } of scenes) await server.exec(tables)
}

/** The house's own tables, without what the migrations put there. */
const emptyHouse = `do $$ declare names text; begin
  select string_agg(format('%I.%I', schemaname, tablename), ', ') into names from pg_tables
  where schemaname = 'sluice' and tablename not like 'migrations%' and tablename not like 'job_history_2%';
  set local session_replication_role = replica;
  execute 'truncate ' || names || ' restart identity cascade';
end $$`

/** Plays one seed of a scene. */
export const run = async (scene: Scene, server: PgliteServer, options: WorldOptions): Promise<Verdict> => {
  await server.exec(emptyHouse)
  await server.exec(scene.empty)
  const before = server.statements
  const play = scene.play()
  const world = new World(server, scene.slots, play.boot, options)
  play.begin(world)
  world.kernel.runUntil(world.endMillis)
  world.heal()
  world.kernel.runUntil(world.endMillis + settleSeconds * 1000)
  world.stop()
  return {
    seed: options.seed,
    wrong: await play.check(server),
    accepted: play.accepted(),
    strikes: [...world.strikes].map(([at, strike]) => `${at}: ${Nemesis.describe(strike)}`),
    statements: server.statements - before,
    steps: world.kernel.steps,
    virtualSeconds: options.seconds + settleSeconds,
    hash: (world.kernel.hash >>> 0).toString(16),
    story: world.kernel.story ?? []
  }
}
