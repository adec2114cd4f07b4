/** One seed's world: processes in slots, the network between them and their store, and the strikes against them. */
import { Kernel } from "./kernel/Kernel.ts"
import { Network } from "./kernel/Network.ts"
import { Process } from "./kernel/Process.ts"
import type { Level, Store } from "./levels/Level.ts"
import * as Nemesis from "./Nemesis.ts"
import type { Play } from "./Scene.ts"

export interface WorldOptions {
  readonly seed: number
  /** How long things go wrong; after that all is healed. The plan is made for so long. */
  readonly seconds: number
  /** To heal all earlier than the plan ends. */
  readonly healAfter?: number | undefined
  /** Strikes to leave out, by their place in the plan. */
  readonly without?: ReadonlySet<number> | undefined
  /** The only strikes to keep, by their place in the plan. */
  readonly only?: ReadonlySet<number> | undefined
  /** Slots that stay empty. */
  readonly absent?: ReadonlySet<number> | undefined
  readonly story?: boolean
  /** Ends as soon as this is wrong; what only shows at the end is then not looked for. */
  readonly stopsAt?: ((line: string) => boolean) | undefined
}

/** Who has not ended so long after SIGTERM is killed. */
const stopMillis = 12_000

export class World {
  readonly kernel: Kernel
  readonly network: Network
  readonly store: Store
  /** Their places in the plan, and what they are. */
  readonly strikes: ReadonlyMap<number, Nemesis.Strike>
  readonly endMillis: number
  /** What goes wrong as it happens; checked scenes add to it. */
  readonly wrong = new Set<string>()
  isHealed = false
  private readonly play: Play
  private readonly slots: Array<Process> = []
  private readonly all: Array<Process> = []
  private readonly absent: ReadonlySet<number>
  private generation = 0

  constructor(level: Level, slots: number, play: Play, options: WorldOptions) {
    this.kernel = new Kernel(options.seed)
    if (options.story === true) this.kernel.story = []
    this.network = new Network(this.kernel)
    this.store = level.open(this.kernel, this.network)
    this.play = play
    const plan = Nemesis.plan(this.kernel.random.fork(), slots, options.seconds)
    const healMillis = (options.healAfter ?? options.seconds) * 1000
    this.strikes = new Map(
      [...plan.entries()].filter(([at, { atMillis }]) =>
        atMillis < healMillis && options.without?.has(at) !== true && options.only?.has(at) !== false
      )
    )
    this.absent = options.absent ?? new Set()
    this.endMillis = this.kernel.nowMillis + healMillis
    for (let slot = 0; slot < slots; slot++) this.slots.push(this.start(slot))
    for (const strike of this.strikes.values()) this.kernel.after(strike.atMillis, undefined, () => this.strike(strike))
    const random = this.kernel.random.fork()
    const rate = random.pick([0, 1, 1, 10])
    this.store.control.breakage(rate * random.float() * 0.001, rate * random.float() * 0.002)
  }

  /** The process in a slot now, dead or alive. */
  in(slot: number): Process | undefined {
    return this.slots[slot]
  }

  /** A process beside the slots, which nothing happens to. */
  bystander(name: string): Process {
    const process = new Process(this.kernel, name)
    this.all.push(process)
    return process
  }

  /** Whether the plan has a strike of this kind. */
  hasPlanned(kind: Nemesis.Kind): boolean {
    return [...this.strikes.values()].some((strike) => strike.kind === kind)
  }

  /** Everything works again: nothing is frozen, cut off or missing. What was frozen for good stays so, and is not missed. */
  heal(): void {
    this.isHealed = true
    this.store.control.heal()
    for (const process of this.all) if (process.frozenUntil === Infinity && !this.store.missesTheSilent) process.kill()
    for (const [slot, process] of this.slots.entries()) {
      this.network.heal(process)
      process.setClock()
      if (process.frozenUntil !== Infinity) process.thaw()
      if (process.isStopping) process.kill()
      if (!process.isAlive || process.frozenUntil === Infinity) this.slots[slot] = this.start(slot)
    }
    this.kernel.tell("all is healed")
  }

  /** Ends every process, as kill -9 does. */
  stop(): void {
    for (const process of this.all) process.kill()
    this.store.close()
  }

  private start(slot: number): Process {
    const process = new Process(this.kernel, `p${slot}.${this.generation++}`)
    this.all.push(process)
    // It is made all the same: what the others draw from the seed does not change.
    if (!this.isHealed && this.hasPlanned("jump")) process.skewMillis = (process.random.float() - 0.5) * 20_000
    if (this.absent.has(slot)) process.kill()
    else {
      this.kernel.tell(`${process.name} starts`)
      this.play.boot(this, process, slot)
    }
    return process
  }

  private strike(strike: Nemesis.Strike): void {
    if (this.isHealed) return
    const { control } = this.store
    const { forMillis, kind } = strike
    const hit = strike.slots.flatMap((slot) => {
      const process = this.slots[slot]
      // What is frozen for good has nothing more to lose.
      return process?.isAlive === true && process.frozenUntil !== Infinity ? [process] : []
    })
    this.kernel.tell(`${Nemesis.describe(strike)}: ${hit.map(({ name }) => name).join(", ")}`)
    if (kind === "restart") return control.restart(forMillis)
    if (kind === "hang") return control.hang(forMillis)
    if (Nemesis.isTrouble(kind)) return control.trouble(kind, forMillis)
    if (kind === "operate") return this.play.operate?.(this, strike)
    for (const process of hit) this.strikeAt(process, strike)
  }

  private strikeAt(process: Process, strike: Nemesis.Strike): void {
    const { extent, forMillis, kind, killAfterMillis } = strike
    switch (kind) {
      case "kill":
        return this.kill(process, strike)
      case "stop":
        process.stop()
        this.kernel.after(stopMillis, undefined, () => this.kill(process, strike))
        return
      case "freezeForGood":
        process.freeze(Infinity)
        return this.replace(process, strike)
      case "freeze":
      case "freezeAndKill":
        process.freeze(forMillis)
        break
      case "partition":
      case "cut":
      case "cutAndKill":
        this.network.cut(process, forMillis)
        break
      case "slow":
        return this.network.slow(process, 20 + extent * extent * 3000, forMillis)
      case "jump":
        process.skewMillis += (extent - 0.5) * 7_200_000
        return
      case "drift":
        return process.drift((extent - 0.5) * 0.2)
    }
    if (kind === "freezeAndKill" || kind === "cutAndKill") {
      this.kernel.after(killAfterMillis, undefined, () => this.kill(process, strike))
    }
  }

  private kill(process: Process, strike: Nemesis.Strike): void {
    if (!process.isAlive || this.isHealed) return
    this.kernel.tell(`${process.name} is killed`)
    process.kill()
    this.replace(process, strike)
  }

  private replace(process: Process, { backAfterMillis, slots }: Nemesis.Strike): void {
    this.kernel.after(backAfterMillis, undefined, () => {
      for (const slot of slots) {
        if (this.slots[slot] === process && !this.isHealed) this.slots[slot] = this.start(slot)
      }
    })
  }
}
