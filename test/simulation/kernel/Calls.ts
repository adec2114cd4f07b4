/**
 * Calls from one simulated process to another, as a client of a service sees them: what is asked arrives late, is done over there, and
 * its answer may get lost. Nobody is told of what is held by a link that is cut.
 */
import { Effect, Exit, type Fiber } from "effect"
import type { Network } from "./Network.ts"
import type { Process } from "./Process.ts"
import type { SeededRandom } from "./Random.ts"

/** What the called side does to calls. */
export interface Faults {
  /** How often a call gets lost before it is done, and how often its answer does. */
  readonly breakage: { readonly before: number; readonly after: number }
  /** Why it is not done at all; undefined when all is well. */
  readonly refusal: () => string | undefined
}

export const faultless: Faults = { breakage: { before: 0, after: 0 }, refusal: () => undefined }

export class Calls {
  private readonly network: Network
  private readonly from: Process
  private readonly to: Process
  private readonly faults: Faults
  private readonly random: SeededRandom
  private readonly lanes = { there: { arrivesAt: 0 }, back: { arrivesAt: 0 } }
  private readonly waiting = new Set<(why: string) => void>()

  constructor(network: Network, from: Process, to: Process, faults: Faults = faultless) {
    this.network = network
    this.from = from
    this.to = to
    this.faults = faults
    this.random = from.random.fork()
    to.onKill(() => this.breakAll("the other side was killed"))
  }

  /** Every call that is under way fails; what it does over there goes on. */
  breakAll(why: string): void {
    for (const lose of this.waiting) lose(why)
  }

  /** Has it done by the other process; fails with `lost` when there will be no answer. An interruption goes after the call. */
  call<A, E, E2>(name: string, what: Effect.Effect<A, E>, lost: (why: string) => E2): Effect.Effect<A, E | E2> {
    return Effect.callback<A, E | E2>((resume) => {
      let fiber: Fiber.Fiber<A, E> | undefined
      const answer = (exit: Exit.Exit<A, E | E2>): void =>
        this.travel("back", () => {
          this.waiting.delete(lose)
          this.network.hand(this.from, () => resume(exit))
        })
      const lose = (why: string): void => {
        this.waiting.delete(lose)
        this.network.kernel.tell(`${this.from.name} ${name}: ${why}`)
        answer(Exit.fail(lost(why)))
      }
      this.waiting.add(lose)
      this.travel("there", () => {
        const { breakage, refusal } = this.faults
        const why = this.to.isAlive ? refusal() : "nobody is there"
        if (why !== undefined) return lose(why)
        if (this.random.chance(breakage.before)) return lose("the call got lost")
        const isAnswerLost = this.random.chance(breakage.after)
        const told = Effect.onExit(
          what,
          (exit) => Effect.sync(() => isAnswerLost ? lose("the answer got lost") : answer(exit))
        )
        this.network.hand(this.to, () => {
          fiber = this.to.run(told)
        })
      })
      return Effect.sync(() => {
        this.waiting.delete(lose)
        this.tell(() => fiber?.interruptUnsafe())
      })
    })
  }

  /** Does it over there, without an answer: also what a dead process had sent. */
  tell(what: () => void): void {
    this.travel("there", () => this.network.hand(this.to, what))
  }

  /** Has it done here, by the other side. */
  hearFrom(what: () => void): void {
    this.travel("back", () => this.network.hand(this.from, what))
  }

  /** When the calling process is killed, and the other side has heard of it. Gives back what ends that. */
  onHangUp(what: () => void): () => void {
    return this.from.onKill(() => this.tell(what))
  }

  /** Over both sides' links: one that is cut holds it. */
  private travel(way: "there" | "back", work: () => void): void {
    const { from, lanes, network, to } = this
    network.send(from, lanes[way], () => network.pass(to, work))
  }
}
