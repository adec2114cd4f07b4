/** What is simulated: processes that do something, and a checker that knows nothing of how. */
import { epochMillis } from "./kernel/Kernel.ts"
import type { Process } from "./kernel/Process.ts"
import type { Level, Store } from "./levels/Level.ts"
import * as Nemesis from "./Nemesis.ts"
import { World, type WorldOptions } from "./World.ts"

/** One seed's play of a scene. */
export interface Play {
  /** Starts the process of a slot, again after it was killed. */
  readonly boot: (world: World, process: Process, slot: number) => void
  /** Starts those that nothing happens to. */
  readonly begin: (world: World) => void
  /** Somebody who operates the system does something, and takes it back after so long. */
  readonly operate?: (world: World, strike: Nemesis.Strike) => void
  /** What was promised to somebody. */
  readonly accepted: () => number
  /** What is wrong at the end, when all has been well for a while; empty when nothing is. */
  readonly check: (store: Store) => ReadonlyArray<string>
}

export interface Scene {
  readonly name: string
  readonly slots: number
  /** Within so many seconds after the last fault everything that was accepted must have ended. */
  readonly settleSeconds: number
  readonly play: () => Play
}

/** What one seed came to. */
export interface Verdict {
  readonly seed: number
  readonly wrong: ReadonlyArray<string>
  readonly accepted: number
  readonly strikes: ReadonlyArray<string>
  /** The places of the strikes in the plan. */
  readonly kept: ReadonlyArray<number>
  readonly kinds: ReadonlyArray<Nemesis.Kind>
  readonly statements: number
  readonly steps: number
  readonly virtualSeconds: number
  readonly hash: string
  readonly story: ReadonlyArray<string>
}

/** Plays one seed of a scene. */
export const run = (scene: Scene, level: Level, options: WorldOptions): Verdict => {
  const play = scene.play()
  const world = new World(level, scene.slots, play, options)
  play.begin(world)
  const seen = () => [...world.wrong, ...world.store.wrong]
  const isFound = () => options.stopsAt !== undefined && seen().some(options.stopsAt)
  const runUntil = (atMillis: number): void => {
    const { kernel } = world
    while (kernel.nowMillis < atMillis && !isFound()) kernel.runUntil(Math.min(atMillis, kernel.nowMillis + 1000))
  }
  runUntil(world.endMillis)
  if (!isFound()) world.heal()
  runUntil(world.endMillis + scene.settleSeconds * 1000)
  world.stop()
  const wrong = isFound() ? seen() : [...seen(), ...play.check(world.store)]
  return {
    seed: options.seed,
    wrong,
    accepted: play.accepted(),
    strikes: [...world.strikes].map(([at, strike]) => `${at}: ${Nemesis.describe(strike)}`),
    kept: [...world.strikes.keys()],
    kinds: [...world.strikes.values()].map(({ kind }) => kind),
    statements: world.store.statements(),
    steps: world.kernel.steps,
    virtualSeconds: (world.kernel.nowMillis - epochMillis) / 1000,
    hash: (world.kernel.hash >>> 0).toString(16),
    story: world.kernel.story ?? []
  }
}
