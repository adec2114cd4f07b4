/** One seed's world: processes in slots, the network between them and their server, and the strikes against them. */
import { Kernel } from "./kernel/Kernel.ts"
import { Network, type SimulatedSocket } from "./kernel/Network.ts"
import { Process } from "./kernel/Process.ts"
import type { PgliteServer } from "./levels/PgliteServer.ts"
import * as Nemesis from "./Nemesis.ts"

export interface WorldOptions {
  readonly seed: number
  /** How long things go wrong; after that all is healed. */
  readonly seconds: number
  /** Strikes to leave out, by their place in the plan. */
  readonly without?: ReadonlySet<number>
  readonly story?: boolean
}

/** Starts the process of a slot. */
export type Boot = (world: World, process: Process, slot: number) => void

export class World {
  readonly kernel: Kernel
  readonly network: Network
  readonly server: PgliteServer
  /** Their places in the plan, and what they are. */
  readonly strikes: ReadonlyMap<number, Nemesis.Strike>
  readonly endMillis: number
  private readonly boot: Boot
  private readonly slots: Array<Process> = []
  private generation = 0
  private isHealed = false

  constructor(server: PgliteServer, slots: number, boot: Boot, options: WorldOptions) {
    this.kernel = new Kernel(options.seed)
    if (options.story === true) this.kernel.story = []
    this.network = new Network(this.kernel)
    this.server = server
    this.boot = boot
    server.attach(this.kernel)
    const plan = Nemesis.plan(this.kernel.random.fork(), slots, options.seconds)
    this.strikes = new Map([...plan.entries()].filter(([at]) => options.without?.has(at) !== true))
    this.endMillis = this.kernel.nowMillis + options.seconds * 1000
    for (let slot = 0; slot < slots; slot++) this.slots.push(this.start(slot))
    for (const strike of this.strikes.values()) this.kernel.after(strike.atMillis, undefined, () => this.strike(strike))
    const random = this.kernel.random.fork()
    server.breakage = { before: random.float() * 0.001, after: random.float() * 0.002 }
  }

  /** A process beside the slots, which nothing happens to. */
  bystander(name: string): Process {
    return new Process(this.kernel, name)
  }

  connect(process: Process): SimulatedSocket {
    return this.network.connect(process, this.server)
  }

  /** Everything works again: nothing is frozen, cut off or missing. */
  heal(): void {
    this.isHealed = true
    this.server.breakage = { before: 0, after: 0 }
    for (const [slot, process] of this.slots.entries()) {
      this.network.heal(process)
      process.thaw()
      process.skewMillis = 0
      if (!process.isAlive) this.slots[slot] = this.start(slot)
    }
    this.kernel.tell("all is healed")
  }

  /** Ends every process, as kill -9 does. */
  stop(): void {
    for (const process of this.slots) process.kill()
    for (const wire of this.network.wires) wire.endedByServer(undefined)
  }

  private start(slot: number): Process {
    const process = new Process(this.kernel, `p${slot}.${this.generation++}`)
    this.kernel.tell(`${process.name} starts`)
    this.boot(this, process, slot)
    return process
  }

  private strike(strike: Nemesis.Strike): void {
    const process = this.slots[strike.slot]
    if (this.isHealed || process?.isAlive !== true) return
    this.kernel.tell(`${strike.kind} ${process.name} (${Math.round(strike.forMillis)} ms)`)
    switch (strike.kind) {
      case "kill":
        return this.kill(process, strike)
      case "freeze":
      case "freezeAndKill":
        process.freeze(strike.forMillis)
        break
      case "cut":
      case "cutAndKill":
        this.network.cut(process, strike.forMillis)
        break
      case "skew":
        process.skewMillis = (strike.forMillis - 6000) * 600
    }
    if (strike.kind === "freezeAndKill" || strike.kind === "cutAndKill") {
      this.kernel.after(strike.killAfterMillis, undefined, () => this.kill(process, strike))
    }
  }

  private kill(process: Process, { backAfterMillis, slot }: Nemesis.Strike): void {
    if (!process.isAlive || this.isHealed) return
    this.kernel.tell(`${process.name} is killed`)
    process.kill()
    this.kernel.after(backAfterMillis, undefined, () => {
      if (this.slots[slot] === process && !this.isHealed) this.slots[slot] = this.start(slot)
    })
  }
}
